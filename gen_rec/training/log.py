"""The log of a training: JSON lines for scripts, TensorBoard for people; a resumed run continues both."""

import json
from pathlib import Path
from typing import Any

from gen_rec.files import atomic_path


class EventLog:
    """Events with the ``step`` they happened at.

    path:        JSON-lines file, one event a line
    resume_step: a run that resumes at step n first drops the events after n, which it will write again
    tensorboard: folder for the same numbers as TensorBoard's scalars; None writes none
    """

    def __init__(self, path: Path, resume_step: int, tensorboard: Path | None = None) -> None:
        self.path = path
        kept = []
        if path.is_file() and resume_step:
            for line in path.read_text(encoding="utf-8", errors="replace").splitlines():
                try:
                    if json.loads(line)["step"] <= resume_step:
                        kept.append(line + "\n")
                except (json.JSONDecodeError, KeyError, TypeError):
                    continue  # a line cut short by a kill
        with atomic_path(path) as temporary:
            temporary.write_text("".join(kept), encoding="utf-8")
        self._writer: Any = None
        if tensorboard is not None:
            from torch.utils.tensorboard import SummaryWriter  # late, since it is slow to import

            self._writer = SummaryWriter(tensorboard, purge_step=resume_step + 1)

    def train(self, step: int, epoch: int, learning_rate: float, terms: dict[str, float]) -> None:
        """The loss terms of a step."""
        self._line(step, epoch=epoch, learning_rate=learning_rate, **terms)
        self._scalars("train", step, {**terms, "learning_rate": learning_rate})

    def valid(self, step: int, epoch: int, figures: dict[str, float], selected: float, wall_s: float) -> None:
        """The figures of a validation; ``selected`` is the one that picks the checkpoint."""
        named = {f"valid/{name}": value for name, value in figures.items()}
        self._line(step, epoch=epoch, **named, **{"valid/selected": selected, "wall_s": wall_s})
        self._scalars("valid", step, figures)

    def close(self) -> None:
        """Write out what TensorBoard's writer still holds."""
        if self._writer is not None:
            self._writer.close()

    def _line(self, step: int, **values: Any) -> None:
        with self.path.open("a", encoding="utf-8") as file:
            file.write(json.dumps({"step": step, **values}) + "\n")

    def _scalars(self, group: str, step: int, values: dict[str, float]) -> None:
        if self._writer is not None:
            for name, value in values.items():
                self._writer.add_scalar(f"{group}/{name}", value, step)
