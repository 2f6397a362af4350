"""Downloads that survive bad networks, and where the public raw data sets live.

A file grows under ``<name>.part`` beside its place, and gets its name only when it is whole. A download
that is cut off, by the network or by Ctrl-C, continues where it stopped, provided the server says that the
file is still the same one (``If-Range`` with the ETag or date noted in ``<name>.part.json``).
"""

import hashlib
import json
import logging
import os
import re
import shutil
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import requests
import urllib3
from tqdm import tqdm

from gen_rec.data.lines import GZIP_MAGIC
from gen_rec.errors import DataError
from gen_rec.files import write_json

logger = logging.getLogger(__name__)

PIECE_BYTES = 1 << 16
MAX_WAIT = 60.0
RETRY_STATUS = frozenset({408, 425, 429, 500, 502, 503, 504})
PASSING = (
    requests.ConnectionError,
    requests.Timeout,
    requests.exceptions.ChunkedEncodingError,
    urllib3.exceptions.HTTPError,
)
"""Errors of the network after which another try may help."""


@dataclass(frozen=True)
class PublicSet:
    """Where the files of a family of raw sets live; ``{name}`` in a URL is the category."""

    urls: tuple[str, ...]
    page: str
    """The page that describes the family and lists its categories."""
    terms: str = ""
    """Why it cannot be downloaded by a program, if so, and which files a person should get."""


_SNAP = "http://snap.stanford.edu/data/amazon/productGraph/categoryFiles"  # its https resets connections
_UCSD = "https://mcauleylab.ucsd.edu/public_datasets/data"

PUBLIC_SETS: Mapping[str, PublicSet] = {
    "amazon-2014": PublicSet(
        (f"{_SNAP}/reviews_{{name}}_5.json.gz", f"{_SNAP}/meta_{{name}}.json.gz"),
        "https://cseweb.ucsd.edu/~jmcauley/datasets/amazon/links.html",
    ),
    "amazon-2018": PublicSet(
        (
            f"{_UCSD}/amazon_v2/categoryFilesSmall/{{name}}_5.json.gz",
            f"{_UCSD}/amazon_v2/metaFiles2/meta_{{name}}.json.gz",
        ),
        "https://cseweb.ucsd.edu/~jmcauley/datasets/amazon_v2/",
    ),
    "amazon-2023": PublicSet(
        (
            f"{_UCSD}/amazon_2023/raw/review_categories/{{name}}.jsonl.gz",
            f"{_UCSD}/amazon_2023/raw/meta_categories/meta_{{name}}.jsonl.gz",
        ),
        "https://amazon-reviews-2023.github.io/",
    ),
    "amazon-2023-5core": PublicSet(
        (
            f"{_UCSD}/amazon_2023/benchmark/5core/rating_only/{{name}}.csv.gz",
            f"{_UCSD}/amazon_2023/raw/meta_categories/meta_{{name}}.jsonl.gz",
        ),
        "https://amazon-reviews-2023.github.io/data_processing/5core.html",
    ),
    "yelp": PublicSet(
        (),
        "https://business.yelp.com/data/resources/open-dataset/",
        "Yelp asks a person to accept its terms; unpack the archive and take "
        "yelp_academic_dataset_business.json and yelp_academic_dataset_review.json",
    ),
}
"""The families that ``download_set`` knows; ``amazon-2023-5core`` is the 5-core of ``amazon-2023``."""

ALIASES: Mapping[str, str] = {
    "amazon-beauty": "amazon-2014/Beauty",
    "amazon-sports": "amazon-2014/Sports_and_Outdoors",
    "amazon-toys": "amazon-2014/Toys_and_Games",
}


def download_set(name: str, root: str | Path, sets: Mapping[str, PublicSet] = PUBLIC_SETS, **options: Any) -> Path:
    """Download the files of a public raw set that are not there yet.

    name:    ``family/Category`` such as ``amazon-2014/Beauty``, or an alias such as ``amazon-beauty``
    root:    the folder that holds the data sets
    options: passed on to ``download``
    returns  the folder ``root/family/Category``
    raises   DataError that says both ways: why the download failed, and where to put the files by hand.
    """
    family, _, category = ALIASES.get(name, name).partition("/")
    folder = Path(root, family, category)
    if family not in sets:
        raise DataError(
            f"{name}: not a public set that can be downloaded ({', '.join(sorted(sets))} and "
            f"{', '.join(sorted(ALIASES))} are); put its files at {Path(root, name)} yourself"
        )
    known = sets[family]
    if known.terms:
        raise DataError(f"{name} cannot be downloaded: {known.terms} (from {known.page}), and put them at {folder}")
    if not re.fullmatch(r"[A-Za-z0-9_]+", category):
        raise DataError(
            f"{name}: expected {family}/Category with a category of {known.page}, such as {family}/All_Beauty"
        )
    urls = [url.format(name=category) for url in known.urls]
    # a folder of that name is whole, or was made by a person: a new one is filled under another name
    filling = folder if folder.exists() else folder.with_name(f".{category}.part")
    try:
        for url in urls:
            file = filling / url.rpartition("/")[2]
            if not file.with_name(file.name.removesuffix(".gz")).exists():
                download(url, file, **options)
        if filling != folder:
            os.replace(filling, folder)
    except (DataError, OSError) as error:
        raise DataError(
            f"{name} is not at {folder} and could not be downloaded: {error}. Either mend that and run this "
            f"again (it continues where it stopped), or put the files at {folder} yourself: "
            f"{', '.join(urls)} (described at {known.page})"
        ) from error
    return folder


def download(
    url: str,
    path: str | Path,
    *,
    expected_size: int | None = None,
    sha256: str | None = None,
    connect_timeout: float = 10.0,
    read_timeout: float = 30.0,
    retries: int = 4,
    backoff: float = 1.0,
    progress: bool | None = None,
) -> Path:
    """Download a file, unless it is there already and fits ``expected_size`` and ``sha256``.

    expected_size: bytes, if known beforehand; else the length that the server states is checked
    sha256:        hexadecimal digest, if known
    connect_timeout, read_timeout: seconds without an answer, or without a byte, after which a try has failed
    retries:       failed tries *in a row*: one that brought the file further starts the count again
    backoff:       seconds before the first new try, doubled for each further one (at most a minute), unless
                   the server asks for a longer wait
    progress:      show a bar; None means only on a terminal
    returns        ``path``, which is whole or was not touched
    raises         DataError for an answer such as 404, a wrong length or checksum, a full disk, a ``.gz``
                   that is no gzip file, or when the tries are used up.
    """
    path = Path(path)
    if path.exists() and _problem(path, expected_size, sha256) is None:
        return path
    part = _Part(url, path)
    path.parent.mkdir(parents=True, exist_ok=True)
    failures, furthest = 0, part.size
    timeouts = (connect_timeout, read_timeout)
    with requests.Session() as session:
        while True:
            wait = 0.0
            try:
                _fetch(session, part, expected_size, timeouts, progress)
                break
            except _RetryError as error:
                reason, wait = str(error), error.wait
            except PASSING as error:
                reason = f"{type(error).__name__}: {error}"
            except requests.RequestException as error:
                raise DataError(f"{url}: {error}; correct the address") from error
            failures = 1 if part.size > furthest else failures + 1
            furthest = max(furthest, part.size)
            if failures > retries:
                raise DataError(
                    f"{url}: {failures} tries in a row failed at {part.size:,} bytes, the last with "
                    f"{reason}; try again later, it continues from {part.path}"
                )
            wait = min(max(wait, backoff * 2 ** (failures - 1)), MAX_WAIT)
            logger.warning("%s: %s; try %d of %d in %.1f s", url, reason, failures, retries, wait)
            time.sleep(wait)
    problem = _problem(part.path, expected_size, sha256)
    if problem is not None:
        part.discard()
        raise DataError(f"{url}: {problem}; it was thrown away, check what the address holds now")
    part.finish()
    logger.info("%s: %d bytes from %s", path, path.stat().st_size, url)
    return path


class _RetryError(Exception):
    """A failure that may pass; ``wait`` is how long the server asks to wait, in seconds."""

    def __init__(self, reason: str, wait: float = 0.0) -> None:
        super().__init__(reason)
        self.wait = wait


@dataclass(frozen=True)
class _State:
    """What is known of the file that a ``.part`` is the beginning of."""

    url: str
    validator: str | None
    """Strong ETag or date of last change, for If-Range; None means that a part cannot be continued."""
    total: int | None


class _Part:
    """The beginning of a file, ``<name>.part``, and what identifies the whole, ``<name>.part.json``."""

    def __init__(self, url: str, target: Path) -> None:
        self.url, self.target = url, target
        self.path = target.with_name(target.name + ".part")
        self.note = target.with_name(target.name + ".part.json")
        self.state = _State(url, None, None)
        try:
            state = _State(**json.loads(self.note.read_text(encoding="utf-8")))
        except (OSError, ValueError, TypeError):
            state = self.state
        if state.url == url and state.validator and self.size:
            self.state = state
        else:
            self.discard()

    @property
    def size(self) -> int:
        """Bytes that are there."""
        return self.path.stat().st_size if self.path.exists() else 0

    def begin(self, state: _State) -> None:
        """Start from nothing."""
        self.discard()
        self.state = state
        write_json(self.note, asdict(state))

    def discard(self) -> None:
        """Remove what is there."""
        self.path.unlink(missing_ok=True)
        self.note.unlink(missing_ok=True)
        self.state = _State(self.url, None, None)

    def finish(self) -> None:
        """Give the file its name."""
        os.replace(self.path, self.target)
        self.note.unlink(missing_ok=True)


def _fetch(
    session: requests.Session,
    part: _Part,
    expected_size: int | None,
    timeouts: tuple[float, float],
    progress: bool | None,
) -> None:
    """One try: returns when the part is whole; raises _RetryError or one of PASSING when another may help."""
    have = part.size if part.state.validator else 0
    if have and have == part.state.total:
        return
    headers = {"Accept-Encoding": "identity"}
    if have:
        headers |= {"Range": f"bytes={have}-", "If-Range": str(part.state.validator)}
    with session.get(part.url, headers=headers, stream=True, timeout=timeouts) as answer:
        if answer.status_code == 416:
            part.discard()
            raise _RetryError("the server does not continue from there (416), starting afresh")
        if answer.status_code in RETRY_STATUS:
            raise _RetryError(f"the server answered {answer.status_code} {answer.reason}", _retry_after(answer))
        if answer.status_code not in (200, 206):
            raise DataError(
                f"{part.url}: the server answered {answer.status_code} {answer.reason}, expected 200; check "
                "the address, the file may have moved"
            )
        if answer.status_code == 206:
            total = _continued(answer, part, have)
        else:
            have = 0
            length = answer.headers.get("Content-Length", "")
            total = int(length) if length.isdigit() else None
            part.begin(_State(part.url, _validator(answer), total))
        if expected_size is not None and total is not None and total != expected_size:
            part.discard()
            raise DataError(
                f"{part.url}: the server has {total:,} bytes, expected {expected_size:,}; the file has "
                "changed at its source, check what the address holds now"
            )
        _check_space(part, have, total)
        _save(answer, part, have, total, progress)
    if total is not None and part.size != total:
        if part.size > total:
            part.discard()
        raise _RetryError(f"the connection ended after {part.size:,} of {total:,} bytes")


def _continued(answer: requests.Response, part: _Part, have: int) -> int | None:
    """The length of the whole file, from an answer 206 that continues the part; raises _RetryError if not.

    The ETag or date is compared here too, since some servers send the rest of a changed file all the same.
    """
    stated = answer.headers.get("Content-Range", "")
    match = re.fullmatch(r"bytes (\d+)-\d+/(\d+|\*)", stated.strip())
    total = int(match[2]) if match and match[2] != "*" else part.state.total
    if match is None or int(match[1]) != have or total != part.state.total:
        part.discard()
        raise _RetryError(f"asked for bytes from {have}, the server sent {stated!r}; starting afresh")
    if _validator(answer) not in (part.state.validator, None):
        part.discard()
        raise _RetryError("the file has changed at its source, starting afresh")
    return total


def _save(answer: requests.Response, part: _Part, have: int, total: int | None, progress: bool | None) -> None:
    """Append the body as it is on the wire: a .gz stays zipped whatever the server calls its encoding."""
    disable = None if progress is None else not progress
    with (
        part.path.open("ab") as file,
        tqdm(desc=part.target.name, total=total, initial=have, unit="B", unit_scale=True, disable=disable) as bar,
    ):
        for piece in answer.raw.stream(PIECE_BYTES, decode_content=False):
            file.write(piece)
            bar.update(len(piece))


def _check_space(part: _Part, have: int, total: int | None) -> None:
    needed, free = (total or 0) - have, shutil.disk_usage(part.path.parent).free
    if needed > free:
        raise DataError(
            f"{part.target}: {needed:,} bytes are still to come and {part.path.parent} has {free:,} free; "
            "make room, or choose another data.root"
        )


def _validator(answer: requests.Response) -> str | None:
    """What If-Range can hold: a strong ETag, else the date of the last change."""
    etag = answer.headers.get("ETag", "")
    if etag.startswith('"'):
        return etag
    return answer.headers.get("Last-Modified")


def _retry_after(answer: requests.Response) -> float:
    seconds = answer.headers.get("Retry-After", "")
    return float(seconds) if seconds.isdigit() else 0.0


def _problem(path: Path, expected_size: int | None, sha256: str | None) -> str | None:
    """What is wrong with a finished file, or None."""
    size = path.stat().st_size
    if expected_size is not None and size != expected_size:
        return f"{size:,} bytes, expected {expected_size:,}"
    with path.open("rb") as file:
        if sha256 is not None:
            found = hashlib.file_digest(file, "sha256").hexdigest()
            if found != sha256.lower():
                return f"SHA-256 {found}, expected {sha256.lower()}"
            file.seek(0)
        start = file.read(60)
    if path.name.removesuffix(".part").endswith(".gz") and not start.startswith(GZIP_MAGIC):
        return f"not a gzip file, it starts with {start!r} (an error page?)"
    return None
