"""The errors a person can do something about; the command line prints them without a traceback."""


class GenRecError(Exception):
    """Something the person who runs gen_rec can mend; the text says where, what and how."""


class DataError(GenRecError):
    """Input data that cannot be used as it is."""


class MissingExtra(GenRecError):  # noqa: N818 - what it is, not that it is an error, is the point
    """An optional dependency is needed and not installed."""
