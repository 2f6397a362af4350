"""Incremental decoding against teacher forcing, and the exact scores as a distribution over the catalogue."""

from typing import Any

import pytest
import torch
from tiny_models import N_ITEMS, SHAPES, TOLERANCE, dense_targets, histories, stir, tiny_model

from gen_rec.models.blocks import Places
from gen_rec.models.decoder import Context, StreamDecoder
from gen_rec.models.folded import FoldedDecoder
from gen_rec.models.scoring import StreamScorer, folded_decoders, stream_scorers
from gen_rec.models.two_stream import TwoStreamModel
from indexing import beam_search, exact_scores, score_items

LENGTHS = [4, 1, 6, 0]


def close(a: torch.Tensor, b: torch.Tensor) -> None:
    torch.testing.assert_close(a, b, atol=TOLERANCE, rtol=0)


def taught(model: TwoStreamModel, history: torch.Tensor, lengths: torch.Tensor) -> dict[str, torch.Tensor]:
    """(rows, n_items) a stream: every item of the catalogue in turn as the known target of every history."""
    columns: dict[str, list[torch.Tensor]] = {stream: [] for stream in model.streams}
    for item in range(N_ITEMS):
        output = model(history, lengths, torch.full((len(history), 1), item))
        for stream, column in columns.items():
            column.append(output[stream].code_log_probs.sum(1))
    return {stream: torch.stack(column, 1) for stream, column in columns.items()}


def states_of(
    decoder: StreamDecoder, context: Context, nodes: torch.Tensor, vectors: list[torch.Tensor], summary: bool
) -> torch.Tensor:
    """The modules' states of all tokens of (batch, targets, depth) nodes, as (batch, targets, tokens, d)."""
    batch, targets, _ = nodes.shape
    places = Places(torch.arange(batch * targets), batch, targets)
    states = decoder.target_states(context, nodes.flatten(0, 1), places, vectors, summary)  # (tokens, n, d)
    return states.transpose(0, 1).unflatten(0, (batch, targets))


@torch.no_grad()
@pytest.mark.parametrize("encoder", ["causal", "bidirectional"])
@pytest.mark.parametrize("shape", SHAPES)
def test_exact_scores_equal_teacher_forcing_and_sum_to_one(encoder: str, shape: dict[str, Any]):
    model = tiny_model(encoder=encoder, **shape)
    history, lengths = histories(LENGTHS)
    truth = taught(model, history, lengths)
    everything = torch.arange(N_ITEMS).expand(len(history), -1)
    for stream, scorer in stream_scorers(model, history, lengths).items():
        trie = model.streams[stream].trie
        scores = exact_scores(scorer, trie)
        close(scores, truth[stream])
        close(exact_scores(scorer, trie, node_chunk=2), truth[stream])  # the scorer starts over at every chunk
        close(score_items(scorer, trie, everything), truth[stream])
        close(scores.exp().sum(1), torch.ones(len(history), dtype=torch.float64))
        wide = beam_search(scorer, trie, N_ITEMS, N_ITEMS)
        close(wide.scores, truth[stream].sort(1, descending=True).values)
        assert torch.equal(wide.items, truth[stream].argsort(1, descending=True))


@torch.no_grad()
@pytest.mark.parametrize("shape", SHAPES)
def test_steps_with_a_past_equal_all_tokens_at_once(shape: dict[str, Any]):
    """Beams are shuffled, repeated and dropped on the way; each must carry its own past."""
    model = tiny_model(**shape)
    history, lengths = histories(LENGTHS)
    generator = torch.Generator().manual_seed(4)
    for name, decoder in model.streams.items():
        reader = model.reader(name)
        encoded = reader.encode(history, lengths)
        trie, vectors = decoder.trie, decoder.node_vectors(reader.items.vectors())
        items = torch.randint(N_ITEMS, (len(history), 7), generator=generator)
        paths = trie.item_nodes[items]  # (rows, 7, depth)
        scorer = StreamScorer(FoldedDecoder(decoder, reader.items), encoded)
        context = decoder.context(encoded)
        context = Context(
            context.seed.repeat_interleave(7, 0), context.memories, [b.expand(-1, -1, 7, -1) for b in context.biases]
        )
        expected = states_of(decoder, context, paths, vectors, summary=True)[:, :, : trie.depth]
        held = torch.arange(7).expand(len(history), -1)  # which of the seven each beam walks towards
        nodes = torch.zeros(len(history), 1, dtype=torch.int64)
        for level in range(trie.depth):
            found = scorer.score(level, nodes)
            at = held if level else held[:, :1]
            states = expected[:, :, level].gather(1, at[..., None].expand(-1, -1, 12))
            children = trie.children(level, nodes)  # (rows, beams, width)
            logits = (vectors[level][children.clamp(min=0)] @ states[..., None])[..., 0]
            if level == 0 and decoder.look_ahead:  # a branch scores as its children do together
                ahead = (states[:, 0] @ vectors[1].T).exp()  # (rows, n_nodes[2])
                sums = [ahead[:, trie.parents(2) == child].sum(1) for child in children[0, 0].tolist()]
                logits = torch.stack(sums, 1)[:, None].log()
            close(found, logits.masked_fill(children < 0, -torch.inf).log_softmax(-1))
            if level + 1 < trie.depth:
                n_old = found.shape[1]
                chosen = torch.randint(n_old, (len(history), 9), generator=generator)
                held = held.gather(1, chosen) if level else torch.randint(7, chosen.shape, generator=generator)
                scorer.reorder(chosen)
                nodes = paths[..., level].gather(1, held)


@torch.no_grad()
def test_beams_of_a_row_and_rows_of_a_batch_do_not_see_one_another():
    model = tiny_model()
    history, lengths = histories(LENGTHS)
    scorer = stream_scorers(model, history, lengths)["semantic"]
    alone = stream_scorers(model, history[:1], lengths[:1])["semantic"]
    trie = model.streams["semantic"].trie
    nodes = torch.arange(trie.n_nodes[1])
    scorer.score(0, torch.zeros(4, 1, dtype=torch.int64))
    scorer.reorder(torch.zeros(4, len(nodes), dtype=torch.int64))
    together = scorer.score(1, nodes.expand(4, -1))
    for node in nodes:
        alone.score(0, torch.zeros(1, 1, dtype=torch.int64))
        alone.reorder(torch.zeros(1, 1, dtype=torch.int64))
        close(alone.score(1, node.view(1, 1))[0, 0], together[0, node])


@torch.no_grad()
def test_a_token_sees_only_the_codes_before_it_and_targets_only_themselves():
    model = tiny_model()
    history, lengths = histories([6, 3])
    reader, decoder = model.reader(), model.streams["semantic"]
    trie, vectors = decoder.trie, decoder.node_vectors(reader.items.vectors())
    context = decoder.context(reader.encode(history, lengths, last_only=False))
    nodes = trie.item_nodes[dense_targets(history).clamp(min=0)]  # (2, 6, 3)
    states = states_of(decoder, context, nodes, vectors, summary=True)
    assert states.shape == (2, 6, 5, 12)
    close(states_of(decoder, context, nodes, vectors, summary=False), states[:, :, :3])
    for level in range(3):  # another code at this level: seen from its own token on, and by the summary
        other = nodes.clone()
        other[:, 2, level] = (other[:, 2, level] + 1) % trie.n_nodes[level + 1]
        changed = states_of(decoder, context, other, vectors, summary=True)
        differs = (changed - states).abs().amax((0, 3)) > 1e-9  # (targets, tokens)
        expected = torch.zeros(6, 5, dtype=torch.bool)
        expected[2, level + 1 :] = True
        assert torch.equal(differs, expected)


@torch.no_grad()
def test_the_history_is_read_once_and_each_token_once(monkeypatch: pytest.MonkeyPatch):
    """Counts calls: the history once a stream, and one new token a beam in every step."""
    model = tiny_model()
    calls = {"history": 0, "encoder": 0}
    tokens: list[int] = []
    history_of, run = FoldedDecoder.history, FoldedDecoder.run

    def counted_history(self, encoded):
        calls["history"] += 1
        assert encoded.states.shape[0] == 4  # rows, not rows times beams
        return history_of(self, encoded)

    def counted_run(self, level, nodes, history, past):
        assert all(keys.shape[0] == 4 for keys in history.keys)
        states, now = run(self, level, nodes, history, past)
        assert states.shape[:2] == nodes.shape  # one token a beam
        assert all(len(layer) == level + 1 for layer in now)
        tokens.append(level)
        return states, now

    monkeypatch.setattr(FoldedDecoder, "history", counted_history)
    monkeypatch.setattr(FoldedDecoder, "run", counted_run)
    model.reader().encoder.register_forward_hook(lambda *_: calls.update(encoder=calls["encoder"] + 1))
    history, lengths = histories(LENGTHS)
    for stream, scorer in stream_scorers(model, history, lengths).items():
        trie = model.streams[stream].trie
        beam_search(scorer, trie, 5, 5)
        score_items(scorer, trie, torch.zeros(4, 3, dtype=torch.int64))
        exact_scores(scorer, trie)
    assert calls == {"history": 2, "encoder": 1}  # two streams
    assert tokens == [0] + [1] * 3 + [0] + [1, 2] * 3  # three walks from the same start, depths 2 and 3


@torch.no_grad()
def test_folded_weights_follow_every_change_and_are_kept_otherwise():
    model, other = tiny_model(seed=1), tiny_model(seed=2)
    history = histories(LENGTHS)

    def scores() -> torch.Tensor:
        return exact_scores(stream_scorers(model, *history)["semantic"], model.streams["semantic"].trie)

    first, kept = scores(), folded_decoders(model)
    assert folded_decoders(model) is kept
    for parameter in model.parameters():  # as an optimizer writes
        parameter.mul_(0.5)
    close(scores(), taught(model, *history)["semantic"])
    assert not torch.allclose(scores(), first)
    model.load_state_dict(other.state_dict())
    close(scores(), taught(other, *history)["semantic"])
    assert scores().dtype == torch.float64
    model.float()
    assert scores().dtype == torch.float32


def test_what_was_folded_before_a_fused_step_is_forgotten():
    """torch's fused AdamW changes weights without counting it; training mode is what tells."""
    model = tiny_model(seed=1)
    history = histories(LENGTHS)
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.1, fused=True)
    for _ in range(2):
        found = exact_scores(stream_scorers(model.eval(), *history)["semantic"], model.streams["semantic"].trie)
        close(found, taught(model, *history)["semantic"].detach())
        outputs = model.train()(*history, torch.zeros(len(LENGTHS), 1, dtype=torch.int64))
        outputs["semantic"].code_log_probs.sum().backward()
        optimizer.step()


def test_one_stream_alone_gives_the_same_as_beside_the_other():
    both, history = tiny_model(), histories(LENGTHS)
    truth = taught(both, *history)
    for stream in ("behavior", "semantic"):
        alone = tiny_model(streams=[stream])
        alone.load_state_dict({name: value for name, value in both.state_dict().items() if name in alone.state_dict()})
        assert list(alone.streams) == [stream]
        close(taught(alone, *history)[stream], truth[stream])


def test_the_order_of_streams_in_the_settings_means_nothing():
    assert list(tiny_model(streams=["semantic", "behavior"]).streams) == ["behavior", "semantic"]


def test_saved_weights_give_back_the_model():
    saved, fresh = tiny_model(seed=1), tiny_model(seed=2)
    history = histories(LENGTHS)
    fresh.load_state_dict(saved.state_dict())
    for stream, scores in taught(saved, *history).items():
        assert torch.equal(taught(fresh, *history)[stream], scores)


@torch.no_grad()
@pytest.mark.parametrize("shape", SHAPES)
def test_products_in_bfloat16_are_close_to_float32(shape: dict[str, Any]):
    """Rounding errs by up to 1/256 of a logit, and logits here are of size one."""
    model = tiny_model(**shape).float()
    stir(model, 5, std=0.2)
    history, lengths = histories(LENGTHS)
    exact, rounded = (stream_scorers(model, history, lengths, dtype) for dtype in (None, torch.bfloat16))
    for stream, decoder in model.streams.items():
        expected = exact_scores(exact[stream], decoder.trie)
        found = exact_scores(rounded[stream], decoder.trie)
        assert found.dtype == torch.float32
        assert not torch.equal(found, expected)
        torch.testing.assert_close(found, expected, atol=0.05, rtol=0)
        torch.testing.assert_close(found.exp().sum(1), torch.ones(len(history)), atol=1e-5, rtol=0)  # still normalised
        walked = beam_search(rounded[stream], decoder.trie, N_ITEMS, N_ITEMS)
        torch.testing.assert_close(walked.scores, found.gather(1, walked.items), atol=0.05, rtol=0)
    assert folded_decoders(model, torch.bfloat16) is folded_decoders(model, torch.bfloat16)
    assert folded_decoders(model) is not folded_decoders(model, torch.bfloat16)
