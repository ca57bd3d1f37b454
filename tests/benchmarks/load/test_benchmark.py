"""Load tests measure a server of known delays from end to end."""

import dataclasses
import json
from pathlib import Path
from typing import Any

import anyio
import pytest

from llava_interleave_serve.benchmarks.load import benchmark, cli
from llava_interleave_serve.benchmarks.load.client.server_info import NoServer
from llava_interleave_serve.benchmarks.load.options import Options
from llava_interleave_serve.benchmarks.load.progress import Progress
from llava_interleave_serve.benchmarks.load.workload.schema import WorkloadError
from tests.support.fakes.chat_server import FakeChatServer, Script

pytestmark = pytest.mark.anyio

WORK = """
name = "small"
[media]
sizes = ["32x32"]
[[classes]]
name = "text"
kind = "text"
answer_tokens = 3
target = {ttft = 0.5}
[[classes]]
name = "views"
kind = "views"
visuals = 2
target = {ttft = 30}
"""


@pytest.fixture
def work(tmp_path: Path) -> str:
    file = tmp_path / "work.toml"
    file.write_text(WORK)
    return str(file)


async def test_a_measurement_ends_in_a_table_a_json_and_a_page(
    work: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    argv = [
        work,
        "--arrivals",
        "constant",
        "--rate",
        "20",
        "--requests",
        "20",
        "--warmup-requests",
        "4",
        "--verify",
        "4",
    ]
    argv += ["--json", str(tmp_path / "a.json"), "--html", str(tmp_path / "a.html"), "--quiet"]
    async with FakeChatServer(owner="llava-interleave-serve") as server:
        code = await anyio.to_thread.run_sync(cli.main, [*argv, "--url", server.url + "/v1"])
        assert len(server.served) == 24
        assert any(
            part["type"] == "multi_view" for served in server.served for part in served.body["messages"][0]["content"]
        )
    assert code == 0
    report = json.loads((tmp_path / "a.json").read_text())
    assert report["server"] == {
        "url": server.url + "/v1", "model": "fake", "dialect": "ours", "tokens_per_visual": 49,
    }  # fmt: skip
    assert len(report["requests"]) == 20
    assert report["all"]["requests"] == 20 - sum(report["left_out"].values())
    assert report["left_out"]["warm-up"] == 4
    assert report["verification"] == {"sent_alone": 4, "compared": 4, "same": 4, "different": []}
    assert (tmp_path / "a.html").read_text().startswith("<!DOCTYPE html>")
    assert "verify: 4 of 4" in capsys.readouterr().out


async def test_an_answer_that_changes_under_load_is_an_exit_code(work: str) -> None:
    answers = iter(range(1000))
    async with FakeChatServer(lambda body: Script(tokens=(f"{next(answers)}",))) as server:
        argv = [work, "--rate", "50", "--requests", "8", "--verify", "2", "--quiet", "--url", server.url]
        assert await anyio.to_thread.run_sync(cli.main, argv) == 1


@pytest.mark.parametrize("skip", [False, True])
async def test_a_report_says_which_requests_were_changed_for_another_server(work: str, skip: bool) -> None:
    async with FakeChatServer(owner="another") as server:
        options = Options(server.url, work, rate=50.0, requests=10, skip_unsupported=skip)
        report = await benchmark.measure(options, Progress(quiet=True))
        kinds = {part["type"] for served in server.served for part in served.body["messages"][0]["content"]}
    assert report.server.dialect == "openai"
    assert kinds == ({"text"} if skip else {"text", "image_url"})
    note = "requests left out, for want of views" if skip else "camera views sent as images, names as text between them"
    assert any(note in line for line in report.notes)


async def test_the_rate_search_finds_the_capacity_of_a_server(work: str) -> None:
    """One request at a time, 50 ms each: more than 20 a second cannot be answered in time for long."""

    def answer(body: dict[str, Any]) -> Script:
        return Script(first=0.05, tokens=("A",))

    text_only = WORK[: WORK.rindex("[[classes]]")].replace("ttft = 0.5", "ttft = 0.4, share = 0.9")
    await anyio.Path(work).write_text(text_only)
    async with FakeChatServer(answer, slots=1) as server:
        options = Options(
            server.url, work, arrivals="constant", rate=5.0, requests=30, search=True, precision=0.5, most_points=6
        )
        report = await benchmark.measure(options, Progress(quiet=True))
    search = report.search
    assert search is not None
    assert search.low is not None
    assert search.high is not None
    assert search.low <= 25
    assert search.low < search.high
    assert any(point.rate == 40 and not point.met for point in search.points)
    assert report.arrivals.rate == search.low


async def test_the_rate_search_takes_no_rate_without_arrivals_for_one_within_every_target(work: str) -> None:
    async with FakeChatServer(lambda body: Script(status=503)) as server:
        options = Options(server.url, work, rate=20.0, duration=0.2, seed=0, search=True, most_points=9)
        report = await benchmark.measure(options, Progress(quiet=True))
    assert report.search is not None
    assert report.search.low is None
    assert report.search.points[-1].requests == 0
    assert any("a run had no request of 'views'" in note for note in report.notes)


async def test_each_point_of_a_rate_search_sends_new_media(work: str) -> None:
    async with FakeChatServer() as server:
        options = Options(server.url, work, rate=50.0, requests=12, search=True, most_points=2)
        await benchmark.measure(options, Progress(quiet=True))
    bodies = [json.dumps(served.body["messages"]) for served in server.served]
    with_images = [body for body in bodies if "image_url" in body]
    assert len(with_images) == len(set(with_images)) > 2


async def test_a_rate_search_without_a_target_is_an_error(work: str) -> None:
    await anyio.Path(work).write_text(WORK.replace("target", "# target"))
    with pytest.raises(WorkloadError, match="needs a target"):
        await benchmark.measure(Options("http://127.0.0.1:1", work, search=True), Progress(quiet=True))


async def test_a_load_test_of_an_unknown_model_is_an_error(work: str) -> None:
    async with FakeChatServer() as server:
        with pytest.raises(NoServer, match="no model 'other'"):
            await benchmark.measure(Options(server.url, work, model="other", requests=1), Progress(quiet=True))


@pytest.mark.parametrize(("kind", "distinct"), [("shared", 1), ("own", 6), ("none", 0)])
async def test_the_requests_of_a_session_have_one_id_or_each_its_own_or_none(
    kind: str, distinct: int, tmp_path: Path
) -> None:
    file = tmp_path / "talk.toml"
    file.write_text('name = "talk"\n[[classes]]\nname = "talk"\nkind = "text"\nturns = 6\nanswer_tokens = 3\n')
    options = Options(url="", workload=str(file), arrivals="constant", rate=100.0, requests=1, session_id=kind)
    async with FakeChatServer() as server:
        await benchmark.measure(dataclasses.replace(options, url=server.url), Progress(quiet=True))
    sessions = {served.session for served in server.served} - {None}
    assert len(server.served) == 6
    assert len(sessions) == distinct
