"""Settings that cannot work are refused with their dotted name."""

import pytest

from gen_rec.data.config import DataConfig, TableConfig


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"k_core": -1}, r"^data\.k_core must be 0 \(no filter\) or positive, got -1"),
        ({"tie_seed": -1}, r"^data\.tie_seed must not be negative, got -1"),
        ({"date_from": "soon"}, r"^data\.date_from must be an ISO-8601 date such as 2019-01-01, got 'soon'"),
        (
            {"date_from": "2019-01-01", "date_to": "2019-01-01"},
            r"^data\.date_from must be before data\.date_to",
        ),
        ({"valid_from": 1.0}, r"^data\.valid_from must be a quantile between 0 and 1 or a date, got 1\.0"),
        (
            {"valid_from": 0.9, "test_from": 0.8},
            r"^data\.valid_from must be before data\.test_from, got 0\.9 and 0\.8",
        ),
        (
            {"valid_from": "2019-01-01"},
            r"^data\.valid_from and data\.test_from must both be quantiles or both be",
        ),
    ],
)
def test_bad_settings(settings, message):
    with pytest.raises(ValueError, match=message):
        DataConfig(**settings)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"user_column": ""}, r"^data\.table\.user_column must name a column, got an empty string"),
        (
            {"item_column": "user_id"},
            r"^data\.table\.user_column, item_column and timestamp_column must be three",
        ),
        ({"separator": "||"}, r"^data\.table\.separator must be a single byte, got '\|\|'"),
    ],
)
def test_bad_table_settings(settings, message):
    with pytest.raises(ValueError, match=message):
        TableConfig(**settings)


def test_window_is_in_unix_seconds():
    config = DataConfig(date_from="2019-01-01", date_to="2019-01-01T01:00:00+01:00".replace("01:00:00", "02:00:00"))
    assert config.window == (1_546_300_800, 1_546_304_400)
