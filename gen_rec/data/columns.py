"""Names of the columns and files of a prepared data set."""

USER_ID = "user_id"
ITEM_ID = "item_id"
TIMESTAMP = "timestamp"
SPLIT = "split"
USER = "user"
ITEM = "item"
TITLE = "title"
TEXT = "text"

TRAIN, VALID, TEST = 0, 1, 2
SPLIT_NAMES = ("train", "valid", "test")

INTERACTIONS_FILE = "interactions.parquet"
ITEMS_FILE = "items.parquet"
USERS_FILE = "users.parquet"
SUMMARY_FILE = "summary.json"
