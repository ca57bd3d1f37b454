"""`llava-interleave eval` runs whole over both formats, and continues after it was interrupted."""

import dataclasses
import json
import random
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from llava_interleave_serve.server.app import create_app
from llava_interleave_serve.server.config import ServerConfig
from tests.support import datasets
from tests.support.asgi_thread import serving
from tests.support.fakes import openai_server
from tests.support.fakes.engine import FakeEngine
from tests.support.original import fake_engine

RUN = "from llava_interleave_serve.server.cli import main; main()"
# Of the vectors' prompts: `<image>` in a text of a record without images, and a control token, which stays text here.
NOT_QUESTIONS = ("has_image_false", "special_tokens_and_unicode_in_text")
PLACEHOLDER = -200
SCORE_FILES = ("table.md", "scores.json")


@pytest.fixture
def fake() -> Iterator[openai_server.FakeOpenAI]:
    with openai_server.running() as fake:
        yield fake


def start(base_url: str, *argv: str | Path) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", RUN, "eval", *map(str, argv), "--base-url", base_url]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def finish(process: subprocess.Popen[str]) -> tuple[int, str, str]:
    out, err = process.communicate(timeout=120)
    return process.returncode, out, err


def results(folder: Path) -> dict[str, str]:
    return {name: (folder / name).read_text() for name in SCORE_FILES}


def test_datasets_of_both_formats_are_evaluated(fake: openai_server.FakeOpenAI, tmp_path: Path) -> None:
    fake.answer_rule = lambda messages: {"What is it?": "a red circle", "Which?": "Answer: B"}[
        openai_server.message_text(messages[0])
    ]
    rows = [
        {"sample_id": f"v{number}", "sub_task": "VIST", "question_type": "open-ended", "question": "What is it?",
         "answer": truth, "images": []}
        for number, truth in enumerate(["A red circle.", "a red circle and a blue square", ""])
    ]  # fmt: skip
    records = [
        datasets.record(number, "RAVEN", "multi-choice", ("<image>Which?", truth), image=["a.png"])
        for number, truth in enumerate(["B", "C", "(b)", "D"])
    ]
    files = [datasets.write_parquet(tmp_path / "hub.parquet", rows), datasets.write_json(tmp_path, records)]
    code, out, err = finish(start(fake.base_url, *files, "--out", tmp_path / "out"))
    assert code == 0, err
    scores = json.loads((tmp_path / "out" / "scores.json").read_text())
    assert scores["data_sets"]["RAVEN"]["score"] == 0.5
    # 1 for the same words, 2/3 for three of six, and the empty truth does not count.
    assert scores["data_sets"]["VIST"]["score"] == pytest.approx((1 + 2 / 3) / 2)
    assert scores["categories"] == {"Visual Story Telling": pytest.approx(5 / 6), "Puzzle": 0.5}
    assert scores["splits"]["In-domain"] == pytest.approx((5 / 6 + 0.5) / 2)
    assert out == (tmp_path / "out" / "table.md").read_text()
    assert "VIST: 1 answers do not count" in out
    assert (tmp_path / "out" / "report.html").exists()


@pytest.mark.parametrize("seed", range(3))
def test_a_killed_evaluation_is_continued_and_scores_the_same(
    fake: openai_server.FakeOpenAI, tmp_path: Path, seed: int
) -> None:
    dataset = datasets.write_json(tmp_path, datasets.mixed(40))
    assert finish(start(fake.base_url, dataset, "--out", tmp_path / "whole", "--concurrency", "8"))[0] == 0
    questions = len(fake.bodies)
    fake.bodies.clear()

    process = start(fake.base_url, dataset, "--out", tmp_path / "killed", "--concurrency", "8")
    last = random.Random(seed).randrange(1, questions)
    fake.on_request = lambda number: process.kill() if number == last else None
    assert finish(process)[0] == -signal.SIGKILL
    lines = (tmp_path / "killed" / "result.jsonl").read_text().split("\n")[:-1]
    answered = {(line["row"], line["turn"]) for line in map(json.loads, lines)}
    assert len(answered) < questions

    fake.on_request = lambda number: None
    code, _, err = finish(start(fake.base_url, dataset, "--out", tmp_path / "killed", "--concurrency", "8"))
    assert code == 0, err
    assert results(tmp_path / "killed") == results(tmp_path / "whole")
    # Only what was under way when it was killed, at most one question a conversation, was asked a second time.
    again = [question for question, times in fake.question_counts.items() if times > 1]
    assert len(fake.question_counts) == questions
    assert len(fake.bodies) - questions == len(again) <= 8
    turns = {(int(question.split()[1].rstrip("?")), question.count(" | ")) for question in again}
    assert not turns & answered


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_evaluation_waits_for_its_answers_and_asks_no_question_twice(
    fake: openai_server.FakeOpenAI, tmp_path: Path, number: int
) -> None:
    dataset = datasets.write_json(tmp_path, datasets.mixed(40))
    process = start(fake.base_url, dataset, "--out", tmp_path / "out", "--concurrency", "8")
    fake.on_request = lambda arrived: process.send_signal(number) if arrived == 17 else None
    code, _, err = finish(process)
    assert (code, "interrupted: run this again to go on" in err) == (1, True), err
    fake.on_request = lambda arrived: None
    code, _, err = finish(start(fake.base_url, dataset, "--out", tmp_path / "out", "--concurrency", "8"))
    assert code == 0, err
    assert len(fake.question_counts) == 48
    assert set(fake.question_counts.values()) == {1}


def test_the_style_of_lmms_eval_asks_for_fewer_tokens_and_averages_over_answers(
    fake: openai_server.FakeOpenAI, tmp_path: Path
) -> None:
    fake.answer_rule = lambda messages: "B. a cat"
    records = [datasets.record(1, "TQA", "multi-choice", ("Q", "B"))]
    records += [datasets.record(number, "WebQA", "multi-choice", ("Q", "C")) for number in range(3)]
    dataset = datasets.write_json(tmp_path, records)
    for style, tokens, score in (("reference", 1024, 0.0), ("lmms-eval", 16, 0.25)):
        fake.bodies.clear()
        code, _, err = finish(start(fake.base_url, dataset, "--out", tmp_path / style, "--style", style))
        assert code == 0, err
        assert {body["max_tokens"] for body in fake.bodies} == {tokens}
        assert json.loads((tmp_path / style / "scores.json").read_text())["all_categories"] == score


def test_videos_are_sent_with_their_frames_and_pooling(fake: openai_server.FakeOpenAI, tmp_path: Path) -> None:
    datasets.video(tmp_path / "v.mp4")
    dataset = datasets.write_json(
        tmp_path, [datasets.record(1, "NextQA", "multi-choice", ("<image>\nWhy?", "a"), video="v.mp4")]
    )
    options = ["--num-frames", "8", "--pooling", "average", "--pool-stride", "3"]
    code, _, err = finish(start(fake.base_url, dataset, "--out", tmp_path / "out", *options))
    assert code == 0, err
    (body,) = fake.bodies
    video, text = body["messages"][0]["content"]
    assert text == {"type": "text", "text": "\nWhy?"}
    assert video["video_url"].pop("url").startswith("data:video/mp4;base64,")
    assert video == {"type": "video_url", "video_url": {"num_frames": 8, "pooling": "average", "pool_stride": 3}}
    line = json.loads((tmp_path / "out" / "result.jsonl").read_text())
    assert (line["visuals"], line["visual_tokens"]) == (8, 8 * 81)


def test_an_evaluation_of_our_own_server_reports_its_visual_tokens(tmp_path: Path) -> None:
    datasets.video(tmp_path / "v.mp4")
    records = [
        datasets.record(1, "NextQA", "multi-choice", ("<video>Why?", "ab"), ("And then?", "AB"), video="v.mp4"),
        datasets.record(2, "RAVEN", "multi-choice", ("<image> or <image>?", "(AB)"), image=["a.png", "b.png"]),
    ]
    dataset = datasets.write_json(tmp_path, records)
    engine = FakeEngine()
    with serving(create_app(engine, ServerConfig()), lifespan="on") as url:
        options = ["--num-frames", "3", "--pooling", "bilinear"]
        code, _, err = finish(start(f"{url}/v1", dataset, "--out", tmp_path / "out", *options))
    assert code == 0, err
    lines = [json.loads(line) for line in (tmp_path / "out" / "result.jsonl").read_text().splitlines()]
    costs = {(line["row"], line["turn"]): (line["visuals"], line["visual_tokens"]) for line in lines}
    assert costs == {(0, 0): (3, 3 * 16), (0, 1): (3, 3 * 16), (1, 0): (2, 2 * 16)}
    assert json.loads((tmp_path / "out" / "scores.json").read_text())["all_categories"] == 1


def test_the_reference_style_asks_with_the_prompts_of_preprocess_qwen(tmp_path: Path) -> None:
    prompts = json.loads((fake_engine.FOLDER / "f_prompts.json").read_text())
    shapes = {
        shape["messages"][0]["value"]: shape["input_ids"]
        for shape in prompts
        if len(shape["messages"]) == 2 and shape["messages"][1]["value"] is None and shape["name"] not in NOT_QUESTIONS
    }
    records = [
        datasets.record(number, "VIST", "open-ended", (question, "A"), image=["a.png"] * question.count("<image>"))
        for number, question in enumerate(shapes)
    ]
    engine = fake_engine.engine()
    engine.facts = dataclasses.replace(engine.facts, sampling_defaults={"top_p": 0.8, "output_repetition_penalty": 1.1})
    dataset = datasets.write_json(tmp_path, records)
    with serving(create_app(engine, ServerConfig(prompt_style="chat")), lifespan="on") as url:
        code, out, err = finish(start(f"{url}/v1", dataset, "--out", tmp_path / "out", "--concurrency", "1"))
        assert code == 0, err
        without: list[str | Path] = ["--out", tmp_path / "without", "--repetition-penalty", "1", "--limit", "1"]
        assert finish(start(f"{url}/v1", dataset, *without))[0] == 0
    asked = [
        [PLACEHOLDER if token == fake_engine.IMAGE_TOKEN else token for token in ids] for ids, _, _ in engine.asked
    ]
    assert asked[:-1] == list(shapes.values())
    assert len(shapes) >= 12
    said = "Asked with prompts of the style bench; greedy, "
    assert f"{said}output repetition penalty 1.1." in out
    assert f"{said}repetition penalty 1." in (tmp_path / "without" / "table.md").read_text()
    assert json.loads((tmp_path / "out" / "scores.json").read_text())["settings"]["prompt_style"] == "bench"
    assert ["repetition_penalty" in sampling for _, _, sampling in engine.asked] == [False] * len(shapes) + [True]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--pool-stride", "2"], "--pool-stride needs --pooling"),
        (["--concurrency", "0"], "0 is not 1 or more"),
        (["--style", "mine"], "invalid choice"),
        (["--concur", "2"], "unrecognized arguments: --concur"),
    ],
)
def test_a_wrong_option_ends_the_command(
    fake: openai_server.FakeOpenAI, tmp_path: Path, options: list[str], message: str
) -> None:
    code, _, err = finish(start(fake.base_url, tmp_path / "records.json", "--out", tmp_path / "out", *options))
    assert code == 2
    assert message in err


def test_a_faulty_dataset_is_reported_in_one_line(fake: openai_server.FakeOpenAI, tmp_path: Path) -> None:
    code, out, err = finish(start(fake.base_url, tmp_path / "no.json", "--out", tmp_path / "out"))
    assert (code, out) == (1, "")
    assert err.startswith("llava-interleave eval: no.json: ")
    assert err.count("\n") == 1
