"""The command line: one command a stage, and ``demo`` for all of them on a set that needs no download."""

import logging
import sys
from collections.abc import Callable, Sequence
from itertools import zip_longest
from pathlib import Path
from typing import Any

from jsonargparse import ArgumentParser, Namespace, set_parsing_settings
from jsonargparse.typing import PositiveInt

from gen_rec import inference, stages
from gen_rec.config import Config, to_yaml
from gen_rec.embeddings.text import PARTITION_TEXTS
from gen_rec.engine import Engine
from gen_rec.errors import GenRecError
from gen_rec.evaluation.result import Result
from gen_rec.memory import keep_freed_memory
from gen_rec.pipeline import run_training
from gen_rec.run import Run
from gen_rec.training.trainer import Interrupted

logger = logging.getLogger(__name__)

DEMO_CONFIG = Path(__file__).parent / "demo.yaml"
set_parsing_settings(docstring_parse_attribute_docstrings=True)  # what stands under a field is its help

COMMANDS = {
    "demo": "prepare, embed, tokenize, train, evaluate and report on a packaged set of film ratings",
    "prepare": "read, filter, order and split interactions",
    "embed": "embed items from behaviour and from text",
    "tokenize": "cut embeddings into codes, and report on them",
    "train": "run the missing stages and train; resumes what was interrupted",
    "evaluate": "score a split as the benchmark protocol says",
    "recommend": "write ranked items for a split, or for histories from a file or standard input",
    "report": "write one HTML page about the run",
}


def make_parser(command: str) -> ArgumentParser:
    """The options of one command: all settings, and what the command alone has."""
    parser = ArgumentParser(prog=f"gen-rec {command}", description=COMMANDS.get(command, ""))
    parser.add_argument("--config", action="config", help="YAML file of settings; options after it win")
    parser.add_class_arguments(Config)
    if command in ("demo", "prepare", "embed", "tokenize", "train"):
        parser.add_argument("--force", type=bool, default=False, help="do the stage again, changed or not")
    if command in ("evaluate", "recommend", "report"):
        parser.add_argument("--split", choices=["valid", "test"], default="test", help="whose targets")
    if command == "recommend":
        parser.add_argument(
            "--histories", type=str, default=None,
            help="file of histories as text or Parquet, folder of Parquet files, or - for standard input",
        )  # fmt: skip
        parser.add_argument("--k", type=PositiveInt, default=10, help="items a history")
        parser.add_argument("--filter_seen", type=bool, default=True, help="leave out items of the history")
        parser.add_argument(
            "--out", type=str, default=None,
            help=".parquet, .csv or .jsonl, or a folder for Parquet partitions; in the run by default",
        )  # fmt: skip
    if command in ("embed", "recommend"):
        rows, of = (inference.PARTITION_ROWS, "users") if command == "recommend" else (PARTITION_TEXTS, "texts")
        parser.add_argument(
            "--engine", choices=["local", "ray"], default="local", help="who computes: this process, or Ray"
        )
        parser.add_argument("--partition_rows", type=PositiveInt, default=rows, help=f"{of} in a partition of the work")
        parser.add_argument(
            "--actors", type=PositiveInt | None, default=None,
            help="of Ray; by default one for each GPU, or processor where there is none",
        )  # fmt: skip
    return parser


def engine_of(config: Config, options: Namespace) -> Engine:
    """The engine that the options ask for."""
    device = inference.device_of(config)
    return Engine(options.engine, device, gpus=not config.training.cpu, actors=options.actors)


def parse(command: str, arguments: Sequence[str]) -> tuple[Config, Namespace]:
    """Settings and the command's own options.

    Without ``--config``, a run that exists is taken with the settings it has, and ``demo`` with its own.
    """
    parser = make_parser(command)
    arguments = list(arguments)
    if not values_of("--config", arguments):
        folders = values_of("--run", arguments)
        if folders and Run(folders[-1]).config.is_file():
            arguments = ["--config", str(Run(folders[-1]).config), *arguments]
        elif command == "demo":
            arguments = ["--config", str(DEMO_CONFIG), *arguments]
    values = parser.parse_args(arguments)
    build = getattr(parser, "instantiate", None) or parser.instantiate_classes  # its name before jsonargparse 4.49
    try:
        built = build(values)
    except ValueError as error:  # a setting that its own class refuses; the text names it
        parser.error(str(error))
    names = Config.__dataclass_fields__
    try:
        return Config(**{name: built[name] for name in names}), built
    except ValueError as error:
        parser.error(str(error))


def parse_config(arguments: Sequence[str]) -> Config:
    """Settings from ``--config FILE`` and dotted options, as ``train_gen.py`` takes them."""
    return parse("train", arguments)[0]


def values_of(option: str, arguments: Sequence[str]) -> list[str]:
    """What an option is given, in order: ``--option value`` and ``--option=value``."""
    values = []
    for argument, following in zip_longest(arguments, arguments[1:]):
        if argument == option and following is not None:
            values.append(following)
        elif argument.startswith(option + "="):
            values.append(argument.split("=", 1)[1])
    return values


def metrics_table(results: Sequence[Result]) -> str:
    """The headline figures of some results, a line each."""
    lines = [f"{'':18}{'raw':^24}{'filtered':^24}", f"{'':18}" + f"{'R@10':>8}{'N@10':>8}{'N@20':>8}" * 2]
    for result in results:
        figures = [
            f"{result['metrics'][mode][name]:8.4f}"
            for mode in ("raw", "filtered")
            for name in ("recall@10", "ndcg@10", "ndcg@20")
        ]
        lines.append(f"{result['method']:18}{''.join(figures)}")
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


def _report(config: Config, options: Namespace, arguments: Sequence[str]) -> None:
    print(inference.run_report(config, options.split))


def _demo(config: Config, options: Namespace, arguments: Sequence[str]) -> None:
    run = Run(config.run)
    run_training(config, options.force)
    print("\nTest split, every film ranked for every user:\n")
    print(metrics_table(inference.run_evaluate(config, "test", DEMO_CONFIG.name)))
    page = inference.run_report(config)
    recommender, dataset = inference.load_with_data(config, run)
    for user in inference.sample_users(recommender, dataset, "test", config.seed)[:3]:
        print(f"\nUser {user['user_id']}")
        print("  watched, most recent last: " + "; ".join(user["history"][-5:]))
        print("  recommended:               " + "; ".join(user["lists"][list(user["lists"])[-1]]))
        print("  watched next:              " + user["target"])
    print(
        f"\nThe run is in {run.folder}. Look at {page}, or ask for more:\n"
        f"  gen-rec recommend --run {run.folder} --k 10 --out recs.csv"
    )


HANDLERS: dict[str, Callable[[Config, Any, Sequence[str]], None]] = {
    "demo": _demo,
    "prepare": _prepare,
    "embed": _embed,
    "tokenize": _tokenize,
    "train": _train,
    "evaluate": _evaluate,
    "recommend": _recommend,
    "report": _report,
}


def usage() -> str:
    """What ``gen-rec --help`` prints."""
    width = max(map(len, COMMANDS))
    lines = [f"  {name:{width}}  {text}" for name, text in COMMANDS.items()]
    return (
        "usage: gen-rec COMMAND [--config FILE] [--run FOLDER] [--section.setting VALUE ...]\n\n"
        + "\n".join(lines)
        + "\n\nEach command's settings: gen-rec COMMAND --help"
    )


def guarded(work: Callable[[], None]) -> int:
    """Run a command; errors that a person can mend are printed without a traceback. Returns the exit status."""
    keep_freed_memory()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s", datefmt="%H:%M:%S")
    for noisy in ("accelerate", "httpx", "sentence_transformers"):
        logging.getLogger(noisy).setLevel(logging.WARNING)
    try:
        work()
    except Interrupted as stop:
        print(stop, file=sys.stderr)
        return 128 + stop.signum
    except GenRecError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("stopped; what was finished is kept, the same command goes on from there", file=sys.stderr)
        return 130
    return 0


def main(arguments: Sequence[str] | None = None) -> int:
    """Entry point of ``gen-rec``."""
    arguments = list(sys.argv[1:] if arguments is None else arguments)
    if not arguments or arguments[0] in ("-h", "--help"):
        print(usage())
        return 0 if arguments else 2
    command, *rest = arguments
    if command not in HANDLERS:
        print(f"gen-rec: there is no command {command!r}\n\n{usage()}", file=sys.stderr)
        return 2
    config, options = parse(command, rest)
    return guarded(lambda: HANDLERS[command](config, options, rest))


if __name__ == "__main__":
    sys.exit(main())
