"""The command line: what it takes, what it refuses and how, and where settings come from."""

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import polars as pl
import pytest

from gen_rec import inference
from gen_rec.cli import guarded, main, parse, parse_config
from gen_rec.commands import COMMANDS, HANDLERS
from gen_rec.config import Config, as_dict, to_yaml
from gen_rec.errors import GenRecError
from gen_rec.training.trainer import Interrupted
from tokenizer import Codes


def test_help(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--help"]) == 0
    text = capsys.readouterr().out
    assert set(COMMANDS) == set(HANDLERS)
    for name, what in COMMANDS.items():
        assert name in text
        assert what in text
    assert main([]) == 2


def test_help_of_a_command_names_every_setting(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        main(["recommend", "--help"])
    assert stop.value.code == 0
    text = capsys.readouterr().out
    for option in (
        "--k", "--histories", "--filter_seen", "--split", "--out", "--engine", "--partition_rows", "--actors", "--run",
        "--config",
    ):  # fmt: skip
        assert option in text
    for section, values in as_dict(Config()).items():
        for name in values if isinstance(values, dict) else ():
            assert f"--{section}.{name}" in text


@pytest.mark.parametrize("words", [["fly"], ["embsum"], ["embsum", "fly"], ["embsum", "--run", "x"]])
def test_unknown_command(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(words) == 2
    assert f"there is no command {words[0]!r}" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("command", "own"),
    [
        ("summarize", ["--split", "--retry_failed", "--limit"]),
        ("embsum train", ["--force"]),
        ("embsum encode", ["--split", "--dtype", "--engine", "--partition_rows", "--actors", "--force"]),
        ("embsum generate", ["--split", "--limit", "--engine", "--partition_rows", "--actors"]),
        ("impressions", ["--kind", "--train", "--valid", "--test", "--predictions", "--out", "--force"]),
        ("rerank", ["--split", "--recs", "--out", "--k", "--filter_seen", "--force"]),
    ],
)
def test_options_of_the_second_stage(command: str, own: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        main([*command.split(), "--help"])
    assert stop.value.code == 0
    text = capsys.readouterr().out
    options = {word.strip("[,") for word in text.split() if word.strip("[").startswith("--")}
    plain = {option for option in options if "." not in option and not hasattr(Config(), option[2:])}
    assert plain - {"--config", "--help", "--print_config"} == set(own)
    assert " ".join(COMMANDS[command].split()) in " ".join(text.split())


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["train", "--tokenizer.branching", "1"], "tokenizer.branching must be at least 2, got 1"),
        (["train", "--training.epochs", "many"], "training.epochs"),
        (["train", "--model.hidden_size", "30", "--model.num_heads", "4"], "model.num_heads must divide"),
        (["train", "--seed", "-1"], "seed must be at least 0 and below 2147483648, got -1"),
        (["train", "--model.widht", "3"], "--model.widht"),
        (["recommend", "--k", "0"], "k"),
        (["evaluate", "--split", "train"], "split"),
    ],
)
def test_a_bad_setting_names_the_field(arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        main(arguments)
    assert stop.value.code == 2
    error = capsys.readouterr().err
    assert message in error.split("error:")[-1]
    assert "Traceback" not in error
    assert "Warning" not in error


def test_a_bad_setting_in_a_file_names_it(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "bad.yaml").write_text("training:\n  epochz: 3\n")
    with pytest.raises(SystemExit):
        main(["train", "--config", str(tmp_path / "bad.yaml")])
    assert "epochz" in capsys.readouterr().err


@pytest.mark.parametrize(("command", "needed"), [("evaluate", "train"), ("recommend", "train"), ("embed", "prepare"),
                                                 ("tokenize", "embed"), ("report", "prepare"), ("summarize", "prepare"),
                                                 ("embsum train", "prepare"), ("embsum encode", "embsum train"),
                                                 ("embsum generate", "embsum train"), ("rerank", "train")])  # fmt: skip
def test_a_missing_stage_is_named(
    command: str, needed: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([*command.split(), "--run", str(tmp_path / "run")]) == 1
    error = capsys.readouterr().err
    assert f"gen-rec {needed}" in error
    assert "Traceback" not in error


def test_exit_codes(capsys: pytest.CaptureFixture[str]) -> None:
    def fail(error: BaseException) -> Callable[[], None]:
        def work() -> None:
            raise error

        return work

    assert guarded(lambda: None) == 0
    assert guarded(fail(GenRecError("it is broken; mend it"))) == 1
    assert capsys.readouterr().err.endswith("error: it is broken; mend it\n")
    assert guarded(fail(Interrupted("stopped", 15))) == 143
    assert guarded(fail(Interrupted("stopped", 2))) == 130
    assert guarded(fail(KeyboardInterrupt())) == 130
    with pytest.raises(ZeroDivisionError):  # a fault of ours keeps its traceback
        guarded(fail(ZeroDivisionError()))


def test_no_traceback_from_the_installed_command(start: Callable[..., subprocess.Popen[str]], tmp_path: Path) -> None:
    process = start("-m", "gen_rec.cli", "evaluate", "--run", tmp_path / "run")
    out, error = process.communicate(timeout=60)
    assert process.returncode == 1
    assert not out
    assert error.startswith("error: ")
    assert len(error.splitlines()) == 1


def test_where_settings_come_from(tmp_path: Path) -> None:
    run = tmp_path / "run"
    run.mkdir()
    (run / "config.yaml").write_text(to_yaml(Config(run="elsewhere", seed=7)))
    (tmp_path / "other.yaml").write_text("seed: 3\ntraining:\n  epochs: 4\n")
    assert parse_config([]) == Config()
    assert parse_config(["--run", str(run)]) == Config(run=str(run), seed=7)  # the run's own; where it lies now
    assert parse_config([f"--run={run}"]).seed == 7
    assert parse_config(["--run", str(run), "--seed", "8"]).seed == 8  # what is said aloud wins
    given = parse_config(["--config", str(tmp_path / "other.yaml"), "--run", str(run), "--training.epochs", "5"])
    assert (given.seed, given.training.epochs, given.training.patience) == (3, 5, 5)
    demo, _ = parse("demo", [])
    assert (demo.data.set, demo.run) == ("movielens-demo", "runs/demo")


def test_a_command_that_fails_leaves_the_settings_of_the_run(
    fresh_run: Callable[[str], Path], options: Callable[..., list[str]], capsys: pytest.CaptureFixture[str]
) -> None:
    run = fresh_run("run")
    settings = run / "config.yaml"
    settings.write_text(to_yaml(parse_config(options(run))))
    before = settings.read_bytes()
    failing = [
        ["tokenize", "--tokenizer.widths", "[2, 2]"],
        ["prepare", "--data.table.interactions", str(run / "nothing.csv")],
        ["embed", "--embeddings.semantic.model", "packaged:nothing"],
    ]
    for command, *more in failing:
        assert main([command, "--run", str(run), *more]) == 1
        assert settings.read_bytes() == before
    capsys.readouterr()
    assert main(["tokenize", "--run", str(run)]) == 0  # as before, without a word of what was tried
    assert Codes.load(run / "codes" / "behavior").widths == (4, 4, 4)
    assert settings.read_bytes() == before
    assert main(["tokenize", "--run", str(run), "--tokenizer.branching", "8"]) == 0
    assert parse_config(["--run", str(run)]).tokenizer.branching == 8


def test_every_config_file_is_named_in_the_result(
    trained: tuple[Config, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = Path(shutil.copytree(trained[1], tmp_path / "run"))
    monkeypatch.chdir(tmp_path)
    Path("base.yaml").write_text((run / "config.yaml").read_text())
    Path("overlay.yaml").write_text("search:\n  fusion: confidence\n  behavior_weight: 0.25\n")
    arguments = ["--config", "base.yaml", "--config=overlay.yaml", f"--run={run}", "--search.behavior_weight", "0.75"]
    assert main(["evaluate", *arguments]) == 0
    for result in json.loads((run / "metrics.json").read_text()):
        assert result["config"] == "base.yaml + overlay.yaml"
        assert result["settings"]["search"]["fusion"] == "confidence"
        assert result["settings"]["search"]["behavior_weight"] == 0.75


def test_help_says_what_a_setting_means(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["train", "--help"])
    text = " ".join(capsys.readouterr().out.split())
    assert "Prefixes that a beam search keeps at each level. (type: int, default: 100)" in text
    assert "TokenizerConfig(" not in text  # a class without a docstring shows its signature
    assert "EvaluationConfig(" not in text


def test_settings_survive_their_file(tmp_path: Path) -> None:
    config = parse_config(["--tokenizer.widths", "[4, 8]", "--data.valid_from", "2014-01-01", "--data.test_from",
                           "2014-06-01", "--data.split", "temporal", "--model.streams", "[semantic]",
                           "--training.learning_rate", "1e-05", "--data.text", "{title}: ü"])  # fmt: skip
    assert (config.tokenizer.widths, config.model.streams) == ([4, 8], ["semantic"])
    (tmp_path / "config.yaml").write_text(to_yaml(config), encoding="utf-8")
    assert parse_config(["--config", str(tmp_path / "config.yaml")]) == config


def test_recommend_from_standard_input(
    trained: tuple[Config, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    lines = tmp_path / "histories.jsonl"
    lines.write_text('["i1", "i2", "zz"]\n{"user_id": "ann", "history": ["i5"]}\n')
    out = tmp_path / "recs.csv"
    with lines.open() as file:
        monkeypatch.setattr(sys, "stdin", file)
        assert main(["recommend", "--run", str(trained[1]), "--k", "3", "--histories", "-", "--out", str(out)]) == 0
    assert f"{out}: 6 rows for 2 histories" in capsys.readouterr().out
    found = pl.read_csv(out)
    assert found["user_id"].to_list() == ["0"] * 3 + ["ann"] * 3
    assert found["rank"].to_list() == [1, 2, 3] * 2
    again = tmp_path / "again.csv"
    arguments = ["--run", str(trained[1]), "--k", "3", "--histories", str(lines), "--out", str(again)]
    assert main(["recommend", *arguments]) == 0
    assert again.read_bytes() == out.read_bytes()
    assert (
        main(["recommend", *arguments[:4], "--filter_seen", "false", "--histories", str(lines), "--out", str(again)])
        == 0
    )
    lines.write_text('["i1"\n')
    assert main(["recommend", *arguments]) == 1
    assert "line 1: not JSON" in capsys.readouterr().err


def test_evaluate_prints_its_table(trained: tuple[Config, Path], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["evaluate", "--run", str(trained[1]), "--split", "valid"]) == 0
    results = json.loads((trained[1] / "metrics_valid.json").read_text())
    rows = capsys.readouterr().out.splitlines()[2:]
    for row, result in zip(rows, results, strict=True):
        name, *figures = row.split()
        assert name == result["method"]
        raw, filtered = result["metrics"]["raw"], result["metrics"]["filtered"]
        expected = [table[name] for table in (raw, filtered) for name in ("recall@10", "ndcg@10", "ndcg@20")]
        assert figures == [f"{value:.4f}" for value in expected]


def test_the_device(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("torch.cuda.is_available", lambda: True)
    assert inference.device_of(parse_config(["--training.cpu", "true"])) == "cpu"
    assert inference.device_of(Config()) == "cuda"


def test_a_folder_that_is_a_file_is_named(tmp_path: Path, shop: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "run").write_text("in the way")
    table = [f"--data.table.{name}={shop / name}.csv" for name in ("interactions", "items")]
    assert main(["prepare", "--run", str(tmp_path / "run"), *table]) == 1
    error = capsys.readouterr().err
    assert str(tmp_path / "run") in error
    assert "Traceback" not in error
