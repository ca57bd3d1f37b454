"""Runs ask many conversations at once, each turn by turn, and no answered question again."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from llava_interleave_serve.benchmarks.evaluation.answer_store import AnswerStore
from llava_interleave_serve.benchmarks.evaluation.client import ChatClient, Unreachable
from llava_interleave_serve.benchmarks.evaluation.dataset import loading
from llava_interleave_serve.benchmarks.evaluation.dataset.records import DatasetError, Record
from llava_interleave_serve.benchmarks.evaluation.prompts import VisualOptions
from llava_interleave_serve.benchmarks.evaluation.run import EvaluationRun, RunOutcome
from tests.support import datasets
from tests.support.fakes import openai_server

pytestmark = pytest.mark.anyio


@pytest.fixture
def fake() -> Iterator[openai_server.FakeOpenAI]:
    with openai_server.running() as fake:
        yield fake


def records_in(folder: Path, records: list[dict[str, Any]]) -> list[Record]:
    return loading.load_records([datasets.write_json(folder, records)])


async def run(
    fake: openai_server.FakeOpenAI, records: list[Record], out: Path, concurrency: int = 4
) -> tuple[RunOutcome, list[str | None]]:
    """Returns a run's outcome, and the answers to all turns in the records' order, None where there is none."""
    async with httpx.AsyncClient(base_url=fake.base_url + "/", trust_env=False) as http:
        with AnswerStore(out, {}) as answers:
            client = ChatClient(http, max_tokens=16, attempts=1)
            outcome = await EvaluationRun(client, answers, VisualOptions()).answer_all(records, concurrency)
            lines = [answers.get(record, turn) for record in records for turn in range(len(record.turns))]
    return outcome, [None if line is None else line["pred_response"] for line in lines]


async def test_a_turn_is_asked_after_the_own_answers_of_the_model(
    fake: openai_server.FakeOpenAI, tmp_path: Path
) -> None:
    fake.answer_rule = lambda messages: f"said {len(messages)}"
    fields = datasets.record(
        1, "d", "open-ended", ("<image>\nFirst?", "A1"), ("Second?", "A2"), ("Third <image>?", "A3"),
        image=["a.png", "b.png"],
    )  # fmt: skip
    _, answers = await run(fake, records_in(tmp_path, [fields]), tmp_path / "out")
    assert answers == ["said 1", "said 3", "said 5"]
    roles = [[message["role"] for message in body["messages"]] for body in fake.bodies]
    assert roles == [["user"], ["user", "assistant", "user"], ["user", "assistant", "user", "assistant", "user"]]
    last = fake.bodies[-1]["messages"]
    assert [message["content"] for message in last[1::2]] == ["said 1", "said 3"]  # and not A1, A2
    assert last[2]["content"] == "Second?"
    assert [part["type"] for part in last[4]["content"]] == ["text", "image_url", "text"]
    assert last[0] == fake.bodies[0]["messages"][0]


@pytest.mark.parametrize("concurrency", [1, 8, 64])
async def test_the_concurrency_of_an_evaluation_changes_no_answer(
    fake: openai_server.FakeOpenAI, tmp_path: Path, concurrency: int
) -> None:
    records = records_in(tmp_path, datasets.mixed(80))
    _, alone = await run(fake, records, tmp_path / "alone", concurrency=1)
    fake.bodies.clear()
    fake.min_concurrent, fake.max_concurrent = concurrency, 0
    fake._enough.clear()
    _, together = await run(fake, records, tmp_path / "together", concurrency)
    assert together == alone
    assert fake.max_concurrent == concurrency
    assert set(fake.question_counts.values()) == {1}


async def test_a_second_evaluation_run_asks_no_question_again(fake: openai_server.FakeOpenAI, tmp_path: Path) -> None:
    records = records_in(tmp_path, datasets.mixed(10))
    _, first = await run(fake, records, tmp_path / "out")
    fake.bodies.clear()
    _, second = await run(fake, records, tmp_path / "out")
    assert (second, fake.bodies) == (first, [])


async def test_a_conversation_is_continued_after_its_last_answered_turn(
    fake: openai_server.FakeOpenAI, tmp_path: Path
) -> None:
    records = records_in(tmp_path, [datasets.record(1, "d", "open-ended", ("First?", "A"), ("Second?", "B"))])
    with AnswerStore(tmp_path / "out", {}) as answers:
        answers.add(records[0], 0, {"pred_response": "said before"})
    await run(fake, records, tmp_path / "out")
    (body,) = fake.bodies
    assert [message["content"] for message in body["messages"]] == ["First?", "said before", "Second?"]


async def test_a_refused_question_counts_as_empty_and_ends_its_conversation(
    fake: openai_server.FakeOpenAI, tmp_path: Path
) -> None:
    records = records_in(tmp_path, [datasets.record(1, "d", "open-ended", ("First?", "A"), ("Second?", "B"))])
    fake.refusals = [(400, {})]
    outcome, answers = await run(fake, records, tmp_path / "out")
    assert (answers, len(fake.bodies), outcome.failures) == (["", ""], 1, [])
    await run(fake, records, tmp_path / "out")
    assert len(fake.bodies) == 1


async def test_a_failed_question_stays_unanswered_and_the_others_are_asked(
    fake: openai_server.FakeOpenAI, tmp_path: Path
) -> None:
    records = records_in(tmp_path, datasets.mixed(4))
    fake.refusals = [(500, {})]
    outcome, answers = await run(fake, records, tmp_path / "out", concurrency=1)
    assert outcome.failures == ["records.json, record 0 (sample_id 0): 500: no: 500"]
    assert [answer is None for answer in answers] == [True, True, False, False, False]
    outcome, answers = await run(fake, records, tmp_path / "out")
    assert (outcome.failures, None in answers) == ([], False)


async def test_a_server_that_refuses_the_api_key_ends_the_evaluation(
    fake: openai_server.FakeOpenAI, tmp_path: Path
) -> None:
    fake.refusals = [(401, {})]
    with pytest.raises(Unreachable, match="401"):
        await run(fake, records_in(tmp_path, datasets.mixed(4)), tmp_path / "out", concurrency=1)


async def test_a_faulty_record_is_found_before_the_first_question(
    fake: openai_server.FakeOpenAI, tmp_path: Path
) -> None:
    faulty = datasets.record(9, "d", "open-ended", ("<image><image>?", "A"), image=["a.png"])
    records = records_in(tmp_path, [*datasets.mixed(4), faulty])
    with pytest.raises(DatasetError, match="record 4"):
        await run(fake, records, tmp_path / "out")
    assert fake.bodies == []


async def test_a_picture_that_cannot_be_read_names_its_record(fake: openai_server.FakeOpenAI, tmp_path: Path) -> None:
    records = records_in(tmp_path, [datasets.record(9, "d", "open-ended", ("<image>?", "A"), image=["a.png"])])
    (tmp_path / "a.png").write_bytes(b"no picture")
    with pytest.raises(DatasetError, match=r"records\.json, record 0 \(sample_id 9\): a\.png is no picture"):
        await run(fake, records, tmp_path / "out")


async def test_the_turns_of_a_record_are_of_one_session(fake: openai_server.FakeOpenAI, tmp_path: Path) -> None:
    fields = [
        datasets.record(number, "d", "open-ended", ("First?", "A1"), ("Second?", "A2"), image=[]) for number in (1, 2)
    ]
    await run(fake, records_in(tmp_path, fields), tmp_path / "out", concurrency=1)
    first, again, second, _ = fake.sessions
    assert first is not None
    assert fake.sessions == [first, first, second, second]
    assert first != second
    assert again == first
