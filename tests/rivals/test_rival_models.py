"""SASRec and BSARec: what a state may depend on."""

from typing import Any

import pytest
import torch
from tiny_models import stir
from torch import Tensor, nn

from benchmarks.accuracy.rivals.attention import CausalAttention, Places
from benchmarks.accuracy.rivals.frequency import FrequencyFilter
from benchmarks.accuracy.rivals.grid import GridError, build
from benchmarks.accuracy.rivals.sequence import BSARecConfig, SASRecConfig, SequenceModel, bsarec, sasrec

N_ITEMS, LONGEST = 30, 12
TOLERANCE = 1e-11
"""Float64 sums of a few dozen numbers of size one."""
SMALL: dict[str, Any] = {"hidden_size": 8, "num_heads": 2, "inner_size": 16, "max_history": LONGEST}
VARIANTS: list[dict[str, Any]] = [
    {"method": "sasrec", "norm": "post"},
    {"method": "sasrec", "norm": "pre"},
    {"method": "bsarec", "filter_length": "padded"},
    {"method": "bsarec", "filter_length": "own", "norm": "pre"},
    {"method": "bsarec", "alpha": 0.0},
    {"method": "bsarec", "alpha": 1.0},
]

pytestmark = pytest.mark.usefixtures("doubles")


def model(method: str = "sasrec", **settings: Any) -> SequenceModel:
    if method == "sasrec":
        made = sasrec(N_ITEMS, SASRecConfig(**SMALL, **settings))
    else:
        made = bsarec(N_ITEMS, BSARecConfig(**SMALL, **settings))
    stir(made, seed=1)
    return made.eval()


def history(*lists: list[int], width: int | None = None) -> Tensor:
    """Right-aligned, padded with -1."""
    width = max(map(len, lists)) if width is None else width
    return torch.tensor([[-1] * (width - len(each)) + each for each in lists])


@pytest.mark.parametrize("norm", ["pre", "post"])
def test_a_later_item_changes_no_earlier_state(norm: str) -> None:
    made = model(norm=norm)
    before = history([3, 1, 4, 1, 5, 9], [2, 6, 5, 3])
    for place in range(1, 6):
        after = before.clone()
        after[:, place] = (after[:, place] + 7) % N_ITEMS
        a, b = made(before, 6), made(after, 6)
        assert torch.equal(a[0, :place], b[0, :place])
        assert torch.equal(a[1, 2:place], b[1, 2:place])  # its first two places are padding
        assert not torch.allclose(a[:, place:], b[:, place:])


def test_the_filter_sees_later_items() -> None:
    """The reason why BSARec learns from the last place only."""
    made = model("bsarec")
    before, after = history([3, 1, 4, 1, 5]), history([3, 1, 4, 1, 6])
    assert not torch.allclose(made(before, 5)[0, 0], made(after, 5)[0, 0])
    with pytest.raises(GridError, match='must be "last"'):
        build(BSARecConfig, {"supervise": "every"})


@pytest.mark.parametrize("variant", VARIANTS, ids=str)
def test_padding_changes_nothing(variant: dict[str, Any]) -> None:
    made = model(**variant)
    lists = [[3, 1, 4], [1], [5, 9, 2, 6, 5, 3, 5, 8]]
    together = made(history(*lists), 1)
    longest = made(history(*lists, width=LONGEST), 1)
    assert torch.allclose(together, longest, rtol=0, atol=TOLERANCE)
    for i, each in enumerate(lists):
        assert torch.allclose(made(history(each), 1)[0], together[i], rtol=0, atol=TOLERANCE)
    kept = made(history([1, 2], width=LONGEST), 2)
    with torch.no_grad():
        made.positions.weight[: LONGEST - 2] += 3.0  # what stands at padded places
    assert torch.allclose(made(history([1, 2], width=LONGEST), 2), kept, rtol=0, atol=TOLERANCE)


@pytest.mark.parametrize("variant", VARIANTS, ids=str)
def test_the_last_states_alone_are_those_among_all(variant: dict[str, Any]) -> None:
    made = model(**variant)
    some = history([3, 1, 4, 1, 5, 9], [2, 6, 5, 3])
    for queries in (1, 3):
        assert torch.allclose(made(some, queries), made(some, 6)[:, -queries:], rtol=0, atol=TOLERANCE)


@pytest.mark.parametrize("norm", ["pre", "post"])
def test_a_layer_of_sasrec_is_torchs_encoder_layer(norm: str) -> None:
    made, d = model(norm=norm), SMALL["hidden_size"]
    layer = made.layers[0]
    own = nn.TransformerEncoderLayer(
        d, SMALL["num_heads"], SMALL["inner_size"], activation="gelu", batch_first=True, norm_first=norm == "pre"
    ).eval()
    attention, net = layer.mixing.branch.attention, layer.net.branch.net
    own.self_attn.in_proj_weight.data = torch.cat([attention.query.weight, attention.key_value.weight])
    own.self_attn.in_proj_bias.data = torch.cat([attention.query.bias, attention.key_value.bias])
    for theirs, ours in (
        (own.self_attn.out_proj, attention.output), (own.linear1, net.inner), (own.linear2, net.outer),
        (own.norm1, layer.mixing.norm), (own.norm2, layer.net.norm),
    ):  # fmt: skip
        theirs.load_state_dict(ours.state_dict())
    x = torch.randn(3, 6, d)
    places = Places.of(torch.ones(3, 6, dtype=torch.bool), x.dtype)
    expected = own(x, src_mask=nn.Transformer.generate_square_subsequent_mask(6))
    assert torch.allclose(layer(x, places, 6), expected, rtol=0, atol=TOLERANCE)


def test_bsarec_mixes_two_residual_ways() -> None:
    mixing = model("bsarec", alpha=0.3).layers[0].mixing
    x = torch.randn(2, 5, SMALL["hidden_size"])
    places = Places.of(torch.ones(2, 5, dtype=torch.bool), x.dtype)
    ways = [way.norm(x + way.branch(x, places, 5)) for way in (mixing.first, mixing.second)]
    expected = 0.3 * ways[0] + 0.7 * ways[1]
    assert torch.allclose(mixing(x, places, 5), expected, rtol=0, atol=TOLERANCE)
    assert [type(way.branch) for way in (mixing.first, mixing.second)] == [FrequencyFilter, CausalAttention]


def test_alpha_zero_is_attention_alone() -> None:
    """BSARec with alpha 0 is the post-norm SASRec of the same weights."""
    mixed, plain = model("bsarec", alpha=0.0), sasrec(N_ITEMS, SASRecConfig(**SMALL, norm="post")).eval()
    weights = {
        name.replace("mixing.second.", "mixing."): value
        for name, value in mixed.state_dict().items()
        if "mixing.first." not in name
    }
    plain.load_state_dict(weights)
    some = history([3, 1, 4, 1, 5, 9], [2, 6])
    assert torch.equal(mixed(some, 2), plain(some, 2))
    assert torch.equal(mixed.scores(some), plain.scores(some))
    assert not torch.allclose(mixed.scores(some), model("bsarec", alpha=0.1).scores(some))


def test_a_history_without_items_has_finite_scores() -> None:
    for variant in VARIANTS:
        assert bool(model(**variant).scores(torch.full((2, 3), -1)).isfinite().all())


def test_scores_are_products_with_the_item_embeddings() -> None:
    made = model()
    some = history([3, 1, 4])
    expected = made.items.weight @ made(some, 3)[0, -1]
    assert torch.allclose(made.scores(some)[0], expected, rtol=0, atol=TOLERANCE)


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"num_heads": 3}, "cannot be shared by 3 heads"),
        ({"dropout": 1.0}, "dropout must lie in"),
        ({"alpha": 1.5}, "alpha must lie in"),
        ({"hidden": 4}, "hidden"),
        ({"norm": "middle"}, "middle"),
        ({"training.selection": "raw"}, "must be \"filtered\""),
        ({"training.learning_rate": "fast"}, "fast"),
    ],
)  # fmt: skip
def test_settings_that_are_refused(wrong: dict[str, Any], words: str) -> None:
    with pytest.raises(GridError, match=words):
        build(BSARecConfig, wrong)


def test_settings_that_are_not_given_are_as_the_class_has_them() -> None:
    made = build(SASRecConfig, {"training.epochs": 3, "norm": "pre"})
    assert (made.training.epochs, made.training.patience, made.training.weight_decay) == (3, 10, 0.0)
    assert made == SASRecConfig(norm="pre", training=made.training)
