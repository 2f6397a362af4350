"""``gen-rec prepare`` of a CSV of interactions, written with pandas: what row 10 compares with.

The settings are the fastest of those tried (see ``prepare_rows``): the file is read by pyarrow, on all cores, with the
types given; ids become numbers at once, so that no later step handles text; groups are neither sorted nor observed.
"""

from pathlib import Path

import numpy as np
import pandas as pd

ROWS_A_GROUP = 1_000_000


def prepare_with_pandas(csv: Path, out: Path, k: int) -> dict[str, int]:
    """Read, order, drop repeats, k-core, number, split leave-one-out and write the three tables.

    csv:     columns user_id, item_id, timestamp
    out:     folder that is made
    returns  users, items and interactions that are left.
    """
    frame = pd.read_csv(
        csv, engine="pyarrow", dtype={"user_id": "string[pyarrow]", "item_id": "string[pyarrow]", "timestamp": "int64"}
    )
    user, user_ids = pd.factorize(frame["user_id"])  # in order of first appearance
    item, item_ids = pd.factorize(frame["item_id"])
    frame = pd.DataFrame(
        {"user": user.astype(np.int32), "item": item.astype(np.int32), "timestamp": frame["timestamp"].to_numpy()}
    )
    frame = frame.sort_values(["user", "timestamp"], kind="stable", ignore_index=True)
    frame = frame.drop_duplicates(["user", "item"], ignore_index=True)
    while True:
        users = frame.groupby("user", sort=False)["item"].transform("size")
        items = frame.groupby("item", sort=False)["user"].transform("size")
        keep = (users >= k) & (items >= k)
        if keep.all():
            break
        frame = frame[keep]
    frame["user"], users_left = pd.factorize(frame["user"], sort=True)
    frame["item"], items_left = pd.factorize(frame["item"], sort=True)
    user_ids, item_ids = user_ids[users_left], item_ids[items_left]
    from_end = frame.groupby("user", sort=False).cumcount(ascending=False)
    length = frame.groupby("user", sort=False)["item"].transform("size")
    split = np.select([(length >= 3) & (from_end == 0), (length >= 3) & (from_end == 1)], [2, 1], 0)
    table = pd.DataFrame(
        {
            "user_id": user_ids.take(frame["user"]),
            "item_id": item_ids.take(frame["item"]),
            "timestamp": frame["timestamp"].to_numpy(),
            "split": pd.array(["train", "valid", "test"], dtype="string[pyarrow]").take(split),
            "user": frame["user"].to_numpy(np.int32),
            "item": frame["item"].to_numpy(np.int32),
        }
    )
    out.mkdir(parents=True, exist_ok=True)
    options = {"engine": "pyarrow", "compression": "zstd", "index": False}
    table.to_parquet(out / "interactions.parquet", row_group_size=ROWS_A_GROUP, **options)
    pd.DataFrame({"user_id": user_ids}).to_parquet(out / "users.parquet", **options)
    pd.DataFrame({"item_id": item_ids, "title": "", "text": ""}).to_parquet(out / "items.parquet", **options)
    return {"users": len(user_ids), "items": len(item_ids), "interactions": len(table)}
