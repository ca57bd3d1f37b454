"""Asks an OpenAI server one streamed chat completion at temperature 0, and again while the server is busy."""

import asyncio
import contextlib
import email.utils
import random
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

import httpx

from llava_interleave_serve.benchmarks.openai_api import models, sse

BUSY_STATUSES = frozenset((429, 503))
MISADDRESSED_STATUSES = frozenset((401, 403, 404))
SERVER_ERROR = 500
REQUEST_TIMEOUT = 408
MAX_BACKOFF = 30.0  # seconds, where the server does not say how long


class Refused(Exception):
    """The server refuses this question, however often it is asked."""


class Unanswered(Exception):
    """The server did not answer this time: it is busy, it failed, or its stream broke off."""


class Unreachable(Exception):
    """The server would answer no question: it does not exist, or does not accept the key."""


@dataclass(frozen=True, slots=True)
class Answer:
    """One whole answer.

    Times count from the start of the attempt that was answered. Token counts are the server's, None if it reports
    none; only this project's server reports visuals.

    Attributes:
        text: The text, stripped as the reference strips it.
        finish_reason: `stop` or `length`.
        seconds: The time to the end of the stream.
        seconds_to_first_token: The time to the first piece of text, None for an empty answer.
        prompt_tokens: The prompt's length.
        completion_tokens: The answer's length.
        visuals: The images and frames in the prompt.
        visual_tokens: The tokens that they take.

    """

    text: str
    finish_reason: str | None
    seconds: float
    seconds_to_first_token: float | None
    prompt_tokens: int | None
    completion_tokens: int | None
    visuals: int | None
    visual_tokens: int | None


@dataclass(frozen=True, slots=True)
class Busy:
    """The server asks for another attempt later.

    Attributes:
        seconds: How much later, None if it does not say.

    """

    seconds: float | None


class ChatClient:
    """A client of one model on one server.

    Args:
        http: A client whose base URL is the API's (`…/v1/`), with the server's key in its headers.
        max_tokens: The longest answer.
        model: The model's name; None for the first that the server lists.
        repetition_penalty: Sent with every question; None for the server's own.
        attempts: How often a question is asked at most, while the server is busy or cannot be connected to.
        sleep: Waits so many seconds between attempts.

    """

    def __init__(
        self,
        http: httpx.AsyncClient,
        *,
        max_tokens: int,
        model: str | None = None,
        repetition_penalty: float | None = None,
        attempts: int = 8,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._http, self._model, self._max_tokens = http, model, max_tokens
        self._attempts, self._sleep = attempts, sleep
        self._fields: dict[str, Any] = {} if repetition_penalty is None else {"repetition_penalty": repetition_penalty}

    async def prompt_as_reference(self, style: str) -> dict[str, Any]:
        """Has prompts written in a style of the reference's programs, where the server has it.

        Returns what the server says of its prompts and sampling, of `prompt_style` and `sampling_defaults`: nothing for
        another server than this project's. Raises Unreachable.
        """
        name = await self.model()
        try:
            cards = await models.list_models(self._http, "models")
        except models.ModelListError as error:
            raise Unreachable(f"{error.url} does not list a model: {error.cause}") from None
        card = next((card for card in cards if card["id"] == name), {})
        said: dict[str, Any] = {field: card[field] for field in ("prompt_style", "sampling_defaults") if field in card}
        if style in card.get("prompt_styles", ()):
            self._fields["prompt_style"] = said["prompt_style"] = style
        return said

    async def model(self) -> str:
        """Returns the model's name: the one given, or the first that the server lists. Raises Unreachable."""
        if self._model is None:
            try:
                self._model = await models.first_model(self._http, "models")
            except models.ModelListError as error:
                raise Unreachable(f"{error.url} does not list a model: {error.cause}") from None
        return self._model

    async def complete(self, messages: list[dict[str, Any]], session: str | None = None) -> Answer:
        """Returns the model's answer to a conversation. Raises Refused, Unanswered or Unreachable.

        session: the same for the turns of a conversation; routers choose a replica by it.
        """
        body = {
            "model": await self.model(),
            "messages": messages,
            "temperature": 0,
            "max_tokens": self._max_tokens,
            "stream": True,
            "stream_options": {"include_usage": True},
            **self._fields,
        }
        failure: Exception
        for attempt in range(self._attempts):
            try:
                outcome = await self._attempt(body, {} if session is None else {models.SESSION_HEADER: session})
            except httpx.ConnectError as error:
                failure, wait = Unreachable(f"{self._http.base_url}: {error}"), None
            except httpx.HTTPError as error:
                raise Unanswered(f"{type(error).__name__} {error}".strip()) from None
            else:
                if isinstance(outcome, Answer):
                    return outcome
                failure, wait = Unanswered(f"still busy after {self._attempts} tries"), outcome.seconds
            if attempt + 1 < self._attempts:
                await self._sleep(_backoff(attempt) if wait is None else wait)
        raise failure

    async def _attempt(self, body: dict[str, Any], headers: dict[str, str]) -> Answer | Busy:
        started = time.monotonic()
        async with self._http.stream("POST", "chat/completions", json=body, headers=headers) as response:
            if response.status_code in BUSY_STATUSES:
                return Busy(retry_after(response.headers.get("retry-after")))
            if not response.is_success:
                await response.aread()
                raise _failure(response)
            try:
                return await read_answer(response, started)
            except sse.StreamError as error:
                raise Unanswered(str(error)) from None


async def read_answer(response: httpx.Response, started: float) -> Answer:
    """Reads a streamed answer; `started` is the request's start by time.monotonic. Raises sse.StreamError."""
    text, first_token, reason = "", None, None
    usage: dict[str, Any] = {}
    media: dict[str, Any] = {}
    async for event in sse.completion_chunks(response.aiter_bytes(), time.monotonic):
        usage = event.data.get("usage") or usage
        media = event.data.get("media_usage") or media
        for choice in event.data.get("choices") or []:
            if piece := (choice.get("delta") or {}).get("content"):
                first_token = event.time - started if first_token is None else first_token
                text += piece
            reason = choice.get("finish_reason") or reason
    return Answer(
        text=text.strip(),
        finish_reason=reason,
        seconds=time.monotonic() - started,
        seconds_to_first_token=first_token,
        prompt_tokens=usage.get("prompt_tokens"),
        completion_tokens=usage.get("completion_tokens"),
        visuals=media.get("visuals"),
        visual_tokens=media.get("visual_tokens"),
    )


def retry_after(header: str | None) -> float | None:
    """Returns the seconds of a Retry-After header, which holds seconds or a date; None if it holds neither."""
    if header is None:
        return None
    with contextlib.suppress(ValueError):
        return max(0.0, float(header))
    with contextlib.suppress(ValueError):
        return max(0.0, email.utils.parsedate_to_datetime(header).timestamp() - time.time())
    return None


def _backoff(attempt: int) -> float:
    """Seconds before the next attempt: twice as many each time, scattered so that not all questions return at once."""
    return min(MAX_BACKOFF, 2.0**attempt / 2) * random.uniform(0.5, 1)


def _failure(response: httpx.Response) -> Exception:
    status = response.status_code
    reason = f"{status}: {_error_message(response)}"
    if status in MISADDRESSED_STATUSES:
        return Unreachable(f"{response.url} says {reason}")
    return Unanswered(reason) if status >= SERVER_ERROR or status == REQUEST_TIMEOUT else Refused(reason)


def _error_message(response: httpx.Response) -> str:
    try:
        return str(response.json()["error"]["message"])
    except (ValueError, LookupError, TypeError):
        return response.text[:500]
