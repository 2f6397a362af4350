"""A tiny causal model in this process, and ROUGE-L against hand-counted values."""

from pathlib import Path

import numpy as np
import polars as pl
import pytest
import torch
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import GPT2Config, GPT2LMHeadModel, PreTrainedTokenizerFast

from gen_rec.errors import GenRecError
from gen_rec.summaries.chat import Request
from gen_rec.summaries.config import SummaryConfig
from gen_rec.summaries.local import LocalModel
from gen_rec.summaries.prompt import Prompts
from gen_rec.summaries.rouge import mean_rouge_l, rouge_l
from gen_rec.summaries.store import Answer

ITEMS = pl.DataFrame({"item_id": ["a", "b"], "title": ["Red hat", "Blue hat"], "text": ["Red hat", "Blue hat, wool"]})


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A random model over a handful of words, as a folder."""
    words = ["[PAD]", "[UNK]", "one", "person", "has", "chosen", "Red", "Blue", "hat", "wool", "soft", "they", "like"]
    tokenizer = Tokenizer(models.WordLevel({word: i for i, word in enumerate(words)}, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    path = tmp_path_factory.mktemp("model")
    PreTrainedTokenizerFast(tokenizer_object=tokenizer, unk_token="[UNK]", eos_token="[PAD]").save_pretrained(path)
    torch.manual_seed(0)
    size = {"vocab_size": len(words), "n_positions": 256, "n_embd": 16, "n_layer": 1, "n_head": 2}
    config = GPT2Config(**size, bos_token_id=0, eos_token_id=0, initializer_range=1.0)
    GPT2LMHeadModel(config).save_pretrained(path)
    return str(path)


def write(folder: str, histories: list[list[int]], **settings: int) -> dict[str, Answer]:
    config = SummaryConfig(backend="transformers", model=folder, **{"max_tokens": 12, **settings})
    answers: dict[str, Answer] = {}
    requests = [Request(str(i), f"u{i}", "train", history) for i, history in enumerate(histories)]
    LocalModel(Prompts(ITEMS, config), config).write(requests, lambda answer: answers.update({answer.key: answer}))
    return answers


def test_an_answer_does_not_depend_on_the_batch_it_is_in(folder: str) -> None:
    histories = [[0], [0, 1, 0, 1, 0], [1, 1]]
    alone, together = write(folder, histories, batch_size=1), write(folder, histories, batch_size=3)
    assert together == alone
    assert set(alone) == {"0", "1", "2"}
    assert all(answer.tokens_in > 20 and answer.tokens_out > 0 for answer in alone.values())


def test_a_prompt_that_does_not_fit_is_recorded_and_the_others_are_answered(folder: str) -> None:
    answers = write(folder, [[0], [0] * 60], batch_size=2)
    assert "longer than the 244 tokens" in str(answers["1"].error)
    assert answers["0"].tokens_in > 0


def test_a_model_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(GenRecError, match=r"could not be loaded.*--summaries\.model"):
        write(str(tmp_path), [[0]])


def test_rouge_l_by_hand() -> None:
    # the longest common subsequence "they like hats" has 3 words: precision 3/4, recall 3/5
    scores = rouge_l(["They like red hats", "x", "y"], ["they all like warm hats", None, "Y!"])
    np.testing.assert_allclose(scores, [2 * 0.75 * 0.6 / 1.35, np.nan, 1.0])
    assert mean_rouge_l(["a b", "c"], ["a b", None]) == 1.0
    assert np.isnan(mean_rouge_l(["a"], [None]))
