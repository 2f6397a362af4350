"""Reader of MIND (Microsoft News): ``news.tsv`` and ``behaviors.tsv`` of one or more folders, gzipped or not.

A line of ``behaviors.tsv`` holds, between tabs, impression id, user, time, history and impressions. The history is ids
of news between blanks, oldest first, and may be empty. Impressions are ``N123-1 N456-0`` (1 for a click), or plain
ids in a test set. Times look like ``11/12/2019 2:14:46 PM`` and have no zone; they are read as UTC.
"""

import logging
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import polars as pl
from numpy.typing import NDArray

from gen_rec.data import columns as c
from gen_rec.data.interactions import Sequences, offsets_of, ranges
from gen_rec.data.lines import decode_utf8
from gen_rec.data.sources.reviews import line_blocks, shorten
from gen_rec.data.text import item_texts
from gen_rec.errors import DataError
from gen_rec.impressions.config import TEXTS, ImpressionConfig
from gen_rec.impressions.table import UNLABELLED, ImpressionData, Impressions, ItemRows, lists_without

logger = logging.getLogger(__name__)

NEWS = ("item_id", "category", "subcategory", "title", "abstract", "url", "title_entities", "abstract_entities")
KEPT = NEWS[:5]
BEHAVIORS = ("impression id", "user", "time", "history", "impressions")
_NEWS_FORM = "id, category, subcategory, title, abstract and more between tabs"
_BEHAVIORS_FORM = "impression id, user, time, history and impressions between tabs"
TIME = "%m/%d/%Y %I:%M:%S %p"


def read_mind(folders: Mapping[str, str | Path], config: ImpressionConfig | None = None) -> ImpressionData:
    """Read folders of MIND as splits over one table of news.

    folders: what to call the split -> folder with ``news.tsv`` and ``behaviors.tsv``, such as
             ``{"train": "MINDsmall_train", "valid": "MINDsmall_dev"}``
    returns  items with the columns item_id, title, text, category, subcategory, abstract, categories
    raises   DataError, naming file and line.
    """
    config = config or ImpressionConfig()
    paths = {split: _find(Path(folder), "behaviors") for split, folder in folders.items()}
    news = _read_news([_find(Path(folder), "news") for folder in folders.values()])
    rows = ItemRows(news[c.ITEM_ID], config.unknown_items)
    splits, counts = {}, {}
    for split, path in paths.items():
        splits[split], counts[split] = _read_behaviors(path, rows)
        logger.info("%s: %s", path, ", ".join(f"{count} {name}" for name, count in counts[split].items()))
    items = rows.table(news)
    items = items.with_columns(
        categories=pl.concat_str("category", "subcategory", separator=" > ").str.strip_chars_end(" >")
    )
    text = item_texts(items, config.text or TEXTS["mind"], origin="news.tsv").alias(c.TEXT)
    first = [items[c.ITEM_ID], items[c.TITLE], text]
    return ImpressionData(pl.DataFrame([*first, *items.drop(c.ITEM_ID, c.TITLE).get_columns()]), splits, counts)


def _find(folder: Path, kind: str) -> Path:
    for name in (f"{kind}.tsv", f"{kind}.tsv.gz"):
        if (folder / name).is_file():
            return folder / name
    what = "no such folder" if not folder.is_dir() else f"no {kind}.tsv or {kind}.tsv.gz in it"
    raise DataError(f"{folder}: {what}; give a folder of MIND as it is unpacked, such as MINDsmall_train")


def _read_news(paths: list[Path]) -> pl.DataFrame:
    """The news of all files as text columns. Folders share news: of an id that is there twice, the first is kept."""
    frames = [frame.drop("line") for path in paths for frame in _blocks(path, NEWS, len(KEPT), _NEWS_FORM)]
    if not frames:
        raise DataError(f"{paths[0]}: there is no news in it; unpack or download it again")
    return pl.concat(frames).select(KEPT).fill_null("").unique(c.ITEM_ID, keep="first", maintain_order=True)


def _blocks(path: Path, names: tuple[str, ...], least: int, form: str) -> Iterator[pl.DataFrame]:
    """A file without a header as String columns, a block of lines at a time, and each line's number in "line".

    least: fields that a line must have; those behind are null where they are missing
    form:  what a line should look like, for the error
    raises DataError where a line has fewer or more fields, or no id in the first.
    """
    for number, offset, block in line_blocks(path):
        text = decode_utf8(path, number, offset, block).split("\n")
        lines = pl.DataFrame({"text": text}).with_row_index("line", number)
        lines = lines.with_columns(pl.col("text").str.strip_chars_end("\r"))
        lines = lines.filter(pl.col("text").str.strip_chars() != "")
        if not len(lines):
            continue
        fields = lines["text"].str.count_matches("\t", literal=True) + 1
        wrong = (fields < least) | (fields > len(names)) | lines["text"].str.starts_with("\t")
        if wrong.any():
            row = int(wrong.arg_max() or 0)
            raise DataError(
                f"{path}, line {lines['line'][row]}: {fields[row]} fields, found {shorten(lines['text'][row])}; "
                f"expected {form}. If it is the last line, the file was cut: download it again. Else mend the line"
            )
        columns = lines["text"].str.split_exact("\t", len(names) - 1).struct.rename_fields(list(names)).struct.unnest()
        yield columns.with_columns(lines["line"])


@dataclass
class _Part:
    """What one block of behaviors.tsv holds; ``history`` points into the distinct histories of the block."""

    frame: pl.DataFrame  # impression id, user, time
    keys: NDArray[np.uint64]  # of the distinct histories: a hash of user and history
    history: NDArray[np.int64]
    history_users: pl.Series
    history_lengths: NDArray[np.int64]
    history_items: NDArray[np.int32]
    lengths: NDArray[np.int64]
    candidates: NDArray[np.int32]
    labels: NDArray[np.int8]


def _read_behaviors(path: Path, rows: ItemRows) -> tuple[Impressions, dict[str, int]]:
    dropped = {"history items dropped": 0, "candidates dropped": 0}
    parts = [_part(path, frame, rows, dropped) for frame in _blocks(path, BEHAVIORS, len(BEHAVIORS), _BEHAVIORS_FORM)]
    if not parts:
        raise DataError(f"{path}: there is no impression in it; unpack or download it again")
    frame = pl.concat([part.frame for part in parts])
    user_ids = frame["user"].unique(maintain_order=True)
    code = pl.DataFrame({"user": user_ids, "code": np.arange(len(user_ids), dtype=np.int32)})

    def codes(users: pl.Series) -> NDArray[np.int32]:
        return users.to_frame("user").join(code, on="user", how="left", maintain_order="left")["code"].to_numpy()

    # a history that is there in several blocks: its first place
    firsts, merged = _first_appearances(np.concatenate([part.keys for part in parts]))
    before = np.cumsum([0, *(len(part.keys) for part in parts)])
    history = np.concatenate([merged[part.history + start] for part, start in zip(parts, before, strict=False)])
    lengths = np.concatenate([part.history_lengths for part in parts])
    items = np.concatenate([part.history_items for part in parts])
    histories = Sequences(
        offsets_of(lengths[firsts]),
        items[ranges(offsets_of(lengths)[:-1][firsts], lengths[firsts])],
        codes(pl.concat([part.history_users for part in parts]).gather(firsts)),
    )
    impressions = Impressions(
        frame["impression id"].to_numpy(allow_copy=True),
        user_ids.to_numpy(allow_copy=True),
        codes(frame["user"]),
        frame["time"].to_numpy(),
        histories,
        history,
        offsets_of(np.concatenate([part.lengths for part in parts])),
        np.concatenate([part.candidates for part in parts]),
        np.concatenate([part.labels for part in parts]),
    )
    counts = {
        "impressions": len(impressions),
        "users": len(user_ids),
        "distinct histories": len(histories),
        "without a history": int((histories.lengths[history] == 0).sum()),
        "clicks": int((impressions.labels == 1).sum()),
        "candidates without a label": int((impressions.labels == UNLABELLED).sum()),
    }
    return impressions, counts | {name: count for name, count in dropped.items() if count}


def _part(path: Path, frame: pl.DataFrame, rows: ItemRows, dropped: dict[str, int]) -> _Part:
    line = frame["line"].to_numpy()

    def refuse(bad: np.ndarray, found: pl.Series, expected: str) -> None:
        """raises DataError at the first line of which ``bad`` (n,) is true"""
        if bad.any():
            row = int(bad.argmax())
            raise DataError(
                f"{path}, line {line[row]}: found {shorten(found[row])}; expected {expected}, mend or remove the line"
            )

    def rows_of(tokens: pl.Series, owner: np.ndarray) -> NDArray[np.int32]:
        """Rows of the tokens' items; ``owner`` is the row of ``frame`` that a token came from."""
        found = rows.rows(tokens)
        if rows.unknown == "error" and (found < 0).any():
            at = int((found < 0).argmax())
            raise DataError(
                f"{path}, line {line[owner[at]]}: {tokens[at]!r} is not in news.tsv; take the files of one edition, or "
                "set unknown_items to keep or drop"
            )
        return found

    time = frame["time"].str.strip_chars().str.to_datetime(TIME, strict=False, time_unit="us").dt.epoch("s")
    refuse(time.is_null().to_numpy(), frame["time"], "a time such as '11/12/2019 2:14:46 PM'")
    refuse((frame["user"].str.strip_chars() == "").to_numpy(), frame["user"], "the id of a user")

    keys = frame.select("user", "history").hash_rows(seed=0).to_numpy()  # a million clash once in 10^7 files
    firsts, history = _first_appearances(keys)
    history_tokens, history_lengths = _tokens(frame["history"].gather(firsts))
    history_items = rows_of(history_tokens, np.repeat(firsts, history_lengths))

    tokens, lengths = _tokens(frame["impressions"])
    refuse(lengths == 0, frame["impressions"], "the news that was shown, such as 'N123-1 N456-0'")
    owner = np.repeat(np.arange(len(frame)), lengths)
    tail = tokens.str.extract(r"-([^-]*)$")
    bad = ~tail.is_in(["0", "1"]).fill_null(True).to_numpy() | tokens.str.starts_with("-").to_numpy()
    refuse(
        np.bincount(owner[bad], minlength=len(frame)) > 0, frame["impressions"], "'N123-1' for a click, else 'N123-0'"
    )
    bare = np.bincount(owner[tail.is_null().to_numpy()], minlength=len(frame))
    refuse((bare > 0) & (bare < lengths), frame["impressions"], "a label, -0 or -1, for every item or for none")
    labels = tail.cast(pl.Int8).fill_null(UNLABELLED).to_numpy()
    candidates = rows_of(tokens.str.replace(r"-[01]$", ""), owner)

    history_items, history_lengths, lost = _without_unknown(history_items, history_lengths)
    dropped["history items dropped"] += lost
    known = candidates >= 0
    candidates, lengths, lost = _without_unknown(candidates, lengths)
    dropped["candidates dropped"] += lost
    return _Part(
        frame.select("impression id", "user", time=time), keys[firsts], history, frame["user"].gather(firsts),
        history_lengths, history_items, lengths, candidates, labels[known],
    )  # fmt: skip


def _tokens(texts: pl.Series) -> tuple[pl.Series, NDArray[np.int64]]:
    """The words of all texts, end to end, and how many each has."""
    words = texts.fill_null("").str.extract_all(r"\S+")
    return words.explode().drop_nulls(), words.list.len().to_numpy().astype(np.int64)


def _without_unknown(
    items: NDArray[np.int32], lengths: NDArray[np.int64]
) -> tuple[NDArray[np.int32], NDArray[np.int64], int]:
    """Ragged lists of item rows without those that are -1, and how many these were."""
    known = items >= 0
    offsets = lists_without(offsets_of(lengths), known)
    return items[known], np.diff(offsets), int(len(items) - known.sum())


def _first_appearances(keys: NDArray[np.uint64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Where each distinct key comes first, in order, and for every key which of these it is."""
    _, first, inverse = np.unique(keys, return_index=True, return_inverse=True)
    order = np.argsort(first)
    place = np.empty(len(order), np.int64)
    place[order] = np.arange(len(order))
    return first[order], place[inverse]
