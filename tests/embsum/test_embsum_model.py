"""EmbSum: sessions by themselves, alone as together, offline as online, and what emptiness gives."""

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from tiny_embsum import TEXTS, TOLERANCE, all_finite, sequences, shop_tokens, tiny_embsum
from torch import Tensor

from gen_rec.embsum import model as model_module
from gen_rec.embsum.batches import summary_tokens
from gen_rec.embsum.model import BACKBONE_FOLDER, CONFIG_FILE, HEADS_FILE, NOTHING, EmbSum, padded
from gen_rec.embsum.tokens import HistoryTokens, ItemTokens
from gen_rec.errors import GenRecError

KINDS = pytest.mark.parametrize("kind", ["t5", "bert"])
HISTORIES = [[0, 1, 2, 6, 7], [8], [], [4, 4, 11], [3, 9, 10, 5, 0, 1, 2, 8]]
"""Uneven, one empty, one with an item without text, one longer than is read."""


def close(found: Tensor, expected: Tensor) -> None:
    torch.testing.assert_close(found, expected, rtol=0, atol=TOLERANCE)


def states_of(model: EmbSum, tokens: ItemTokens, histories: list[list[int]]) -> tuple[Tensor, HistoryTokens]:
    with torch.no_grad():
        found = tokens.histories(sequences(histories))
        return model.encode(found.sessions), found


def users_of(model: EmbSum, tokens: ItemTokens, histories: list[list[int]]) -> Tensor:
    with torch.no_grad():
        return model.encode_users(tokens.histories(sequences(histories))).vectors


def items_of(model: EmbSum, tokens: ItemTokens, items: list[int]) -> Tensor:
    with torch.no_grad():
        return model.encode_items(tokens.candidates(np.array(items)))


@KINDS
def test_changing_one_session_changes_no_state_of_another(kind: str) -> None:
    model = tiny_embsum(kind)
    tokens = shop_tokens(model)
    before, layout = states_of(model, tokens, [[0, 1, 6, 7, 8], [3, 9]])
    # the second session of the first row: other items, of as many tokens, so that the calls have the same shapes
    lengths = np.diff(tokens.offsets)
    other = next(i for i in range(12) if lengths[i] == lengths[6] and i != 6)
    after, again = states_of(model, tokens, [[0, 1, other, 7, 8], [3, 9]])
    assert layout.sessions.offsets.tolist() == again.sessions.offsets.tolist()
    session = np.repeat(np.arange(4), np.diff(layout.sessions.offsets))
    assert torch.equal(before[session != 1], after[session != 1])
    assert (before[session == 1] != after[session == 1]).any(1).all()  # and inside a session everything is read


@KINDS
def test_a_session_of_another_length_changes_no_state_of_another(kind: str) -> None:
    model = tiny_embsum(kind)
    tokens = shop_tokens(model)
    before, layout = states_of(model, tokens, [[0, 1, 6, 7, 8]])
    after, _ = states_of(model, tokens, [[0, 1, 4, 11, 8, 2]])
    end = layout.sessions.offsets[1]
    close(after[:end], before[:end])


@KINDS
@pytest.mark.parametrize("group_tokens", [1, 20, 4096])
def test_lists_are_read_together_as_alone(kind: str, group_tokens: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Against the backbone's own encoder, one list a call and nothing padded."""
    model = tiny_embsum(kind)
    tokens = shop_tokens(model)
    monkeypatch.setattr(model_module, "GROUP_TOKENS", group_tokens)
    found, layout = states_of(model, tokens, HISTORIES)
    encoder = model.backbone.get_encoder()
    with torch.no_grad():
        alone = [
            encoder(input_ids=layout.sessions.ids[None, a:b]).last_hidden_state[0]
            for a, b in zip(layout.sessions.offsets[:-1], layout.sessions.offsets[1:], strict=True)
        ]
    close(found, torch.cat(alone))


def test_groups_hold_every_list_once_and_few_tokens(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(model_module, "GROUP_TOKENS", 12)
    for lengths in ([1], [20], [1, 1, 2, 3, 5, 5, 13, 40], [3] * 9):
        groups = model_module._groups(np.array(lengths))
        assert [i for group in groups for i in range(len(lengths))[group]] == list(range(len(lengths)))
        for group in groups:
            some = lengths[group]
            assert len(some) == 1 or len(some) * max(some) <= 12


def test_padded_by_hand() -> None:
    states = torch.arange(6.0).view(3, 2) + 1
    full, real = padded(states, np.array([0, 2, 2, 3]))
    assert full.tolist() == [[[1, 2], [3, 4]], [[0, 0], [0, 0]], [[5, 6], [0, 0]]]
    assert real.tolist() == [[True, True], [False, False], [True, False]]
    full, real = padded(states[:0], np.array([0, 0]))
    assert full.tolist() == [[[0, 0]]]
    assert real.tolist() == [[False]]


def slow_user(model: EmbSum, tokens: ItemTokens, history: list[int], summary: list[int]) -> Tensor:
    """One user without padding: the article, step by step. summary: what the decoder reads after its start token"""
    found = tokens.histories(sequences([history]))
    encoder, config = model.backbone.get_encoder(), model.config
    with torch.no_grad():
        memory = torch.cat([
            encoder(input_ids=found.sessions.ids[None, a:b]).last_hidden_state[0]
            for a, b in zip(found.sessions.offsets[:-1], found.sessions.offsets[1:], strict=True)
        ])  # fmt: skip
        starts = (found.sessions.ids == model.words.item).nonzero().flatten()
        assert len(starts) == min(len(history), config.max_items)
        out = model.backbone(
            encoder_outputs=(memory[None],), decoder_input_ids=torch.tensor([[model.words.begin, *summary]]),
            output_hidden_states=True,
        )  # fmt: skip
        vectors = torch.cat([memory[starts], out.decoder_hidden_states[-1][0, -1:]])
        summary = model.user_attention(vectors[None], torch.ones(1, len(vectors), dtype=torch.bool))[0]
        return length_one(summary, model)


@KINDS
@pytest.mark.parametrize(("session_items", "normalize"), [(1, True), (2, False), (5, True)])
def test_users_together_are_each_user_alone_step_by_step(kind: str, session_items: int, normalize: bool) -> None:
    model = tiny_embsum(kind, session_items=session_items, normalize=normalize)
    tokens = shop_tokens(model)
    found = users_of(model, tokens, HISTORIES)
    for vectors, history in zip(found, HISTORIES, strict=True):
        if history:
            close(vectors, slow_user(model, tokens, history, []))
        else:
            assert (vectors == 0).all()


def length_one(vectors: Tensor, model: EmbSum) -> Tensor:
    return vectors / vectors.norm(dim=-1, keepdim=True) if model.config.normalize else vectors


def greedy(model: EmbSum, tokens: ItemTokens, history: list[int]) -> list[int]:
    """The most likely token, again and again, by whole passes over what was written so far."""
    found = tokens.histories(sequences([history]))
    memory, _ = padded(model.encode(found.sessions), found.row_offsets)
    written: list[int] = []
    while len(written) < model.config.summary_tokens and written[-1:] != [model.words.end]:
        logits = model.backbone(
            encoder_outputs=(memory,), decoder_input_ids=torch.tensor([[model.words.begin, *written]])
        ).logits
        written.append(int(logits[0, -1].argmax()))
    return written


def writer(kind: str) -> tuple[EmbSum, ItemTokens, list[list[int]]]:
    """A model with state "summary", whose own summaries differ and end, some sooner than others."""
    for seed in [11 if kind == "t5" else 1, *range(20)]:
        model = tiny_embsum(kind, state="summary", seed=seed)
        tokens = shop_tokens(model)
        with torch.no_grad():
            for name, parameter in model.backbone.named_parameters():
                if name.startswith("decoder") and parameter.ndim == 2 and ("ttention" in name or "transform" in name):
                    parameter.mul_(10)
            summaries = [greedy(model, tokens, history) if history else [] for history in HISTORIES]
        if len(set(map(len, summaries))) > 2:
            return model, tokens, summaries
    raise AssertionError("no seed gives summaries of different lengths")


@KINDS
def test_the_state_of_a_summary_is_that_after_the_models_own(kind: str) -> None:
    model, tokens, summaries = writer(kind)
    with torch.no_grad():
        batch = tokens.histories(sequences(HISTORIES))
        written = model.write(batch)
        width = max(map(len, summaries))
        assert written[:, :width].tolist() == [[*one, *[NOTHING] * (width - len(one))] for one in summaries]
        assert (written[:, width:] == NOTHING).all()
        found = model.encode_users(batch).vectors
        forced = model.encode_users(batch, written).vectors  # teacher forced with the same tokens
    close(found, forced)
    for vectors, history, summary in zip(found, HISTORIES, summaries, strict=True):
        if history:
            close(vectors, slow_user(model, tokens, history, summary))
        else:
            assert (vectors == 0).all()
    texts = model.summary_texts(written)
    words = model.words.tokenizer
    assert texts == [words.decode(one, skip_special_tokens=True).strip() for one in summaries]
    assert texts[2] == ""


@KINDS
def test_the_state_at_the_start_does_not_depend_on_the_summary(kind: str) -> None:
    model = tiny_embsum(kind)
    tokens = shop_tokens(model)
    texts = ["the user likes red", None, "soap", "oil and soap for dry hair , brush", None]
    given = summary_tokens(texts, model.words.tokenizer, model.words.end, 8)
    with torch.no_grad():
        found = model.encode_users(tokens.histories(sequences(HISTORIES)), given)
    close(found.vectors, users_of(model, tokens, HISTORIES))
    assert found.summary_loss is not None
    assert (found.summary_loss == 0).tolist() == [text is None for text in texts]


@KINDS
def test_the_loss_of_a_summary_is_the_mean_of_its_tokens(kind: str) -> None:
    model = tiny_embsum(kind)
    tokens = shop_tokens(model)
    text = "the user likes red nail polish"
    given = summary_tokens([text, "soap"], model.words.tokenizer, model.words.end, 8)
    with torch.no_grad():
        loss = model.encode_users(tokens.histories(sequences([[0, 1, 2], [6]])), given).summary_loss
        assert loss is not None
        for row, history in enumerate([[0, 1, 2], [6]]):
            found = tokens.histories(sequences([history]))
            memory, _ = padded(model.encode(found.sessions), found.row_offsets)
            wanted = given[row][given[row] != NOTHING]
            logits = model.backbone(
                encoder_outputs=(memory,),
                decoder_input_ids=torch.cat([torch.tensor([model.words.begin]), wanted[:-1]])[None],
            ).logits[0]
            chosen = [-logits[i].log_softmax(0)[token].item() for i, token in enumerate(wanted.tolist())]
            assert loss[row].item() == pytest.approx(np.mean(chosen), abs=TOLERANCE)


@KINDS
@pytest.mark.parametrize("state", ["start", "summary"])
def test_nobody_has_a_history(kind: str, state: str) -> None:
    model = tiny_embsum(kind, state=state)
    tokens = shop_tokens(model)
    users, items = users_of(model, tokens, [[], []]), items_of(model, tokens, [0, 4])
    assert users.shape == (2, 3, 16)
    assert (users == 0).all()
    assert (model.score.all_pairs(users, items) == 0).all()
    batch = tokens.histories(sequences([[], []]))
    assert (model.write(batch) == NOTHING).all()
    assert model.summary_texts(model.write(batch)) == ["", ""]
    given = torch.tensor([[5, model.words.end], [NOTHING, NOTHING]])
    loss = model.encode_users(batch, given).summary_loss
    assert loss is not None
    assert loss.tolist() == [0, 0]


@KINDS
@pytest.mark.parametrize("state", ["start", "summary"])
def test_an_empty_history_among_others_is_zero_and_trains(kind: str, state: str) -> None:
    model = tiny_embsum(kind, state=state).train()
    tokens = shop_tokens(model)
    given = summary_tokens(["red", None, "soap", None, "oil"], model.words.tokenizer, model.words.end, 8)
    users = model.encode_users(tokens.histories(sequences(HISTORIES)), given)
    items = model.encode_items(tokens.candidates(np.arange(12)))
    scores = model.score.all_pairs(users.vectors, items)
    assert (users.vectors[2] == 0).all()
    assert (scores[2] == 0).all()
    assert scores.isfinite().all()
    assert (scores[[0, 1, 3, 4]] != 0).all()
    assert users.summary_loss is not None
    (scores.logsumexp(1).sum() + users.summary_loss.sum()).backward()
    assert all_finite(model)
    assert model.backbone.get_encoder().get_input_embeddings().weight.grad.abs().sum() > 0


@KINDS
def test_an_item_without_text_is_defined(kind: str) -> None:
    """It is what its start and end token say, the same for every such item."""
    model = tiny_embsum(kind)
    tokens = shop_tokens(model, [*TEXTS, "   "])
    items = items_of(model, tokens, [4, 12, 0])
    assert items.isfinite().all()
    assert torch.equal(items[0], items[1])
    assert not torch.allclose(items[0], items[2])
    with torch.no_grad():
        ids = torch.tensor([[model.words.item, model.words.end]])
        states = model.backbone.get_encoder()(input_ids=ids).last_hidden_state
        expected = model.item_attention(states, torch.ones(1, 2, dtype=torch.bool))[0]
        close(items[0], length_one(expected, model))
    assert users_of(model, tokens, [[4, 12]]).isfinite().all()
    model.train()
    users = model.encode_users(tokens.histories(sequences([[4], [0, 4]]))).vectors
    model.score.all_pairs(users, model.encode_items(tokens.candidates(np.array([4, 12])))).sum().backward()
    assert all_finite(model)


@KINDS
@pytest.mark.parametrize("state", ["start", "summary"])
def test_offline_equals_online(kind: str, state: str, tmp_path: Path) -> None:
    """Each side in batches of its own, by a loaded model, in another order, through a file."""
    model = tiny_embsum(kind, state=state)
    tokens = shop_tokens(model)
    online = model.score.all_pairs(users_of(model, tokens, HISTORIES), items_of(model, tokens, list(range(12))))
    model.save(tmp_path / "model")
    loaded = EmbSum.load(tmp_path / "model")
    again = shop_tokens(loaded)
    items = torch.cat([items_of(loaded, again, some) for some in ([11, 10], [9, 8, 7, 6, 5], [4, 3, 2, 1, 0])]).flip(0)
    users = torch.cat([users_of(loaded, again, some) for some in (HISTORIES[3:], HISTORIES[:1], HISTORIES[1:3])])
    users = users[[2, 3, 4, 0, 1]]
    save_file({"users": users.contiguous(), "items": items.contiguous()}, tmp_path / "encoded.safetensors")
    encoded = load_file(tmp_path / "encoded.safetensors")
    close(loaded.score.all_pairs(encoded["users"], encoded["items"]), online)
    own = torch.tensor([[3, 4, 5, 11]]).expand(5, -1)
    close(loaded.score(encoded["users"], encoded["items"][own]), online[:, [3, 4, 5, 11]])


@KINDS
def test_saved_and_loaded_it_is_the_same_model(kind: str, tmp_path: Path) -> None:
    model = tiny_embsum(kind, dropout=0.25, frozen_layers=1)
    model.save(tmp_path / "model")
    model.save(tmp_path / "model")  # over the old one
    again = EmbSum.load(tmp_path / "model")
    assert not again.training
    assert again.config == model.config
    torch.testing.assert_close(again.state_dict(), model.state_dict(), rtol=0, atol=0)
    frozen = [name for name, parameter in model.named_parameters() if not parameter.requires_grad]
    assert frozen
    assert [name for name, parameter in again.named_parameters() if not parameter.requires_grad] == frozen
    assert {module.p for module in again.modules() if isinstance(module, torch.nn.Dropout)} == {0.25}
    tokens = shop_tokens(model)
    assert torch.equal(users_of(again, tokens, HISTORIES), users_of(model, tokens, HISTORIES))
    assert torch.equal(items_of(again, tokens, [0, 4, 9]), items_of(model, tokens, [0, 4, 9]))


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("saved") / "model"
    tiny_embsum("bert").save(folder)
    return folder


def _without(name: str) -> Callable[[Path], None]:
    return lambda folder: shutil.rmtree(folder / name) if (folder / name).is_dir() else (folder / name).unlink()


def _cut(name: str) -> Callable[[Path], None]:
    def cut(folder: Path) -> None:
        content = (folder / name).read_bytes()
        (folder / name).write_bytes(content[: len(content) // 2])

    return cut


def _setting(old: str, new: str) -> Callable[[Path], None]:
    def change(folder: Path) -> None:
        text = (folder / CONFIG_FILE).read_text()
        assert old in text
        (folder / CONFIG_FILE).write_text(text.replace(old, new))

    return change


def _other_heads(folder: Path) -> None:
    heads = load_file(folder / HEADS_FILE)
    heads["another"] = heads.pop("score.weight")
    save_file(heads, folder / HEADS_FILE)


DAMAGES: dict[str, Callable[[Path], None]] = {
    "no settings": _without(CONFIG_FILE),
    "no heads": _without(HEADS_FILE),
    "no backbone": _without(BACKBONE_FOLDER),
    "no weights of the backbone": _without(f"{BACKBONE_FOLDER}/model.safetensors"),
    "no settings of the backbone": _without(f"{BACKBONE_FOLDER}/config.json"),
    "half the settings": _cut(CONFIG_FILE),
    "half the heads": _cut(HEADS_FILE),
    "half the backbone": _cut(f"{BACKBONE_FOLDER}/model.safetensors"),
    "half the settings of the backbone": _cut(f"{BACKBONE_FOLDER}/config.json"),
    "a setting nobody knows": _setting('"user_codes"', '"users_code"'),
    "a setting that cannot be": _setting('"code_size": 8', '"code_size": 0'),
    "another size": _setting('"code_size": 8', '"code_size": 9'),
    "other heads": _other_heads,
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_folder_is_said(damage: str, saved: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(saved, tmp_path / "model"))
    DAMAGES[damage](folder)
    with pytest.raises(GenRecError, match=rf"{folder}.*(train it|train again)"):
        EmbSum.load(folder)


def test_a_folder_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(GenRecError, match=r"not a saved EmbSum, config\.json, heads\.safetensors, backbone is missing"):
        EmbSum.load(tmp_path / "nothing")


def test_t5_shares_its_word_vectors_so_freezing_takes_both(tmp_path: Path) -> None:
    model = tiny_embsum("t5", frozen_layers=1)
    frozen = {name for name, parameter in model.named_parameters() if not parameter.requires_grad}
    assert frozen
    assert all("encoder.block.0" in name or "shared" in name for name in frozen), frozen
    made, fresh = model.pretrained()
    assert {id(p) for p in fresh} == {
        id(p) for head in (model.user_attention, model.item_attention, model.score) for p in head.parameters()
    }
    assert len(made) + len(fresh) + len(frozen) == len(list(model.parameters()))
