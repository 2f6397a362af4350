"""Summaries by a causal language model in this process."""

from collections.abc import Callable, Sequence
from typing import Any

import torch

from gen_rec.errors import GenRecError
from gen_rec.extras import require
from gen_rec.summaries.chat import Request
from gen_rec.summaries.config import SummaryConfig
from gen_rec.summaries.prompt import Prompts
from gen_rec.summaries.store import Answer


class LocalModel:
    """A ``transformers`` causal model by name or folder, asked the same as a server is.

    A model with a chat template is asked in it; another one continues the plain text of the prompt.
    """

    def __init__(self, prompts: Prompts, config: SummaryConfig, device: str = "cpu") -> None:
        self.prompts, self.config, self.device = prompts, config, device
        library = require("transformers", extra="embsum", purpose="summaries.backend transformers")
        try:
            self.tokenizer = library.AutoTokenizer.from_pretrained(config.model, padding_side="left")
            self.model = library.AutoModelForCausalLM.from_pretrained(config.model).to(device).eval()
        except (OSError, ValueError) as error:
            first = (str(error).strip().splitlines() or [""])[0]
            raise GenRecError(
                f"the language model {config.model!r} could not be loaded ({type(error).__name__}: {first}); check "
                "--summaries.model: a name on the hub that can be reached, or a folder"
            ) from error
        if self.tokenizer.pad_token is None:
            self.tokenizer.pad_token = self.tokenizer.eos_token

    def write(self, requests: Sequence[Request], save: Callable[[Answer], None]) -> None:
        """Answer all of them, short histories together; ``save`` gets each answer as its batch is done."""
        ordered = sorted(requests, key=lambda request: len(request.history))
        for start in range(0, len(ordered), self.config.batch_size):
            batch = ordered[start : start + self.config.batch_size]
            for answer in self._answer(batch):
                save(answer)

    @torch.inference_mode()
    def _answer(self, batch: Sequence[Request]) -> list[Answer]:
        room = self._room()
        inputs = self.tokenizer(
            [self._prompt(request) for request in batch], return_tensors="pt", padding=True,
            add_special_tokens=not self.tokenizer.chat_template,
        ).to(self.device)  # fmt: skip
        lengths = inputs["attention_mask"].sum(1).tolist()  # (batch,)
        if room is not None and max(lengths) > room:
            too_long = f"the prompt is longer than the {room} tokens that the model leaves for it"
            if len(batch) == 1:
                return [batch[0].answer("", too_long)]
            return [answer for request in batch for answer in self._answer([request])]
        sampling: dict[str, Any] = {"do_sample": False}
        if self.config.temperature > 0:
            sampling = {"do_sample": True, "temperature": self.config.temperature}
        written = self.model.generate(
            input_ids=inputs["input_ids"],
            attention_mask=inputs["attention_mask"],
            max_new_tokens=self.config.max_tokens,
            pad_token_id=self.tokenizer.pad_token_id,
            **sampling,
        )[:, inputs["input_ids"].shape[1] :]  # fmt: skip  (batch, new)
        answers = []
        for request, length, row in zip(batch, lengths, written.tolist(), strict=True):
            tokens_out = sum(token != self.tokenizer.pad_token_id for token in row)
            text = self.tokenizer.decode(row, skip_special_tokens=True)
            answers.append(
                request.answer(*self.prompts.check(text, request.history, self.config), int(length), tokens_out)
            )
        return answers

    def _prompt(self, request: Request) -> str:
        messages = self.prompts.messages(request.history)
        if self.tokenizer.chat_template:
            return str(self.tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True))
        return "\n\n".join(message["content"] for message in messages) + "\n\n"

    def _room(self) -> int | None:
        """Tokens that a prompt may have; None where the model does not say."""
        positions = getattr(self.model.config, "max_position_embeddings", None)
        return None if positions is None else max(positions - self.config.max_tokens, 0)
