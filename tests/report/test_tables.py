"""Numbers as text, by hand."""

import pytest

from gen_rec.report.tables import data_tables, json_tables, number, share


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (22363, "22,363"), (0.0734, "0.0734"), (12.0, "12"), (1234.56, "1,234.6"), (True, "yes"), (None, "–"),
        ("a", "a"), (1e-9, "1e-09"), (float("inf"), "inf"),
    ],
)  # fmt: skip
def test_numbers(value, text):
    assert number(value) == text


def test_shares():
    assert [share(v) for v in (0.0451, 0.0, 1.0, 0.99999)] == [".0451", ".0000", "1.0000", "1.0000"]


def texts(table):
    return [[cell.text for cell in row] for row in table.rows]


def test_any_json_becomes_tables():
    tables = json_tables(
        {
            "depth": 2,
            "sizes": list(range(10)),
            "tree": {"levels": [{"level": 1, "entropy": 6.5}, {"level": 2}], "agreement": {"nmi": 0.5}},
            "runs": [{"seconds": 3}],
            "matrix": [[1, 2], [3, 4]],
            "none": {},
        }
    )
    assert [table.caption for table in tables] == ["", "tree · levels", "tree · agreement", "runs"]
    assert texts(tables[0]) == [
        ["depth", "2"],
        ["sizes", "0, 1, 2, 3, 4, 5, 6, 7, … (10)"],
        ["matrix", "2 lists"],
        ["none", "–"],
    ]
    assert tables[1].head == ["level", "entropy"]
    assert texts(tables[1]) == [["1", "6.5"], ["2", "–"]]
    assert texts(tables[3]) == [["1", "3"]]


def test_data_summary_puts_equal_spreads_in_one_table():
    tables = data_tables(
        {
            "users": 3,
            "share_of_ties": 0.5,
            "per_user": {"min": 1.0, "max": 4.0},
            "per_item": {"min": 2.0, "max": 9.55},
            "splits": {"train": 7, "test": 3},
            "settings": {"k_core": 5, "tie_order": "input"},
        }
    )
    assert texts(tables[0]) == [["users", "3"], ["share of ties", "50.0%"]]
    assert tables[1].head == ["", "min", "max"]
    assert texts(tables[1]) == [["per user", "1", "4"], ["per item", "2", "9.6"]]
    assert texts(tables[2]) == [["splits", "7", "3"]]
    assert len(tables) == 3  # settings are not numbers; they stand under Settings


def test_dates_only_where_the_clock_is_known():
    known = data_tables({"clock": "unix", "first_timestamp": 86400})[0]
    assert texts(known) == [["clock", "unix"], ["first timestamp", "1970-01-02"]]
    other = data_tables({"clock": "gaps", "first_timestamp": 86400})[0]
    assert texts(other)[1] == ["first timestamp", "86,400"]
