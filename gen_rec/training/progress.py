"""Where a training stands: what a checkpoint must know besides weights, and the log that a resumed run continues."""

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from gen_rec.files import atomic_path


@dataclass
class Progress:
    """The next thing to do is step ``step_in_epoch`` of ``epoch``."""

    epoch: int = 0
    step_in_epoch: int = 0
    step: int = 0
    """Steps taken in all."""
    best: float = -1.0
    """Best validation figure so far."""
    best_epoch: int = -1
    waited: int = 0
    """Validations since the best one."""
    finished: bool = False
    wall_s: float = 0.0
    """Seconds spent training, over all interrupted parts."""

    def state_dict(self) -> dict[str, Any]:
        """For a checkpoint."""
        return asdict(self)

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """From a checkpoint."""
        for name, value in state.items():
            setattr(self, name, value)


class EventLog:
    """A JSON-lines file, one event a line, each with the ``step`` it happened at.

    A run that resumes at step n first drops the lines after n, which it will write again.
    """

    def __init__(self, path: Path, resume_step: int) -> None:
        self.path = path
        kept = []
        if path.is_file() and resume_step:
            for line in path.read_text(encoding="utf-8").splitlines():
                try:
                    if json.loads(line)["step"] <= resume_step:
                        kept.append(line + "\n")
                except (json.JSONDecodeError, KeyError):
                    continue  # a line cut short by a kill
        with atomic_path(path) as temporary:
            temporary.write_text("".join(kept), encoding="utf-8")

    def write(self, step: int, **values: Any) -> None:
        """Append one event."""
        with self.path.open("a", encoding="utf-8") as file:
            file.write(json.dumps({"step": step, **values}) + "\n")
