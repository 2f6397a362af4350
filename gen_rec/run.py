"""A run's folder: where everything lies, and which stages need not be done again.

A stage has a key: a hash of its settings and of the content of what it reads. The key is written when the stage is
done; a stage whose key stands there already, and whose results are there, is skipped.
"""

import json
import logging
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from gen_rec.errors import GenRecError
from gen_rec.files import atomic_path, content_hash, write_json

logger = logging.getLogger(__name__)


class Run:
    """The folder of one run.

    config.yaml     the resolved settings
    stages.json     stage -> the key with which it was done
    data/           interactions.parquet, items.parquet, users.parquet, summary.json
    embeddings/     <stream>.safetensors; behavior.json, the losses of DIN
    codes/          <stream>.safetensors and .json, report.json, report.png
    checkpoints/    state for resuming the training
    model/          the recommender, as ``from_pretrained`` reads it
    log.jsonl       training and validation, a line an event
    tensorboard/    the same figures as curves
    metrics.json    the figures of the test split; metrics_valid.json those of the validation split
    users.parquet   the rank of every user's test target; users_valid.parquet that of the validation target
    summaries/      the teacher's summaries of users, a file a split
    embsum/         model/, encoded/, checkpoints/ and log.jsonl of EmbSum
    rerank/         the last ranking: item graph, blend, report.json
    recommendations.parquet, reranked.parquet, report.html
    """

    def __init__(self, folder: str | Path) -> None:
        self.folder = Path(folder)

    @property
    def config(self) -> Path:
        return self.folder / "config.yaml"

    @property
    def data(self) -> Path:
        return self.folder / "data"

    def embeddings(self, stream: str) -> Path:
        return self.folder / "embeddings" / f"{stream}.safetensors"

    def codes(self, stream: str) -> Path:
        """Without a suffix, as ``Codes.save`` takes it."""
        return self.folder / "codes" / stream

    @property
    def code_report(self) -> Path:
        return self.folder / "codes" / "report.json"

    @property
    def checkpoints(self) -> Path:
        return self.folder / "checkpoints"

    @property
    def model(self) -> Path:
        return self.folder / "model"

    @property
    def log(self) -> Path:
        return self.folder / "log.jsonl"

    @property
    def metrics(self) -> Path:
        return self.folder / "metrics.json"

    @property
    def per_user(self) -> Path:
        return self.folder / "users.parquet"

    @property
    def summaries(self) -> Path:
        return self.folder / "summaries"

    @property
    def embsum(self) -> Path:
        return self.folder / "embsum"

    @property
    def rerank(self) -> Path:
        return self.folder / "rerank"

    @property
    def reranked(self) -> Path:
        return self.folder / "reranked.parquet"

    @property
    def recommendations(self) -> Path:
        return self.folder / "recommendations.parquet"

    @property
    def report(self) -> Path:
        return self.folder / "report.html"

    @property
    def _stages(self) -> Path:
        return self.folder / "stages.json"

    def stage_key(self, settings: Any, inputs: Iterable[Path]) -> str:
        """Hash of settings and of the content of files."""
        return content_hash(settings, *[path for path in sorted(inputs) if path.is_file()])

    def is_done(self, stage: str, key: str, outputs: Iterable[Path]) -> bool:
        """Whether the stage ran with this key and left these files."""
        return self._keys().get(stage) == key and all(path.exists() for path in outputs)

    def begin(self, stage: str) -> None:
        """Forget that the stage was done: from here on its results may be another key's, until ``mark_done``."""
        keys = self._keys()
        if keys.pop(stage, None) is not None:
            write_json(self._stages, keys)

    def mark_done(self, stage: str, key: str) -> None:
        """Write down that the stage has run with this key."""
        write_json(self._stages, {**self._keys(), stage: key})

    def remember(self, settings: str) -> None:
        """Write the resolved settings, as YAML, into ``config.yaml``."""
        with atomic_path(self.config) as temporary:
            temporary.write_text(settings, encoding="utf-8")

    def need(self, path: Path, command: str) -> Path:
        """``path``, or an error that names the stage that makes it."""
        if not path.exists():
            raise GenRecError(f"{path} is not there; make it with: gen-rec {command} --run {self.folder}")
        return path

    def _keys(self) -> dict[str, str]:
        if not self._stages.is_file():
            return {}
        try:
            return dict(json.loads(self._stages.read_text(encoding="utf-8")))
        except json.JSONDecodeError:
            logger.warning("%s is not JSON; every stage counts as not done", self._stages)
            return {}
