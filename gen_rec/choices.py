"""Settings of which one of a few words is meant, checked where a settings class is made by hand.

The command line and YAML files are checked by their parser; a dataclass takes what it is given.
"""

from dataclasses import fields
from typing import Any, Literal, get_args, get_origin, get_type_hints


def check_choices(settings: Any, name: str) -> None:
    """raises ValueError for a field of a settings class whose ``Literal`` does not have its value.

    name: what the settings are called in front of a person, as in ``search``
    """
    hints = get_type_hints(type(settings))
    for field in fields(settings):
        choices, value = _choices(hints[field.name]), getattr(settings, field.name)
        if choices and value not in choices:
            raise ValueError(f"{name}.{field.name} must be one of {choices}, got {value!r}")


def _choices(hint: Any) -> list[Any]:
    """What a ``Literal``, or a union of one and None, has to choose from; nothing for any other type."""
    if get_origin(hint) is Literal:
        return list(get_args(hint))
    parts = () if get_origin(hint) in (list, tuple, dict) else get_args(hint)
    chosen = [choice for part in parts for choice in _choices(part)]
    return [*chosen, None] if chosen and type(None) in parts else chosen
