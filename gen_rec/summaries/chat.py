"""Summaries by a server that speaks the OpenAI chat API."""

import asyncio
import logging
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from types import ModuleType
from typing import Any

from gen_rec.errors import GenRecError
from gen_rec.extras import require
from gen_rec.summaries.config import SummaryConfig
from gen_rec.summaries.prompt import History, Prompts
from gen_rec.summaries.store import Answer

logger = logging.getLogger(__name__)

REASON_CHARACTERS = 300


@dataclass(frozen=True)
class Request:
    """A history that wants a summary: rows of the catalogue, and where it belongs."""

    key: str
    user_id: str
    split: str
    history: History

    def answer(self, summary: str, error: str, tokens_in: int = 0, tokens_out: int = 0) -> Answer:
        """What came of it; one of ``summary`` and ``error`` is empty."""
        shown = error[:REASON_CHARACTERS] or None
        return Answer(self.key, self.user_id, self.split, summary or None, shown, tokens_in, tokens_out)


class Chat:
    """Asks a server for summaries, ``config.concurrency`` at a time.

    The library repeats what was refused (429), failed (5xx), late or cut off, with growing pauses, and waits as long as
    the server says. What fails after that, and an answer that is no summary, is recorded, and the run goes on. It
    stops, with what it has, where no request can succeed: a wrong key, an unknown model, or ``config.stop_after``
    failures in a row.
    """

    def __init__(self, prompts: Prompts, config: SummaryConfig) -> None:
        self.prompts, self.config = prompts, config
        self.openai: ModuleType = require("openai", extra="summaries", purpose="summaries.backend openai")
        self.key = os.environ.get(config.api_key_env, "")
        if not self.key and not config.base_url:
            raise GenRecError(
                f"the environment variable {config.api_key_env} is not set; put the server's key there, or name a "
                "server that needs none: --summaries.base_url http://localhost:8000/v1"
            )
        self._in_a_row = 0

    def write(self, requests: Sequence[Request], save: Callable[[Answer], None]) -> None:
        """Ask for all of them; ``save`` gets each answer as it arrives.

        raises GenRecError where it makes no sense to go on.
        """
        try:
            asyncio.run(self._all(iter(requests), save))
        except BaseExceptionGroup as group:  # of the workers; the first one says why
            raise group.exceptions[0] from None

    async def _all(self, requests: Iterator[Request], save: Callable[[Answer], None]) -> None:
        async def work(client: Any) -> None:
            for request in requests:  # one iterator for all workers
                answer = await self._ask(client, request)
                save(answer)
                self._count(answer)

        config = self.config
        client = self.openai.AsyncOpenAI(
            api_key=self.key or "none", base_url=config.base_url, timeout=config.timeout_s, max_retries=config.retries
        )
        async with client, asyncio.TaskGroup() as workers:
            for _ in range(config.concurrency):
                workers.create_task(work(client))

    async def _ask(self, client: Any, request: Request) -> Answer:
        config, openai = self.config, self.openai
        try:
            reply = await client.chat.completions.create(
                model=config.model, messages=self.prompts.messages(request.history),
                max_tokens=config.max_tokens, temperature=config.temperature,
            )  # fmt: skip
        except (openai.AuthenticationError, openai.PermissionDeniedError, openai.NotFoundError) as error:
            server = config.base_url or "the server of OpenAI"
            raise GenRecError(
                f"{server} refuses (status {error.status_code}: {_first_line(error)}); "
                f"check summaries.base_url, summaries.model and the key in ${config.api_key_env}"
            ) from error
        except openai.APITimeoutError:
            return request.answer("", f"no answer within {config.timeout_s:g} s")
        except openai.APIStatusError as error:
            return request.answer("", f"status {error.status_code}: {_first_line(error)}")
        except (openai.OpenAIError, ValueError) as error:  # no connection, or a body that is not JSON
            return request.answer("", f"{type(error).__name__}: {_first_line(error.__cause__ or error)}")
        try:
            choice, usage = reply.choices[0], reply.usage
            text, finish = choice.message.content or "", choice.finish_reason
            tokens = (int(usage.prompt_tokens or 0), int(usage.completion_tokens or 0)) if usage else (0, 0)
        except (AttributeError, IndexError, TypeError, ValueError):
            return request.answer("", "the reply is not a chat completion")
        if finish == "length":
            return request.answer("", f"the answer was cut off at {config.max_tokens} tokens", *tokens)
        return request.answer(*self.prompts.check(str(text), request.history, config), *tokens)

    def _count(self, answer: Answer) -> None:
        self._in_a_row = self._in_a_row + 1 if answer.error else 0
        if self.config.stop_after and self._in_a_row >= self.config.stop_after:
            raise GenRecError(
                f"{self._in_a_row} histories in a row failed, the last one with: {answer.error}; mend that and give "
                "the command again with --retry_failed true (summaries.stop_after 0 never stops)"
            )


def _first_line(error: BaseException) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]
