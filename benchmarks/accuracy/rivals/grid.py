"""What a rival may try: a YAML file of fixed settings and of a grid, and the trials that follow from it.

settings:            # what all trials share; anything left out is as the settings class has it
  hidden_size: 64
grid:                # every combination is a trial, the first name changing slowest
  dropout: [0.3, 0.5]
  training.learning_rate: [1.0e-3, 5.0e-4]
"""

import itertools
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from jsonargparse import ArgumentError, ArgumentParser

from gen_rec.errors import GenRecError

Values = dict[str, Any]
"""Settings by dotted name."""


class GridError(GenRecError):
    """What a rival may try cannot be read."""


@dataclass(frozen=True)
class Space:
    """fixed: the same in all trials; grid: the values of each setting that is searched; source: where it is from"""

    fixed: Values
    grid: dict[str, list[Any]]
    source: str

    @classmethod
    def read(cls, path: str | Path) -> "Space":
        """raises GridError where the file is not what the top of this module says."""
        path = Path(path)
        try:
            found = yaml.safe_load(path.read_text(encoding="utf-8")) or {}
        except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
            raise GridError(f"{path}: cannot be read ({error}); give a YAML file, see configs/rivals") from error
        if not isinstance(found, dict) or set(found) - {"settings", "grid"}:
            raise GridError(f"{path}: expected the keys 'settings' and 'grid', got {found!r:.80}")
        for name in found:
            if not isinstance(found[name] or {}, dict):
                raise GridError(f"{path}: {name} must be names with values, got {found[name]!r:.80}")
        fixed, grid = flat(found.get("settings") or {}), found.get("grid") or {}
        for name, values in grid.items():
            if not isinstance(values, list) or not values:
                raise GridError(f"{path}: grid.{name} must be a list of values, got {values!r}")
        return cls(fixed, grid, str(path))

    @classmethod
    def chosen_in(cls, path: str | Path) -> "Space":
        """The one setting that another run chose. path: its evidence"""
        try:
            chosen = flat(json.loads(Path(path).read_text(encoding="utf-8"))["chosen"]["settings"])
        except (OSError, KeyError, TypeError, AttributeError, json.JSONDecodeError) as error:
            raise GridError(f"{path}: not the evidence of a rival's run ({error!r})") from error
        return cls(chosen, {}, str(path))

    def with_values(self, given: Sequence[str]) -> "Space":
        """One trial: the fixed settings, and ``NAME=VALUE`` of each of these; the grid is not searched."""
        if not given:
            return self
        values = {}
        for each in given:
            name, equals, value = each.partition("=")
            if not equals:
                raise GridError(f"--trial {each}: expected NAME=VALUE, as in training.learning_rate=0.001")
            values[name.strip()] = yaml.safe_load(value)
        return Space({**self.fixed, **values}, {}, f"{self.source}, {', '.join(given)}")

    def trials(self) -> list[Values]:
        """What each trial changes of the fixed settings; one empty change where there is no grid."""
        return [dict(zip(self.grid, each, strict=True)) for each in itertools.product(*self.grid.values())]


def build(settings: type[Any], values: Values) -> Any:
    """An object of a settings class. values: by dotted name

    raises GridError for a name that the class does not have or a value that it refuses.
    """
    nested: Values = {}
    for name, value in values.items():
        *path, last = name.split(".")
        inside = nested
        for step in path:
            inside = inside.setdefault(step, {})
            if not isinstance(inside, dict):
                raise GridError(f"settings of this rival: {name} is inside of {step}, which has a value of its own")
        inside[last] = value
    parser = ArgumentParser(exit_on_error=False)
    parser.add_class_arguments(settings, "settings")
    try:
        return parser.instantiate(parser.parse_object({"settings": nested})).settings
    except (ArgumentError, ValueError, TypeError) as error:
        raise GridError(f"settings of this rival: {error}") from error


def flat(values: Values, prefix: str = "") -> Values:
    """Nested settings by dotted name."""
    found: Values = {}
    for name, value in values.items():
        found |= flat(value, f"{prefix}{name}.") if isinstance(value, dict) else {prefix + name: value}
    return found
