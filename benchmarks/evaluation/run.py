"""From records to answers: many conversations at once, each one's turns in sequence, nothing that is answered again."""

import asyncio
import contextlib
import signal
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from llava_interleave_serve.benchmarks.evaluation.answer_store import Answers
from llava_interleave_serve.benchmarks.evaluation.client import Asker, Refused
from llava_interleave_serve.benchmarks.evaluation.dataset.records import BenchError, Record
from llava_interleave_serve.benchmarks.evaluation.prompts import Piece, Visuals, content, pieces
from llava_interleave_serve.benchmarks.evaluation.stream import Unanswered

REFUSED_BEFORE = "not asked: the turn before was refused"


@dataclass
class Outcome:
    """How a run ended. failures: what was said of each question that is still unanswered."""

    failures: list[str]
    interrupted: bool = False


class Run:
    """One pass over the records that asks what has no answer yet.

    visuals: the options of every image and video. answered: called after every answer.
    """

    def __init__(
        self, asker: Asker, answers: Answers, visuals: Visuals, answered: Callable[[], object] = lambda: None
    ) -> None:
        self._asker, self._answers, self._visuals, self._answered = asker, answers, visuals, answered
        self._stopping = False
        self._failures: list[str] = []

    async def all(self, records: Sequence[Record], concurrency: int) -> Outcome:
        """Asks `concurrency` conversations at once. The first SIGINT or SIGTERM lets questions under way be answered.

        Raises BenchError, AnswersError or Unreachable; what was answered is kept.
        """
        for record in records:
            pieces(record)  # a fault in a record is better found before an hour of questions than after
        open_records = iter([record for record in records if not self._is_answered(record)])
        with self._stopped_by_signals():
            try:
                async with asyncio.TaskGroup() as group:
                    for _ in range(concurrency):
                        group.create_task(self._work(open_records))
            except ExceptionGroup as failed:
                raise failed.exceptions[0] from None
        return Outcome(self._failures, self._stopping)

    def stop(self) -> None:
        """Lets no further question begin."""
        self._stopping = True

    def _is_answered(self, record: Record) -> bool:
        return all(self._answers.of(record, turn) is not None for turn in range(len(record.turns)))

    async def _work(self, records: Iterator[Record]) -> None:
        for record in records:
            if self._stopping:
                return
            await self._converse(record)

    async def _converse(self, record: Record) -> None:
        """Asks the turns of a record, each after the model's own answers to those before."""
        messages: list[dict[str, Any]] = []
        refused = False
        for at, turn in enumerate(pieces(record)):
            messages.append({"role": "user", "content": await self._content(record, turn)})
            answer = self._answers.of(record, at)
            if answer is None:
                if self._stopping:
                    return
                answer = {"pred_response": "", "refused": REFUSED_BEFORE} if refused else await self._ask(messages)
                if "failure" in answer:
                    self._failures.append(f"{record.place}: {answer['failure']}")
                    return
                self._answers.add(record, at, answer)
                self._answered()
            refused = "refused" in answer
            messages.append({"role": "assistant", "content": answer["pred_response"]})

    async def _content(self, record: Record, turn: list[Piece]) -> str | list[dict[str, Any]]:
        match turn:
            case [str() as text]:
                return text
            case _:  # reading and encoding media would hold up the other questions
                try:
                    return await asyncio.to_thread(content, turn, self._visuals)
                except (BenchError, OSError) as error:
                    raise BenchError(f"{record.place}: {error}") from None

    async def _ask(self, messages: list[dict[str, Any]]) -> dict[str, Any]:
        """The fields of an answer; one that was refused for good counts as an empty one."""
        try:
            answer = asdict(await self._asker.ask(messages))
        except Refused as refusal:
            return {"pred_response": "", "refused": str(refusal)}
        except Unanswered as failure:
            return {"failure": str(failure)}
        return {"pred_response": answer.pop("text"), **answer}

    @contextlib.contextmanager
    def _stopped_by_signals(self) -> Iterator[None]:
        """Stops the run at the first signal; the second has its usual effect."""
        loop = asyncio.get_running_loop()

        def heard() -> None:
            self.stop()
            restore()

        def restore() -> None:
            for number in (signal.SIGINT, signal.SIGTERM):
                loop.remove_signal_handler(number)

        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, heard)
        try:
            yield
        finally:
            restore()
