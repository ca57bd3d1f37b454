"""Asking an OpenAI server: one streamed chat completion at temperature 0, tried again when the server is busy."""

import asyncio
import contextlib
import email.utils
import random
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

import httpx

from llava_interleave_serve.benchmarks.evaluation.stream import Answer, Unanswered, read

BUSY = frozenset((429, 503))
MISADDRESSED = frozenset((401, 403, 404))
SERVER_ERROR = 500
REQUEST_TIMEOUT = 408
LONGEST_BACKOFF = 30.0  # seconds, where the server does not say how long


class Refused(Exception):
    """The server will not answer this question, however often it is asked."""


class Unreachable(Exception):
    """No question would be answered: there is no such server, or it does not let us in."""


class Asker:
    """A server that is asked. http: with the server's base URL (`…/v1/`) and key. tries: per question.

    sleep: how time passes between tries.
    """

    def __init__(
        self,
        http: httpx.AsyncClient,
        *,
        max_tokens: int,
        model: str | None = None,
        tries: int = 8,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._http, self._model, self._max_tokens = http, model, max_tokens
        self._tries, self._sleep = tries, sleep

    async def model(self) -> str:
        """The model's name: the one given, else the first that the server lists. Raises Unreachable."""
        if self._model is None:
            try:
                answer = await self._http.get("models")
                answer.raise_for_status()
                self._model = str(answer.json()["data"][0]["id"])
            except (httpx.HTTPError, ValueError, LookupError, TypeError) as error:
                raise Unreachable(f"{self._http.base_url}models does not list a model: {error}") from None
        return self._model

    async def ask(self, messages: list[dict[str, Any]]) -> Answer:
        """The answer to a conversation. Raises Refused, Unanswered or Unreachable."""
        body = {
            "model": await self.model(),
            "messages": messages,
            "temperature": 0,
            "max_tokens": self._max_tokens,
            "stream": True,
            "stream_options": {"include_usage": True},
        }
        last: Exception
        for attempt in range(self._tries):
            try:
                outcome = await self._try(body)
            except httpx.ConnectError as error:
                last, wait = Unreachable(f"{self._http.base_url}: {error}"), None
            except httpx.HTTPError as error:
                raise Unanswered(f"{type(error).__name__} {error}".strip()) from None
            else:
                if isinstance(outcome, Answer):
                    return outcome
                last, wait = Unanswered(f"still busy after {self._tries} tries"), outcome.seconds
            if attempt + 1 < self._tries:
                await self._sleep(_backoff(attempt) if wait is None else wait)
        raise last

    async def _try(self, body: dict[str, Any]) -> "Answer | Busy":
        started = time.monotonic()
        async with self._http.stream("POST", "chat/completions", json=body) as response:
            if response.status_code in BUSY:
                return Busy(retry_after(response.headers.get("retry-after")))
            if not response.is_success:
                await response.aread()
                raise _failure(response)
            return await read(response, started)


@dataclass(frozen=True, slots=True)
class Busy:
    """A server that asks to be asked again, in so many seconds if it says when."""

    seconds: float | None


def retry_after(header: str | None) -> float | None:
    """Seconds to wait by a Retry-After header, which holds seconds or a date; None if it holds neither."""
    if header is None:
        return None
    with contextlib.suppress(ValueError):
        return max(0.0, float(header))
    with contextlib.suppress(ValueError):
        return max(0.0, email.utils.parsedate_to_datetime(header).timestamp() - time.time())
    return None


def _backoff(attempt: int) -> float:
    """Seconds before the next try: twice as many each time, scattered so that not all come at once."""
    return min(LONGEST_BACKOFF, 2.0**attempt / 2) * random.uniform(0.5, 1)


def _failure(response: httpx.Response) -> Exception:
    status = response.status_code
    said = f"{status}: {_message(response)}"
    if status in MISADDRESSED:
        return Unreachable(f"{response.url} says {said}")
    return Unanswered(said) if status >= SERVER_ERROR or status == REQUEST_TIMEOUT else Refused(said)


def _message(response: httpx.Response) -> str:
    try:
        return str(response.json()["error"]["message"])
    except (ValueError, LookupError, TypeError):
        return response.text[:500]
