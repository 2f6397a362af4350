"""The command line: one command a stage, and ``demo`` for all of them on a set that needs no download."""

import logging
import sys
from collections.abc import Callable, Sequence

from jsonargparse import ArgumentParser, Namespace, set_parsing_settings
from jsonargparse.typing import NonNegativeInt, PositiveInt

from gen_rec.commands import COMMANDS, DEMO_CONFIG, HANDLERS, values_of
from gen_rec.config import Config
from gen_rec.embeddings.text import PARTITION_TEXTS
from gen_rec.embsum.encode import PARTITION_ROWS as ENCODED_ROWS
from gen_rec.errors import GenRecError
from gen_rec.memory import keep_freed_memory
from gen_rec.recommend_job import PARTITION_ROWS
from gen_rec.run import Run
from gen_rec.training.trainer import Interrupted

logger = logging.getLogger(__name__)

set_parsing_settings(docstring_parse_attribute_docstrings=True)  # what stands under a field is its help

SPLITS = {
    **dict.fromkeys(("evaluate", "recommend", "report", "rerank"), (["valid", "test"], "test", "whose targets")),
    "summarize": (["train", "valid", "test"], "train", "whose histories; train: those that EmbSum learns from"),
    "embsum encode": (["valid", "test", "both"], "both", "whose histories"),
    "embsum generate": (["valid", "test"], "test", "whose histories"),
}
FORCED = ("demo", "prepare", "embed", "tokenize", "train", "embsum train", "embsum encode", "rerank", "impressions")
"""Commands whose finished work is skipped unless it is asked for again."""
OUT_HELP = {
    "recommend": ".parquet, .csv or .jsonl, or a folder for Parquet partitions; in the run by default",
    "rerank": "a Parquet file; in the run by default",
    "impressions": "a JSON file of the figures; in the run by default",
}
IMPRESSIONS = {
    "valid": "folder of the validation split",
    "test": "folder of the test split",
    "predictions": "where the ranks of the test split go, in MIND's format; .zip is what its leaderboard takes",
}
PARTITIONS = {
    "embed": (PARTITION_TEXTS, "texts"),
    "recommend": (PARTITION_ROWS, "users"),
    "embsum encode": (ENCODED_ROWS, "items or users"),
    "embsum generate": (ENCODED_ROWS, "users"),
}


def make_parser(command: str) -> ArgumentParser:
    """The options of one command: all settings, and what the command alone has."""
    parser = ArgumentParser(prog=f"gen-rec {command}", description=COMMANDS.get(command, ""))
    parser.add_argument("--config", action="config", help="YAML file of settings; options after it win")
    parser.add_class_arguments(Config)
    if command in FORCED:
        parser.add_argument("--force", type=bool, default=False, help="do the stage again, changed or not")
    if command in SPLITS:
        splits, default, what = SPLITS[command]
        parser.add_argument("--split", choices=splits, default=default, help=what)
    if command in OUT_HELP:
        parser.add_argument("--out", type=str, default=None, help=OUT_HELP[command])
    if command in ("recommend", "rerank"):
        parser.add_argument("--k", type=PositiveInt, default=10, help="items a history")
        parser.add_argument("--filter_seen", type=bool, default=True, help="leave out items of the history")
    if command == "recommend":
        parser.add_argument(
            "--histories", type=str, default=None,
            help="file of histories as text or Parquet, folder of Parquet files, or - for standard input",
        )  # fmt: skip
    if command == "rerank":
        parser.add_argument(
            "--recs", type=str, default=None, help="ranked lists (Parquet) that are the candidates; searched by default"
        )
    if command in ("summarize", "embsum generate"):
        parser.add_argument("--limit", type=NonNegativeInt, default=0, help="users at most; 0 takes all")
    if command == "summarize":
        parser.add_argument("--retry_failed", type=bool, default=False, help="ask again for those that failed")
    if command == "embsum encode":
        parser.add_argument("--dtype", choices=["float32", "float16"], default="float32", help="precision on disk")
    if command == "impressions":
        parser.add_argument("--kind", choices=["mind", "goodreads"], required=True, help="whose files these are")
        parser.add_argument(
            "--train", type=str, required=True, help="folder of the training split, or of all of Goodreads"
        )
        for name, text in IMPRESSIONS.items():
            parser.add_argument(f"--{name}", type=str, default=None, help=text)
    if command in PARTITIONS:
        rows, of = PARTITIONS[command]
        parser.add_argument(
            "--engine", choices=["local", "ray"], default="local", help="who computes: this process, or Ray"
        )
        parser.add_argument("--partition_rows", type=PositiveInt, default=rows, help=f"{of} in a partition of the work")
        parser.add_argument(
            "--actors", type=PositiveInt | None, default=None,
            help="of Ray; by default one for each GPU, or processor where there is none",
        )  # fmt: skip
    return parser


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
    logging.getLogger("accelerate.utils.other").setLevel(logging.ERROR)  # it tells of every tied weight it saves once
    for noisy in ("accelerate", "httpx", "matplotlib", "sentence_transformers"):
        logging.getLogger(noisy).setLevel(logging.WARNING)
    try:
        work()
    except Interrupted as stop:
        print(stop, file=sys.stderr)
        return 128 + stop.signum
    except GenRecError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except OSError as error:  # a folder that cannot be written, a full disk: nothing that a traceback would explain
        if error.filename is None:
            raise
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
    if rest and f"{command} {rest[0]}" in HANDLERS:
        command, rest = f"{command} {rest[0]}", rest[1:]
    if command not in HANDLERS:
        print(f"gen-rec: there is no command {command!r}\n\n{usage()}", file=sys.stderr)
        return 2
    config, options = parse(command, rest)
    return guarded(lambda: HANDLERS[command](config, options, rest))


if __name__ == "__main__":
    sys.exit(main())
