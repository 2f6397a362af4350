"""Writes the page: gathers what a run folder holds, leaves out what it does not, and says so."""

import base64
import json
import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined

from gen_rec.errors import DataError, MissingExtra
from gen_rec.evaluation.result import Result, read_results
from gen_rec.files import atomic_path
from gen_rec.report.second_stage import embsum_tables, ranking_tables
from gen_rec.report.tables import (
    beyond_table,
    data_tables,
    json_tables,
    metrics_table,
    number,
    share,
    slice_tables,
)
from gen_rec.report.training_log import draw_curves, read_log

logger = logging.getLogger(__name__)

NAMES = {
    "eager-fused": "Fused",
    "eager-behavior": "Behaviour stream",
    "eager-semantic": "Semantic stream",
    "eager-reranked": "Reranked",
}
"""How the page calls the methods whose lists it shows; any other keeps its own name."""


def write_report(
    run: str | Path,
    recommendations: Sequence[Mapping[str, Any]] | None = None,
    title: str | None = None,
    out: str | Path | None = None,
) -> Path:
    """Write ``report.html``, one page without a script and without an address outside itself.

    run:             the run folder; read are ``data/summary.json``, ``codes/report.json`` and ``report.png``,
                     ``log.jsonl``, ``metrics.json`` (a list of results), ``rerank/report.json``, what EmbSum left in
                     ``embsum/`` and ``config.yaml``, each where it exists
    recommendations: some users, each ``{"user_id": str, "history": [titles, oldest first], "target": title,
                     "lists": {method: [titles, best first]}, "hit": {method: rank of the target from 1, or
                     None}, "summary": what EmbSum writes of the user}``; the last two may be missing, and where a
                     method has no ``hit``, the first title equal to the target is marked
    title:           heading of the page; the name of the run folder by default
    out:             where to write; ``<run>/report.html`` by default
    returns          the path of the page
    raises           DataError where a file of the run is there but cannot be read.
    """
    run = Path(run)
    if not run.is_dir():
        raise DataError(f"{run}: no such run folder; a report shows a run, make one with: gen-rec prepare")
    path = Path(out) if out is not None else run / "report.html"
    results = read_results(run / "metrics.json") if (run / "metrics.json").exists() else []
    page = {
        "title": title or run.resolve().name,
        "headline": _headline(run, results),
        "data": _data(run),
        "codes": _codes(run),
        "training": _training(run),
        "second": _second_stage(run),
        "metrics": _metrics(results),
        "users": [_user(user) for user in recommendations or []],
        "config": _text(run / "config.yaml"),
    }
    # every value is escaped: titles and ids come from strangers
    environment = Environment(
        loader=PackageLoader("gen_rec.report", "."),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    html = environment.get_template("page.html.j2").render(page)
    with atomic_path(path) as temporary:
        temporary.write_text(html, encoding="utf-8")
    return path


def _text(path: Path) -> str | None:
    return path.read_text(encoding="utf-8", errors="replace") if path.exists() else None


def _json(path: Path) -> dict[str, Any] | None:
    """A JSON object of the run, or None where the file is not there."""
    text = _text(path)
    if text is None:
        return None
    try:
        value = json.loads(text)
    except json.JSONDecodeError as error:
        raise DataError(f"{path}: not JSON ({error}); run the stage that writes it again") from error
    if not isinstance(value, dict):
        raise DataError(f"{path}: found {type(value).__name__}, expected a JSON object")
    return value


def _picture(data: bytes | None) -> str | None:
    """A PNG as a data address, so that the page needs no second file."""
    return None if data is None else "data:image/png;base64," + base64.b64encode(data).decode("ascii")


def _headline(run: Path, results: Sequence[Result]) -> list[tuple[str, str, str]]:
    """The figures at the top: (value, what it is, remark)."""
    figures: list[tuple[str, str, str]] = []
    summary = _json(run / "data" / "summary.json") or {}
    counts = ("users", "items", "interactions")
    figures += [(number(summary[key]), key, "") for key in counts if isinstance(summary.get(key), int)]
    best = next((r for r in results if r["method"] == "eager-fused"), results[0] if results else None)
    if best is not None:
        for mode in ("raw", "filtered"):
            remark = f"{best['method']}, {best['split']}"
            figures.append((share(best["metrics"][mode]["ndcg@10"]), f"NDCG@10 {mode}", remark))
    return figures


def _data(run: Path) -> list[Any] | None:
    summary = _json(run / "data" / "summary.json")
    return None if summary is None else data_tables(summary)


def _codes(run: Path) -> dict[str, Any] | None:
    report = _json(run / "codes" / "report.json")
    if report is None:
        return None
    picture = run / "codes" / "report.png"
    return {
        "tables": json_tables(report),
        "picture": _picture(picture.read_bytes() if picture.exists() else None),
    }


def _training(run: Path) -> dict[str, Any] | None:
    path = run / "log.jsonl"
    if not path.exists():
        return None
    log = read_log(path)
    note = ""
    try:
        picture = draw_curves(log)
    except MissingExtra as error:
        logger.warning("%s", error)
        picture, note = None, str(error)
    return {"picture": _picture(picture), "best": log.best(), "note": note}


def _second_stage(run: Path) -> list[Any]:
    """Tables of the last ranking and of EmbSum; none where a run has neither."""
    ranking = _json(run / "rerank" / "report.json")
    embsum = [_json(run / "embsum" / name) or {} for name in ("training.json", "states.json", "summaries_test.json")]
    return (ranking_tables(ranking) if ranking else []) + embsum_tables(*embsum)


def _metrics(results: Sequence[Result]) -> dict[str, Any] | None:
    if not results:
        return None
    first = results[0]
    return {
        "figures": metrics_table(results),
        "beyond": beyond_table(results),
        "slices": slice_tables(results),
        "has_intervals": any("intervals" in result for result in results),
        "n_users": number(first["n_users"]),
        "facts": [
            (name, str(first[key]))
            for name, key in (
                ("set", "set"),
                ("split", "split"),
                ("seed", "seed"),
                ("ties", "ties"),
                ("text encoder", "text_encoder"),
                ("commit", "commit"),
                ("hardware", "hardware"),
            )
            if str(first[key])
        ],
    }


def _user(user: Mapping[str, Any]) -> dict[str, Any]:
    """One user for the page, with the place of the target in every list."""
    missing = [key for key in ("user_id", "history", "target", "lists") if key not in user]
    if missing:
        raise ValueError(f"a user of the report has no {', '.join(missing)}; found {', '.join(map(str, user))}")
    lists = []
    for method, titles in user["lists"].items():
        given = user.get("hit", {}).get(method, True)
        if given is True:
            rank = titles.index(user["target"]) + 1 if user["target"] in titles else None
        else:
            rank = int(given) if given else None
        lists.append({"name": NAMES.get(method, method), "titles": list(titles), "rank": rank})
    return {
        "user_id": user["user_id"],
        "history": list(user["history"]),
        "target": user["target"],
        "lists": lists,
        "summary": user.get("summary") or "",
        "hit": any(shown["rank"] for shown in lists),
    }
