"""Asks the questions that have no answer yet: many conversations at once, the turns of each one after the other."""

import asyncio
import contextlib
import hashlib
import signal
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, NamedTuple

import httpx
from tqdm import tqdm

from llava_interleave_serve.benchmarks.evaluation.answer_store import AnswerStore
from llava_interleave_serve.benchmarks.evaluation.client import ChatClient, Refused, Unanswered
from llava_interleave_serve.benchmarks.evaluation.dataset.records import DatasetError, Record
from llava_interleave_serve.benchmarks.evaluation.options import Server
from llava_interleave_serve.benchmarks.evaluation.prompts import (
    Piece,
    VisualOptions,
    message_content,
    split_questions,
)
from llava_interleave_serve.benchmarks.evaluation.scoring import metrics

CONNECT_SECONDS = 10.0
REFERENCE_PROMPTS = "bench"  # the style of the reference evaluation, LLaVA-NeXT's llava/eval/model_vqa.py
FAILURES_PRINTED = 5
REFUSED_BEFORE = "not asked: the turn before was refused"


@dataclass
class RunOutcome:
    """The end of a run.

    Attributes:
        failures: For each conversation that has no answer yet, its record and the reason.
        interrupted: True if a signal ended the run before all was asked.

    """

    failures: list[str]
    interrupted: bool = False

    def report(self) -> int:
        """Prints to stderr what is left to ask, and returns the exit code: 0 if every question is answered, else 1."""
        for failure in self.failures[:FAILURES_PRINTED]:
            print(failure, file=sys.stderr)
        if self.failures:
            print(f"{len(self.failures)} conversations have no answer: run this again to ask them", file=sys.stderr)
        if self.interrupted:
            print("interrupted: run this again to go on", file=sys.stderr)
        return int(bool(self.failures) or self.interrupted)


class AnsweredRun(NamedTuple):
    """A run's end, the answers of this and earlier runs, to be read, and the settings that they depend on."""

    outcome: RunOutcome
    answers: AnswerStore
    settings: dict[str, Any]


async def answer_records(
    records: Sequence[Record],
    folder: Path,
    server: Server,
    options: VisualOptions,
    style: metrics.Style,
    repetition_penalty: float | None = None,
) -> AnsweredRun:
    """Asks every question that has no answer in the folder, with progress on stderr.

    repetition_penalty: None for the server's own. Raises DatasetError, AnswerStoreError or Unreachable.
    """
    max_tokens = metrics.MAX_TOKENS[style]
    headers = {} if server.api_key is None else {"Authorization": f"Bearer {server.api_key}"}
    timeout = httpx.Timeout(server.timeout, connect=CONNECT_SECONDS, pool=None)
    limits = httpx.Limits(max_connections=server.concurrency, max_keepalive_connections=server.concurrency)
    async with httpx.AsyncClient(base_url=server.base_url, headers=headers, timeout=timeout, limits=limits) as http:
        client = ChatClient(http, max_tokens=max_tokens, model=server.model, repetition_penalty=repetition_penalty)
        settings = {"model": await client.model(), "style": style, "max_tokens": max_tokens, **asdict(options)}
        if style == "reference":
            settings |= await client.prompt_as_reference(REFERENCE_PROMPTS)
        if repetition_penalty is not None:
            settings["repetition_penalty"] = repetition_penalty
        with AnswerStore(folder, settings) as answers:
            questions = [(record, turn) for record in records for turn in range(len(record.turns))]
            answered = sum(answers.get(record, turn) is not None for record, turn in questions)
            with tqdm(total=len(questions), initial=answered, unit="answer", file=sys.stderr) as progress:
                run = EvaluationRun(client, answers, options, progress.update)
                outcome = await run.answer_all(records, server.concurrency)
    return AnsweredRun(outcome, answers, settings)


class EvaluationRun:
    """One pass over the records.

    Args:
        client: The model that is asked.
        answers: The answers so far, to which new ones are added.
        options: The options of every image and video.
        on_answer: Called after every new answer.

    """

    def __init__(
        self,
        client: ChatClient,
        answers: AnswerStore,
        options: VisualOptions,
        on_answer: Callable[[], object] = lambda: None,
    ) -> None:
        self._client, self._answers, self._options, self._on_answer = client, answers, options, on_answer
        self._stopping = False
        self._failures: list[str] = []

    async def answer_all(self, records: Sequence[Record], concurrency: int) -> RunOutcome:
        """Asks `concurrency` conversations at once, until every question was asked or the run is stopped.

        The first SIGINT or SIGTERM stops the run once the questions under way are answered. Raises DatasetError,
        AnswerStoreError or Unreachable; the answers so far are stored.
        """
        for record in records:
            split_questions(record)  # a fault in a record is better found before an hour of questions than after
        unanswered = iter([record for record in records if not self._is_answered(record)])
        with self._stopped_by_signals():
            try:
                async with asyncio.TaskGroup() as group:
                    for _ in range(concurrency):
                        group.create_task(self._work(unanswered))
            except ExceptionGroup as failed:
                raise failed.exceptions[0] from None
        return RunOutcome(self._failures, self._stopping)

    def stop(self) -> None:
        """Lets no further question begin."""
        self._stopping = True

    def _is_answered(self, record: Record) -> bool:
        return all(self._answers.get(record, turn) is not None for turn in range(len(record.turns)))

    async def _work(self, records: Iterator[Record]) -> None:
        for record in records:
            if self._stopping:
                return
            await self._answer_record(record)

    async def _answer_record(self, record: Record) -> None:
        """Asks the turns of a record, each after the model's own answers to the turns before it."""
        messages: list[dict[str, Any]] = []
        refused = False
        for turn, pieces in enumerate(split_questions(record)):
            messages.append({"role": "user", "content": await self._content(record, pieces)})
            answer = self._answers.get(record, turn)
            if answer is None:
                if self._stopping:
                    return
                answer = (
                    {"pred_response": "", "refused": REFUSED_BEFORE} if refused else await self._ask(record, messages)
                )
                if "failure" in answer:
                    self._failures.append(f"{record.location}: {answer['failure']}")
                    return
                self._answers.add(record, turn, answer)
                self._on_answer()
            refused = "refused" in answer
            messages.append({"role": "assistant", "content": answer["pred_response"]})

    async def _content(self, record: Record, pieces: list[Piece]) -> str | list[dict[str, Any]]:
        match pieces:
            case [str() as text]:
                return text
            case _:  # reading and encoding media would hold up the other questions
                try:
                    return await asyncio.to_thread(message_content, pieces, self._options)
                except (DatasetError, OSError) as error:
                    raise record.location.error(str(error)) from None

    async def _ask(self, record: Record, messages: list[dict[str, Any]]) -> dict[str, Any]:
        """Returns the fields of an answer; a refusal counts as an empty answer, a failure has only `failure`."""
        try:
            session = hashlib.sha256(f"{record.file} {record.row}".encode()).hexdigest()[:32]
            answer = asdict(await self._client.complete(messages, session))
        except Refused as refusal:
            return {"pred_response": "", "refused": str(refusal)}
        except Unanswered as failure:
            return {"failure": str(failure)}
        return {"pred_response": answer.pop("text"), **answer}

    @contextlib.contextmanager
    def _stopped_by_signals(self) -> Iterator[None]:
        """Stops the run at the first signal; a second signal has its usual effect."""
        loop = asyncio.get_running_loop()

        def stop_once() -> None:
            self.stop()
            restore()

        def restore() -> None:
            for number in (signal.SIGINT, signal.SIGTERM):
                loop.remove_signal_handler(number)

        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, stop_once)
        try:
            yield
        finally:
            restore()
