"""Downloads against a server on the loopback that misbehaves as told; the bytes it holds are the oracle."""

import gzip
import hashlib
import json
import re
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import numpy as np
import pytest

from gen_rec.data.download import ALIASES, PUBLIC_SETS, PublicSet, download, download_set
from gen_rec.errors import DataError

CONTENT = np.random.default_rng(0).bytes(300_000)
QUICK: dict[str, Any] = {"read_timeout": 0.3, "backoff": 0.01, "progress": False}


@dataclass
class Server:
    """What the server holds, how it behaves, and what it was asked."""

    url: str = ""
    files: dict[str, bytes] = field(default_factory=dict)
    faults: list[str] = field(default_factory=list)
    """One for each coming request: ``truncate``, ``stall``, a status such as ``503``, ``wrong-range`` or
    ``ok``. After the last one everything is well."""
    etag: str | None = '"first"'
    ranges: bool = True
    heeds_if_range: bool = True
    state_length: bool = True
    extra: dict[str, str] = field(default_factory=dict)
    asked: list[dict[str, str]] = field(default_factory=list)


def make_handler(server: Server) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def log_message(self, format: str, *args: object) -> None:
            pass

        def do_GET(self) -> None:
            server.asked.append(dict(self.headers))
            fault = server.faults.pop(0) if server.faults else "ok"
            body = server.files.get(urlsplit(self.path).path)
            if body is None or fault.isdigit():
                self.send_response(404 if body is None else int(fault))
                for name, value in server.extra.items():
                    self.send_header(name, value)
                self.send_header("Content-Length", "0")
                self.end_headers()
                return
            start = self.start_of(body)
            rest = body[start:]
            if self.headers.get("Range") and start >= len(body):
                self.send_response(416)
                self.send_header("Content-Range", f"bytes */{len(body)}")
                self.send_header("Content-Length", "0")
                self.end_headers()
                return
            self.send_response(206 if start else 200)
            if server.state_length:
                self.send_header("Content-Length", str(len(rest)))
            if server.etag:
                self.send_header("ETag", server.etag)
            if start:
                stated = 0 if fault == "wrong-range" else start
                self.send_header("Content-Range", f"bytes {stated}-{len(body) - 1}/{len(body)}")
            for name, value in server.extra.items():
                self.send_header(name, value)
            self.end_headers()
            if fault in ("truncate", "stall"):
                self.wfile.write(rest[: len(rest) // 2])
                self.wfile.flush()
                if fault == "stall":
                    time.sleep(0.6)
                self.close_connection = True
            else:
                self.wfile.write(rest)

        def start_of(self, body: bytes) -> int:
            match = re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range", ""))
            if match is None or not server.ranges:
                return 0
            same = self.headers.get("If-Range") == server.etag
            return int(match[1]) if same or not server.heeds_if_range else 0

    return Handler


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    state = Server(files={"/file.bin": CONTENT})
    http = ThreadingHTTPServer(("127.0.0.1", 0), make_handler(state))
    state.url = f"http://127.0.0.1:{http.server_port}"
    thread = threading.Thread(target=http.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    yield state
    http.shutdown()
    http.server_close()
    thread.join()


def nothing_left(folder: Path) -> bool:
    return not folder.exists() or not list(folder.iterdir())


def test_a_file_arrives_whole_and_is_not_fetched_twice(server: Server, tmp_path: Path) -> None:
    path = tmp_path / "deep" / "file.bin"
    for _ in range(2):
        assert download(f"{server.url}/file.bin", path, **QUICK) == path
        assert path.read_bytes() == CONTENT
        assert [found.name for found in path.parent.iterdir()] == ["file.bin"]
    assert len(server.asked) == 1
    assert server.asked[0]["Accept-Encoding"] == "identity"


@pytest.mark.parametrize("fault", ["truncate", "stall"])
def test_what_is_cut_off_is_continued(server: Server, tmp_path: Path, fault: str) -> None:
    server.faults = [fault, fault]
    download(f"{server.url}/file.bin", tmp_path / "file.bin", **QUICK)
    assert (tmp_path / "file.bin").read_bytes() == CONTENT
    starts = [int(headers["Range"][6:-1]) for headers in server.asked[1:]]
    assert len(starts) == 2
    # half of what was left came each time; a stall loses what had not filled a piece of 64 KiB
    assert all(0 <= whole - start < 1 << 16 for start, whole in zip(starts, (150_000, 225_000), strict=True))
    assert server.asked[1]["If-Range"] == '"first"'
    assert [found.name for found in tmp_path.iterdir()] == ["file.bin"]


def test_progress_starts_the_count_of_tries_again(server: Server, tmp_path: Path) -> None:
    server.faults = ["truncate"] * 6
    download(f"{server.url}/file.bin", tmp_path / "file.bin", **QUICK | {"retries": 1})
    assert (tmp_path / "file.bin").read_bytes() == CONTENT


def test_a_later_run_continues(server: Server, tmp_path: Path) -> None:
    server.faults = ["truncate", "503"]
    with pytest.raises(DataError, match=r"2 tries in a row failed at 150,000 bytes.*503.*continues from"):
        download(f"{server.url}/file.bin", tmp_path / "file.bin", **QUICK | {"retries": 1})
    assert not (tmp_path / "file.bin").exists()
    assert (tmp_path / "file.bin.part").read_bytes() == CONTENT[:150_000]
    download(f"{server.url}/file.bin", tmp_path / "file.bin", **QUICK)
    assert server.asked[-1]["Range"] == "bytes=150000-"
    assert (tmp_path / "file.bin").read_bytes() == CONTENT


def test_a_run_killed_before_the_rename_needs_no_request(server: Server, tmp_path: Path) -> None:
    (tmp_path / "file.bin.part").write_bytes(CONTENT)
    note = {"url": f"{server.url}/file.bin", "validator": '"first"', "total": len(CONTENT)}
    (tmp_path / "file.bin.part.json").write_text(json.dumps(note))
    download(f"{server.url}/file.bin", tmp_path / "file.bin", **QUICK)
    assert server.asked == []
    assert (tmp_path / "file.bin").read_bytes() == CONTENT


@pytest.mark.parametrize("note", [None, "{", '{"url": "http://elsewhere", "validator": "x", "total": 3}', "[]"])
def test_a_part_of_unknown_origin_is_thrown_away(server: Server, tmp_path: Path, note: str | None) -> None:
    (tmp_path / "file.bin.part").write_bytes(b"something else")
    if note is not None:
        (tmp_path / "file.bin.part.json").write_text(note)
    download(f"{server.url}/file.bin", tmp_path / "file.bin", **QUICK)
    assert (tmp_path / "file.bin").read_bytes() == CONTENT
    assert "Range" not in server.asked[0]


def test_a_server_without_ranges_starts_again(server: Server, tmp_path: Path) -> None:
    server.ranges = False
    server.faults = ["truncate"]
    download(f"{server.url}/file.bin", tmp_path / "file.bin", **QUICK)
    assert len(server.asked) == 2
    assert (tmp_path / "file.bin").read_bytes() == CONTENT


def test_a_server_without_ranges_that_always_fails_ends(server: Server, tmp_path: Path) -> None:
    server.ranges = False
    server.faults = ["truncate"] * 9
    with pytest.raises(DataError, match=r"3 tries in a row failed at 150,000 bytes"):
        download(f"{server.url}/file.bin", tmp_path / "file.bin", **QUICK | {"retries": 2})
    assert len(server.asked) == 3


@pytest.mark.parametrize("heeds", [True, False])
def test_a_changed_file_starts_again(server: Server, tmp_path: Path, heeds: bool) -> None:
    server.faults = ["truncate", "503"]
    with pytest.raises(DataError):
        download(f"{server.url}/file.bin", tmp_path / "file.bin", **QUICK | {"retries": 1})
    new = bytes(reversed(CONTENT))
    server.files["/file.bin"], server.etag, server.heeds_if_range = new, '"second"', heeds
    download(f"{server.url}/file.bin", tmp_path / "file.bin", **QUICK)
    assert (tmp_path / "file.bin").read_bytes() == new


@pytest.mark.parametrize("etag", [None, 'W/"weak"'])
def test_without_an_identity_nothing_is_continued(server: Server, tmp_path: Path, etag: str | None) -> None:
    server.etag = etag
    server.faults = ["truncate"]
    download(f"{server.url}/file.bin", tmp_path / "file.bin", **QUICK)
    assert all("Range" not in headers for headers in server.asked)
    assert (tmp_path / "file.bin").read_bytes() == CONTENT


def test_the_date_of_the_last_change_is_an_identity(server: Server, tmp_path: Path) -> None:
    server.etag = None
    server.extra = {"Last-Modified": "Wed, 21 Oct 2015 07:28:00 GMT"}
    server.faults = ["truncate"]
    download(f"{server.url}/file.bin", tmp_path / "file.bin", **QUICK)
    assert server.asked[1]["If-Range"] == "Wed, 21 Oct 2015 07:28:00 GMT"
    assert (tmp_path / "file.bin").read_bytes() == CONTENT


def test_the_wrong_range_is_not_appended(server: Server, tmp_path: Path) -> None:
    server.faults = ["truncate", "wrong-range"]
    download(f"{server.url}/file.bin", tmp_path / "file.bin", **QUICK)
    assert (tmp_path / "file.bin").read_bytes() == CONTENT


def test_a_part_longer_than_the_file_starts_again(server: Server, tmp_path: Path) -> None:
    (tmp_path / "file.bin.part").write_bytes(CONTENT + b"more")
    note = {"url": f"{server.url}/file.bin", "validator": '"first"', "total": len(CONTENT)}
    (tmp_path / "file.bin.part.json").write_text(json.dumps(note))
    download(f"{server.url}/file.bin", tmp_path / "file.bin", **QUICK)  # answered 416 first
    assert (tmp_path / "file.bin").read_bytes() == CONTENT


def test_503_twice_then_success(server: Server, tmp_path: Path) -> None:
    server.faults = ["503", "503"]
    download(f"{server.url}/file.bin", tmp_path / "file.bin", **QUICK)
    assert len(server.asked) == 3
    assert (tmp_path / "file.bin").read_bytes() == CONTENT


def test_back_off_doubles_and_heeds_the_server(server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    waits: list[float] = []
    monkeypatch.setattr("gen_rec.data.download.time.sleep", waits.append)
    server.faults = ["500", "502", "504"]
    download(f"{server.url}/file.bin", tmp_path / "file.bin", progress=False)
    assert waits == [1.0, 2.0, 4.0]
    server.faults, server.extra = ["429"], {"Retry-After": "7"}
    download(f"{server.url}/file.bin", tmp_path / "other.bin", progress=False)
    assert waits[3:] == [7.0]


def test_404_is_final(server: Server, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"/gone\.bin: the server answered 404 Not Found, expected 200"):
        download(f"{server.url}/gone.bin", tmp_path / "gone.bin", **QUICK)
    assert len(server.asked) == 1
    assert nothing_left(tmp_path)


def test_nobody_there(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"127\.0\.0\.1:9/x: 2 tries in a row failed at 0 bytes.*ConnectionError"):
        download("http://127.0.0.1:9/x", tmp_path / "x", **QUICK | {"retries": 1})
    assert nothing_left(tmp_path)


def test_an_address_that_is_none(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="correct the address"):
        download("nonsense", tmp_path / "x", **QUICK)


def test_length_and_checksum(server: Server, tmp_path: Path) -> None:
    url, path, digest = f"{server.url}/file.bin", tmp_path / "file.bin", hashlib.sha256(CONTENT).hexdigest()
    with pytest.raises(DataError, match=r"has 300,000 bytes, expected 7"):
        download(url, path, expected_size=7, **QUICK)
    with pytest.raises(DataError, match=rf"SHA-256 {digest}, expected 00; it was thrown away"):
        download(url, path, sha256="00", **QUICK)
    assert nothing_left(tmp_path)
    server.state_length = False  # then the end of the connection is the end of the file
    with pytest.raises(DataError, match=r"300,000 bytes, expected 7"):
        download(url, path, expected_size=7, **QUICK)
    assert nothing_left(tmp_path)
    download(url, path, expected_size=len(CONTENT), sha256=digest.upper(), **QUICK)
    assert path.read_bytes() == CONTENT


def test_a_file_that_does_not_fit_is_replaced_and_survives_a_failure(server: Server, tmp_path: Path) -> None:
    path = tmp_path / "file.bin"
    path.write_bytes(b"old")
    server.faults = ["404"]
    with pytest.raises(DataError, match="404"):
        download(f"{server.url}/file.bin", path, expected_size=len(CONTENT), **QUICK)
    assert path.read_bytes() == b"old"
    download(f"{server.url}/file.bin", path, expected_size=len(CONTENT), **QUICK)
    assert path.read_bytes() == CONTENT


def test_gzip_stays_gzip_and_an_error_page_is_none(server: Server, tmp_path: Path) -> None:
    zipped = gzip.compress(CONTENT)
    server.files = {"/a.gz": zipped, "/b.gz": b"<html>please log in</html>"}
    server.extra = {"Content-Encoding": "gzip"}  # some servers say so of a .gz, and clients then unzip it
    download(f"{server.url}/a.gz", tmp_path / "a.gz", **QUICK)
    assert (tmp_path / "a.gz").read_bytes() == zipped
    with pytest.raises(DataError, match=r"not a gzip file, it starts with b'<html>please log in"):
        download(f"{server.url}/b.gz", tmp_path / "b.gz", **QUICK)
    assert not (tmp_path / "b.gz").exists()


def test_a_full_disk_is_said_before_it_is_full(server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Usage:
        free = 1000

    monkeypatch.setattr("gen_rec.data.download.shutil.disk_usage", lambda path: Usage)
    with pytest.raises(DataError, match=r"300,000 bytes are still to come.* 1,000 free"):
        download(f"{server.url}/file.bin", tmp_path / "file.bin", **QUICK)


def test_the_bar_counts_bytes_and_starts_where_the_part_ends(
    server: Server, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    server.faults = ["truncate"]
    download(f"{server.url}/file.bin", tmp_path / "file.bin", **QUICK | {"progress": True})
    shown = capsys.readouterr().err
    assert "file.bin:   0%" in shown
    assert "file.bin:  50%" in shown
    assert "300k/300k" in shown


def test_a_set_appears_as_a_whole(server: Server, tmp_path: Path) -> None:
    sets = {"tiny": PublicSet((f"{server.url}/{{name}}_5.gz", f"{server.url}/meta_{{name}}.gz"), "a page")}
    zipped = gzip.compress(b"x")
    server.files = {"/Toys_5.gz": zipped}
    with pytest.raises(DataError, match=r"could not be downloaded.*meta_Toys\.gz.*404.*put the files at") as caught:
        download_set("tiny/Toys", tmp_path, sets, **QUICK)
    assert str(tmp_path / "tiny" / "Toys") in str(caught.value)
    assert not (tmp_path / "tiny" / "Toys").exists()
    server.files["/meta_Toys.gz"] = zipped
    folder = download_set("tiny/Toys", tmp_path, sets, **QUICK)
    assert folder == tmp_path / "tiny" / "Toys"
    assert sorted(path.name for path in folder.iterdir()) == ["Toys_5.gz", "meta_Toys.gz"]
    assert [path.name for path in (tmp_path / "tiny").iterdir()] == ["Toys"]
    assert len(server.asked) == 3  # the first file was not fetched again
    download_set("tiny/Toys", tmp_path, sets, **QUICK)
    assert len(server.asked) == 3


def test_a_set_with_a_file_put_there_unzipped_is_completed(server: Server, tmp_path: Path) -> None:
    sets = {"tiny": PublicSet((f"{server.url}/{{name}}_5.gz", f"{server.url}/meta_{{name}}.gz"), "a page")}
    server.files = {"/meta_Toys.gz": gzip.compress(b"x")}
    folder = tmp_path / "tiny" / "Toys"
    folder.mkdir(parents=True)
    (folder / "Toys_5").write_text("by hand")
    download_set("tiny/Toys", tmp_path, sets, **QUICK)
    assert sorted(path.name for path in folder.iterdir()) == ["Toys_5", "meta_Toys.gz"]


def test_a_folder_that_cannot_be_written(server: Server, tmp_path: Path) -> None:
    (tmp_path / "tiny").write_text("a file, where a folder should be")
    with pytest.raises(DataError, match="could not be downloaded"):
        download_set("tiny/Toys", tmp_path, {"tiny": PublicSet((f"{server.url}/{{name}}",), "")}, **QUICK)


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("yelp", r"accept its terms.*business\.json.*yelp\.com.*put them at .*yelp"),
        (
            "netflix",
            r"netflix: not a public set.*amazon-2014, .*amazon-beauty.*put its files at .*netflix yourself",
        ),
        ("amazon-2014", r"expected amazon-2014/Category.*such as amazon-2014/All_Beauty"),
        ("amazon-2014/../etc", r"expected amazon-2014/Category"),
    ],
)
def test_sets_that_cannot_be_had(tmp_path: Path, name: str, words: str) -> None:
    with pytest.raises(DataError, match=words):
        download_set(name, tmp_path)


def test_the_registry_is_well_formed() -> None:
    for alias, name in ALIASES.items():
        assert name.partition("/")[0] in PUBLIC_SETS, alias
    for family, known in PUBLIC_SETS.items():
        assert known.terms or len(known.urls) == 2, family
        for url in known.urls:
            parts = urlsplit(url.format(name="All_Beauty"))
            assert parts.scheme in ("http", "https")
            assert parts.path.endswith(".gz")
            assert "All_Beauty" in parts.path
