"""Lines of a text file, gzipped or not; whatever is wrong with it is said with file, line and byte."""

import gzip
import json
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO, cast

from gen_rec.errors import DataError

GZIP_MAGIC = b"\x1f\x8b"


def is_gzip(path: Path) -> bool:
    """Whether the file starts as a gzip file does, whatever it is called."""
    with path.open("rb") as file:
        return file.read(2) == GZIP_MAGIC


def open_binary(path: Path) -> BinaryIO:
    """Open for reading bytes, through gzip where the content is gzipped."""
    return cast(BinaryIO, gzip.open(path, "rb")) if is_gzip(path) else path.open("rb")


def read_lines(path: Path) -> Iterator[tuple[int, str]]:
    """Give ``(line number from 1, text without its line end)`` of every line, blank ones too.

    raises DataError for a file that is not there, a truncated or broken gzip file, and bytes that are not
           UTF-8.
    """
    if not path.is_file():
        raise DataError(f"{path}: there is no such file; put it there, or correct the name")
    number, offset = 0, 0
    with open_binary(path) as file:
        try:
            for raw in file:
                number += 1
                text = decode_utf8(path, number, offset, raw)
                offset += len(raw)
                yield number, text.rstrip("\r\n")
        except (EOFError, gzip.BadGzipFile, zlib.error) as error:
            raise DataError(
                f"{path}: the gzip file is truncated or broken after line {number} ({error}); download or copy it again"
            ) from error


def read_json_lines(path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    """Give ``(line number from 1, object)`` of a file with one JSON object a line; blank lines are skipped.

    raises DataError as ``read_lines`` does, and for a line that is not a JSON object.
    """
    for number, text in read_lines(path):
        if not text.strip():
            continue
        try:
            value = json.loads(text)
        except json.JSONDecodeError as error:
            raise DataError(
                f"{path}, line {number}, column {error.colno}: not JSON ({error.msg}); expected one object "
                "a line, mend or remove the line"
            ) from None
        if not isinstance(value, dict):
            raise DataError(
                f"{path}, line {number}: found {type(value).__name__}, expected a JSON object; mend or remove the line"
            )
        yield number, value


def block_lines(path: Path, number: int, offset: int, block: bytes) -> Iterator[tuple[int, str]]:
    """Give ``(line number, text without blanks around it)`` of the lines of a block that are not blank.

    number: of the block's first line in the file
    offset: of the block's first byte in the (unzipped) file
    raises  DataError for bytes that are not UTF-8.
    """
    for index, raw in enumerate(block.split(b"\n")):
        text = decode_utf8(path, number + index, offset, raw).strip()
        offset += len(raw) + 1
        if text:
            yield number + index, text


def decode_utf8(path: Path, number: int, offset: int, raw: bytes) -> str:
    """The text of a line or of a block of lines.

    number: of its first line in the file
    offset: of its first byte in the (unzipped) file, from 0
    raises  DataError, with line and offset, at the first byte that is not UTF-8.
    """
    try:
        return raw.decode("utf-8")
    except UnicodeDecodeError as error:
        line = number + raw.count(b"\n", 0, error.start)
        raise DataError(
            f"{path}, line {line}: the byte 0x{raw[error.start]:02x} at offset {offset + error.start} is not UTF-8; "
            "convert the file, for instance: iconv -f latin1 -t utf-8"
        ) from None
