"""Files that are whole or not there, and stages that run when their inputs or settings have changed."""

import json
import os
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from gen_rec import stages
from gen_rec.cli import parse_config
from gen_rec.config import Config
from gen_rec.errors import GenRecError
from gen_rec.files import atomic_path, content_hash, replace_folder, write_json
from gen_rec.run import Run
from tokenizer import Codes


def fail(*_: object) -> None:
    raise ZeroDivisionError


def test_atomic_path(tmp_path: Path) -> None:
    target = tmp_path / "new" / "a.csv"
    with atomic_path(target) as temporary:
        assert (temporary.parent, temporary.suffix) == (target.parent, ".csv")
        temporary.write_text("one")
        assert not target.exists()
    assert target.read_text() == "one"
    with pytest.raises(ZeroDivisionError), atomic_path(target) as temporary:
        fail(temporary.write_text("two"))
    assert target.read_text() == "one"
    assert list(target.parent.iterdir()) == [target]


def test_replace_folder(tmp_path: Path) -> None:
    target = tmp_path / "data"
    with replace_folder(target) as new:
        (new / "a").write_text("1")
    with replace_folder(target) as new:
        (new / "b").write_text("2")
        assert (target / "a").exists()  # the old one stands until the new one is whole
    assert [path.name for path in target.iterdir()] == ["b"]
    with pytest.raises(ZeroDivisionError), replace_folder(target) as new:
        fail((new / "c").write_text("3"))
    assert [path.name for path in target.iterdir()] == ["b"]
    assert list(tmp_path.iterdir()) == [target]


def test_leftovers_of_a_kill(tmp_path: Path) -> None:
    target = tmp_path / "data"
    (tmp_path / ".data.old").mkdir()  # killed between the two renames: the good data has the old name
    (tmp_path / ".data.old" / "good").write_text("1")
    (tmp_path / ".data.new").mkdir()
    (tmp_path / ".data.new" / "half").write_text("2")
    with pytest.raises(ZeroDivisionError), replace_folder(target) as new:
        fail(found := [*new.iterdir(), (target / "good").exists()])
    assert found == [True]  # nothing of the half new one, and the good one is back
    assert [path.name for path in target.iterdir()] == ["good"]
    assert list(tmp_path.iterdir()) == [target]


def test_write_json(tmp_path: Path) -> None:
    write_json(tmp_path / "a.json", {"ü": [1, 2.5]})
    assert json.loads((tmp_path / "a.json").read_text(encoding="utf-8")) == {"ü": [1, 2.5]}
    with pytest.raises(TypeError):
        write_json(tmp_path / "a.json", {"x": object()})
    assert json.loads((tmp_path / "a.json").read_text(encoding="utf-8")) == {"ü": [1, 2.5]}


def test_content_hash(tmp_path: Path) -> None:
    a, b = tmp_path / "a", tmp_path / "b"
    a.write_text("same")
    b.write_text("same")
    assert content_hash(a) == content_hash(b)  # what is in it, not what it is called, nor when it was written
    os.utime(b, (0, 0))
    assert content_hash({"x": 1, "y": 2}, b) == content_hash({"y": 2, "x": 1}, a)
    b.write_text("other")
    different = [content_hash(a), content_hash(b), content_hash(a, a), content_hash({"x": 1}), content_hash({"x": "1"}),
                 content_hash(b"ab", b"c"), content_hash(b"a", b"bc"), content_hash()]  # fmt: skip
    assert len(set(different)) == len(different)


def test_stage_keys(tmp_path: Path) -> None:
    run, file = Run(tmp_path / "run"), tmp_path / "in"
    file.write_text("1")
    key = run.stage_key({"k": 1}, [file])
    assert not run.is_done("embed", key, [file])
    run.mark_done("embed", key)
    run.mark_done("train", "other")
    assert run.is_done("embed", key, [file])
    assert not run.is_done("embed", key, [file, tmp_path / "gone"])
    file.write_text("2")
    assert not run.is_done("embed", run.stage_key({"k": 1}, [file]), [file])
    run.begin("embed")
    run.begin("never")
    assert not run.is_done("embed", key, [file])
    assert run.is_done("train", "other", [])
    (run.folder / "stages.json").write_text("{")
    assert not run.is_done("train", "other", [])
    with pytest.raises(GenRecError, match="gone is not there; make it with: gen-rec embed --run"):
        run.need(tmp_path / "gone", "embed")


@pytest.fixture
def copied(shop: Path, prepared: Path, tmp_path: Path, options: Callable[..., list[str]],
           monkeypatch: pytest.MonkeyPatch) -> Config:  # fmt: skip
    """A prepared run over files of its own, so that they can be changed."""
    own = Path(shutil.copytree(shop, tmp_path / "shop"))
    run = Path(shutil.copytree(prepared, tmp_path / "run"))
    monkeypatch.setattr(
        stages, "encode_texts", lambda texts, *_: np.random.default_rng(1).standard_normal((len(texts), 12))
    )
    config = parse_config([
        *options(run), f"--data.table.interactions={own / 'interactions.csv'}",
        f"--data.table.items={own / 'items.csv'}",
    ])  # fmt: skip
    stages.run_prepare(config)  # the paths have changed
    return config


def test_stages_run_when_something_has_changed(copied: Config) -> None:
    run = Run(copied.run)
    assert not stages.run_prepare(copied)
    assert not stages.run_embed(copied)  # the data's content is what it was, made anew or not
    assert not stages.run_tokenize(copied)

    # A new text: the items change, and with them what the encoder reads and what is made of that.
    items = Path(str(copied.data.table.items))
    items.write_text(items.read_text().replace("Thing 7 ", "Thing seven "))
    assert stages.run_prepare(copied)
    before = run.codes("semantic").with_suffix(".safetensors").read_bytes()
    assert stages.run_embed(copied)
    assert stages.run_tokenize(copied)
    assert run.codes("semantic").with_suffix(".safetensors").read_bytes() != before
    assert not stages.run_tokenize(copied)

    # A setting: only the stage that has it, and a report that fits.
    wider = replace(copied, tokenizer=replace(copied.tokenizer, branching=8))
    assert not stages.run_embed(wider)
    assert stages.run_tokenize(wider)
    assert Codes.load(run.codes("behavior")).widths == (8, 8)
    assert stages.run_tokenize(copied)  # and back
    assert Codes.load(run.codes("behavior")).widths == (4, 4, 4)
    assert stages.run_tokenize(copied, force=True)

    # A result that is gone is made again, the others are not.
    run.codes("behavior").with_suffix(".safetensors").unlink()
    semantic = run.codes("semantic").with_suffix(".safetensors")
    written = semantic.stat().st_mtime_ns
    assert stages.run_tokenize(copied)
    assert semantic.stat().st_mtime_ns == written


def test_a_stage_that_failed_is_not_taken_for_done(copied: Config, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object, **__: object) -> None:
        raise GenRecError("the disk is full")

    data = {path.name: path.read_bytes() for path in Run(copied.run).data.iterdir()}
    other = replace(copied, data=replace(copied.data, k_core=2))
    with monkeypatch.context() as patch:
        patch.setattr(stages, "prepare", fail)
        with pytest.raises(GenRecError, match="disk is full"):
            stages.run_prepare(other)
    assert {path.name: path.read_bytes() for path in Run(copied.run).data.iterdir()} == data
    assert stages.run_prepare(copied)
    with monkeypatch.context() as patch:
        patch.setattr(stages, "fit_codes", fail)
        with pytest.raises(GenRecError, match="disk is full"):
            stages.run_tokenize(copied, force=True)
    assert stages.run_tokenize(copied)


def test_settings_that_do_not_suit_the_items_are_an_error_not_a_crash(copied: Config) -> None:
    narrow = replace(copied, tokenizer=replace(copied.tokenizer, widths=[2, 2]))
    with pytest.raises(GenRecError, match="make 4 leaves, too few for 40 items"):
        stages.run_tokenize(narrow)


def test_where_texts_are_kept(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert stages.cache_folder() == tmp_path / "gen_rec" / "texts"
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert stages.cache_folder() == tmp_path / ".cache" / "gen_rec" / "texts"
