"""The committed configs: each parses, names a set and no machine's path, and differs from its base as it says."""

import os
import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from gen_rec.cli import DEMO_CONFIG, parse_config
from gen_rec.config import Config, as_dict
from gen_rec.data.catalogue import item_frame, join_lists
from gen_rec.data.config import DataConfig
from gen_rec.data.sources import read_raw

CONFIGS = Path(__file__).resolve().parents[1] / "configs"
BASE = CONFIGS / "beauty.yaml"
ENCODER = CONFIGS / "minilm.yaml"
TIGER = CONFIGS / "tiger.yaml"
MAIN = sorted(set(CONFIGS.glob("*.yaml")) - {ENCODER, TIGER})
PAPER = sorted((CONFIGS / "paper").glob("*.yaml"))
BASE_OF = dict.fromkeys([TIGER, *(CONFIGS / "ablations").glob("*.yaml")], BASE)
EMBSUM_BASE = CONFIGS / "embsum" / "goodreads.yaml"
BASE_OF |= {CONFIGS / "ablations" / f"{name}.yaml": CONFIGS / "yelp.yaml" for name in ("own-encoders", "repeat-bias")}
BASE_OF[CONFIGS / "ablations" / "shared-encoder.yaml"] = CONFIGS / "sports.yaml"
BASE_OF |= {path: EMBSUM_BASE for path in EMBSUM_BASE.parent.glob("*.yaml") if path != EMBSUM_BASE}
ABLATIONS = sorted(BASE_OF)
RUNS = [DEMO_CONFIG, *MAIN, *PAPER, EMBSUM_BASE, *ABLATIONS]
EVERY = [*RUNS, ENCODER]

# items: table 1 of S3-Rec (arXiv 2008.07873)
ITEMS = {"amazon-beauty": 12_101, "amazon-sports": 18_357, "amazon-toys": 11_924, "yelp": 20_033}

MACHINE_PATH = re.compile(r"""(^|[\s"'=:\[,])(/\w|~|\$|\.\./|[A-Za-z]:[\\/])""")
"""An absolute path, one of a home folder or a variable, or one that climbs out of the working folder."""


def load(path: Path) -> Config:
    """The config as the command line reads it; an overlay lies over its base."""
    base = BASE if path == ENCODER else BASE_OF.get(path)
    files = [path] if base is None else [base, path]
    return parse_config([word for file in files for word in ("--config", str(file))])


def flat(values: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested settings by dotted name."""
    found: dict[str, Any] = {}
    for name, value in values.items():
        found |= flat(value, f"{prefix}{name}.") if isinstance(value, dict) else {prefix + name: value}
    return found


def name_of(path: Path) -> str:
    return path.stem if path.parent == CONFIGS else f"{path.parent.name}/{path.stem}"


@pytest.mark.parametrize("path", EVERY, ids=name_of)
def test_says_what_it_writes_and_nothing_of_a_machine(path):
    written = flat(yaml.safe_load(path.read_text(encoding="utf-8")))
    config = load(path)
    assert written.items() <= flat(as_dict(config)).items()  # every key is known, and no value was changed
    assert config.data.set in {*ITEMS, "movielens-demo", "goodreads"}
    assert config.data.root is None
    assert config.data.table.interactions is None
    assert re.fullmatch(r"runs/[\w-]+", config.run)
    for name, value in written.items():
        assert not MACHINE_PATH.search(f"{value}"), f"{name}: {value}"


def test_the_pattern_knows_a_machines_path():
    for text in ("/data/beauty", "~/sets", "$HOME/sets", "../sets", "C:\\sets", "a: /data"):
        assert MACHINE_PATH.search(text), text
    for text in ("runs/beauty", "sentence-transformers/sentence-t5-base", "packaged:all-MiniLM-L6-v2", "{title}. {a}"):
        assert not MACHINE_PATH.search(text), text


def test_an_unknown_key_is_refused(tmp_path, capsys):
    wrong = tmp_path / "wrong.yaml"
    wrong.write_text("objective:\n  trnsfer: false\n", encoding="utf-8")
    with pytest.raises(SystemExit):
        parse_config(["--config", str(BASE), "--config", str(wrong)])
    assert "trnsfer" in capsys.readouterr().err


def test_no_two_configs_share_a_run():
    runs = [load(path).run for path in RUNS]
    assert len(set(runs)) == len(runs)


def test_every_published_set_has_a_config_and_the_articles():
    for paths in (MAIN, PAPER):
        assert sorted(load(path).data.set or "" for path in paths) == sorted(ITEMS)


@pytest.mark.parametrize("path", [*MAIN, *PAPER], ids=name_of)
def test_codes_are_two_levels_deep(path):
    config = load(path)
    assert len(config.tokenizer.tree_widths(ITEMS[config.data.set or ""])) == 2


@pytest.mark.parametrize("path", [*MAIN, *PAPER], ids=name_of)
def test_the_benchmark_encoder_is_named(path):
    assert load(path).embeddings.semantic.model == "sentence-transformers/sentence-t5-base"


def test_the_articles_settings_do_not_depend_on_the_set():
    rest = []
    for path in PAPER:
        values = flat(as_dict(load(path)))
        rest.append({name: value for name, value in values.items() if name != "run" and not name.startswith("data.")})
    assert all(values == rest[0] for values in rest)
    stated = {
        "tokenizer.branching": 256, "model.hidden_size": 128, "model.encoder_layers": 1, "model.decoder_layers": 4,
        "model.encoder": "bidirectional", "model.max_history": 20, "objective.contrastive": "smooth_l1",
        "objective.contrastive_weight": 1.0, "objective.transfer": True, "objective.reconstruction_weight": 1.0,
        "objective.recognition_weight": 1.0, "search.fusion": "confidence",
    }  # fmt: skip
    assert stated.items() <= rest[0].items()


@pytest.mark.parametrize("path", ABLATIONS, ids=name_of)
def test_an_ablation_changes_what_it_names_and_nothing_else(path):
    before, after = (flat(as_dict(load(each))) for each in (BASE_OF[path], path))
    named = set(flat(yaml.safe_load(path.read_text(encoding="utf-8"))))
    changed = {name for name in after if after[name] != before[name]}
    assert "run" in changed
    assert changed - {"run"}, f"{path} no longer differs from {BASE_OF[path]}"
    assert changed <= named


def test_the_other_encoder_changes_that_and_nothing_else():
    before, after = (flat(as_dict(load(each))) for each in (BASE, ENCODER))
    changed = {name: after[name] for name in after if after[name] != before[name]}
    assert changed == {
        "embeddings.semantic.model": "packaged:all-MiniLM-L6-v2",
        "embsum.backbone": "packaged:all-MiniLM-L6-v2",
        "embsum.decoder_layers": 1,
    }


@pytest.mark.real_data
@pytest.mark.parametrize("path", MAIN, ids=name_of)
def test_every_item_of_the_published_set_gets_a_text(path):
    root = os.environ.get("GEN_REC_DATA", "nowhere")
    config = load(path).data
    if not (Path(root) / (config.set or "")).is_dir():
        pytest.skip(f"{config.set} is not under $GEN_REC_DATA")
    settings = DataConfig(
        set=config.set,
        root=root,
        title_column=config.title_column,
        text=config.text,
        list_separator=config.list_separator,
    )
    raw = read_raw(settings)
    assert raw.items is not None
    frame = item_frame(join_lists(raw.items, config.list_separator), raw, settings)
    assert len(frame) == ITEMS[config.set or ""]
    assert (frame["text"].str.len_chars() > 3).all()
    untitled = int((frame["title"] == "").sum())
    assert untitled == {"amazon-beauty": 7, "amazon-toys": 59}.get(config.set or "", 0)
