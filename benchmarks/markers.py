"""Tables that are written into a page by a program: each stands between two comments with its name."""

import re

from gen_rec.errors import DataError


def splice(page: str, name: str, table: str, where: str) -> str:
    """The page with what stands between the markers of ``name`` replaced by the table.

    where:   what the page is called in an error
    raises   DataError where there is not exactly one pair of markers.
    """
    begin, end = f"<!-- {name}:begin -->", f"<!-- {name}:end -->"
    if page.count(begin) != 1 or page.count(end) != 1 or page.index(begin) > page.index(end):
        raise DataError(
            f"{where}: found {page.count(begin)} '{begin}' and {page.count(end)} '{end}', expected one "
            "of each in this order; put them where the table belongs"
        )
    pattern = re.compile(re.escape(begin) + ".*" + re.escape(end), re.DOTALL)
    return pattern.sub(lambda _: f"{begin}\n\n{table}\n\n{end}", page)
