"""What each command does: calls the stages with settings and options, and prints what a person wants to see."""

import json
from collections.abc import Callable, Sequence
from itertools import zip_longest
from pathlib import Path
from typing import Any

from jsonargparse import Namespace

from gen_rec import inference, stages
from gen_rec.config import Config, to_yaml
from gen_rec.engine import Engine
from gen_rec.evaluation.result import Result
from gen_rec.pipeline import run_training
from gen_rec.run import Run

DEMO_CONFIG = Path(__file__).parent / "demo.yaml"

COMMANDS = {
    "demo": "prepare, embed, tokenize, train, evaluate and report on a packaged set of film ratings",
    "prepare": "read, filter, order and split interactions",
    "embed": "embed items from behaviour and from text",
    "tokenize": "cut embeddings into codes, and report on them",
    "train": "run the missing stages and train; resumes what was interrupted",
    "evaluate": "score a split as the benchmark protocol says",
    "recommend": "write ranked items for a split, or for histories from a file or standard input",
    "summarize": "let a teacher write what users are interested in, for EmbSum to learn",
    "embsum train": "train EmbSum on the run's data; resumes what was interrupted",
    "embsum encode": "compute the poly-embeddings of all items and of a split's users, once",
    "embsum generate": "let EmbSum write what a split's users are interested in",
    "rerank": "fit the last ranking on validation users, and rank the candidates of a split by it",
    "impressions": "train EmbSum alone on lists that were shown, with clicks (MIND, Goodreads), and score them",
    "report": "write one HTML page about the run",
}


def engine_of(config: Config, options: Namespace) -> Engine:
    """The engine that the options ask for."""
    device = inference.device_of(config)
    return Engine(options.engine, device, gpus=not config.training.cpu, actors=options.actors)


def values_of(option: str, arguments: Sequence[str]) -> list[str]:
    """What an option is given, in order: ``--option value`` and ``--option=value``."""
    values = []
    for argument, following in zip_longest(arguments, arguments[1:]):
        if argument == option and following is not None:
            values.append(following)
        elif argument.startswith(option + "="):
            values.append(argument.split("=", 1)[1])
    return values


def print_json(value: Any) -> None:
    """Figures of a stage, readable."""
    print(json.dumps(value, indent=2, ensure_ascii=False))


def metrics_table(results: Sequence[Result]) -> str:
    """The headline figures of some results, a line each."""
    lines = [f"{'':26}{'raw':^24}{'filtered':^24}", f"{'':26}" + f"{'R@10':>8}{'N@10':>8}{'N@20':>8}" * 2]
    for result in results:
        figures = [
            f"{result['metrics'][mode][name]:8.4f}"
            for mode in ("raw", "filtered")
            for name in ("recall@10", "ndcg@10", "ndcg@20")
        ]
        lines.append(f"{result['method']:26}{''.join(figures)}")
    return "\n".join(lines)


def _prepare(config: Config, options: Namespace, arguments: Sequence[str]) -> None:
    stages.run_prepare(config, options.force)
    Run(config.run).remember(to_yaml(config))
    print((Run(config.run).data / "summary.json").read_text(encoding="utf-8"))


def _embed(config: Config, options: Namespace, arguments: Sequence[str]) -> None:
    device = inference.device_of(config)
    stages.run_embed(config, device, options.force, engine_of(config, options), options.partition_rows)
    Run(config.run).remember(to_yaml(config))


def _tokenize(config: Config, options: Namespace, arguments: Sequence[str]) -> None:
    stages.run_tokenize(config, inference.device_of(config), options.force)
    Run(config.run).remember(to_yaml(config))


def _train(config: Config, options: Namespace, arguments: Sequence[str]) -> None:
    run_training(config, options.force)


def _evaluate(config: Config, options: Namespace, arguments: Sequence[str]) -> None:
    name = " + ".join(values_of("--config", arguments))
    print(metrics_table(inference.run_evaluate(config, options.split, name)))


def _recommend(config: Config, options: Namespace, arguments: Sequence[str]) -> None:
    out = options.out or str(Run(config.run).recommendations)
    rows, histories = inference.run_recommend(
        config, out, options.histories, options.split, options.k, options.filter_seen, options.partition_rows,
        engine_of(config, options),
    )  # fmt: skip
    print(f"{out}: {rows} rows for {histories} histories")


def _summarize(config: Config, options: Namespace, arguments: Sequence[str]) -> None:
    from gen_rec.summaries.stage import run_summarize

    print_json(run_summarize(config, options.split, options.retry_failed, options.limit))
    Run(config.run).remember(to_yaml(config))


def _embsum_train(config: Config, options: Namespace, arguments: Sequence[str]) -> None:
    from gen_rec.embsum.training import run_train_embsum

    run_train_embsum(config, options.force)


def _embsum_encode(config: Config, options: Namespace, arguments: Sequence[str]) -> None:
    from gen_rec.embsum.encode import run_encode

    splits: Sequence[inference.Split] = ("valid", "test") if options.split == "both" else (options.split,)
    for path in run_encode(
        config, splits, options.dtype, engine_of(config, options), options.partition_rows, options.force
    ):
        print(path)


def _embsum_generate(config: Config, options: Namespace, arguments: Sequence[str]) -> None:
    from gen_rec.embsum.generate import run_generate

    engine = engine_of(config, options)
    print_json(run_generate(config, options.split, options.limit, engine, options.partition_rows))


def _rerank(config: Config, options: Namespace, arguments: Sequence[str]) -> None:
    from gen_rec.ranking.stage import run_rerank

    out = options.out or str(Run(config.run).reranked)
    rows, users = run_rerank(config, options.split, options.recs, out, options.k, options.filter_seen, options.force)
    Run(config.run).remember(to_yaml(config))
    print(f"{out}: {rows} rows for {users} users")


def _impressions(config: Config, options: Namespace, arguments: Sequence[str]) -> None:
    from gen_rec.impressions.stage import run_impressions

    found = run_impressions(
        config, options.kind, options.train, options.valid, options.test, options.out, options.predictions,
        force=options.force,
    )  # fmt: skip
    print_json({split: told["metrics"] for split, told in found["splits"].items()})


def _report(config: Config, options: Namespace, arguments: Sequence[str]) -> None:
    print(inference.run_report(config, options.split))


def _demo(config: Config, options: Namespace, arguments: Sequence[str]) -> None:
    run = Run(config.run)
    run_training(config, options.force)
    print("\nTest split, every film ranked for every user:\n")
    print(metrics_table(inference.run_evaluate(config, "test", DEMO_CONFIG.name)))
    _demo_second_stage(config, options.force)
    page = inference.run_report(config)
    recommender, dataset = inference.load_with_data(config, run)
    for user in inference.sample_users(recommender, dataset, "test", config.seed)[:3]:
        print(f"\nUser {user['user_id']}")
        print("  watched, most recent last: " + "; ".join(user["history"][-5:]))
        print("  in EmbSum's words:         " + user.get("summary", ""))
        print("  recommended:               " + "; ".join(user["lists"]["eager-fused"]))
        print("  after the last ranking:    " + "; ".join(user["lists"].get(inference.RERANKED, [])))
        print("  watched next:              " + user["target"])
    print(
        f"\nThe run is in {run.folder}. Look at {page}, or ask for more:\n"
        f"  gen-rec recommend --run {run.folder} --k 10 --out recs.csv"
    )


def _demo_second_stage(config: Config, force: bool) -> None:
    """EmbSum with a small budget, and the last ranking; prints what it gains on validation users."""
    from gen_rec.embsum.encode import run_encode
    from gen_rec.embsum.training import run_train_embsum
    from gen_rec.ranking.stage import REPORT_FILE, run_rerank

    run = Run(config.run)
    run_train_embsum(config, force)
    run_encode(config)
    run_rerank(config, force=force)
    found = json.loads((run.rerank / REPORT_FILE).read_text(encoding="utf-8"))["validation"]
    before, after = (found[when]["filtered"]["ndcg@10"] for when in ("before", "after"))
    print(
        f"\nThe last ranking (item graph, texts, EmbSum, popularity), on {found['users']} validation users, filtered: "
        f"NDCG@10 {before:.4f} before, {after:.4f} after"
    )


HANDLERS: dict[str, Callable[[Config, Any, Sequence[str]], None]] = {
    "demo": _demo,
    "prepare": _prepare,
    "embed": _embed,
    "tokenize": _tokenize,
    "train": _train,
    "evaluate": _evaluate,
    "recommend": _recommend,
    "summarize": _summarize,
    "embsum train": _embsum_train,
    "embsum encode": _embsum_encode,
    "embsum generate": _embsum_generate,
    "rerank": _rerank,
    "impressions": _impressions,
    "report": _report,
}
