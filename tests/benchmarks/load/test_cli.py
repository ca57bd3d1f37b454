"""The command line, and whole measurements of a server of known delays."""

import json
from pathlib import Path
from typing import Any

import anyio
import pytest

from llava_interleave_serve.benchmarks.load import benchmark, cli
from llava_interleave_serve.benchmarks.load.client.server_info import NoServer
from llava_interleave_serve.benchmarks.load.options import Options
from llava_interleave_serve.benchmarks.load.progress import Progress
from llava_interleave_serve.benchmarks.load.workload.strict import WorkloadError
from tests.support.fakes.chat_server import FakeChatServer, Script

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


@pytest.mark.parametrize(
    ("argv", "said"),
    [
        (["--rate-to", "3"], "--rate-to is for --arrivals ramp, not poisson"),
        (["--rate=2", "--arrivals", "closed", "--requests", "3"], "--rate is for"),
        (["--cv", "2"], "--cv is for --arrivals gamma"),
        (["--concurrency", "2"], "--concurrency is for --arrivals closed"),
        (["--arrivals", "ramp", "--rate-to", "3"], "a ramp needs"),
        (["--arrivals", "trace"], "needs --trace"),
        (["--arrivals", "closed"], "needs --requests"),
        (["--rate", "0"], "--rate must be above 0"),
        (["--rate", "nan"], "--rate must be above 0"),
        (["--requests", "-1"], "--requests must be above 0"),
        (["--verify", "-1"], "--verify cannot be negative"),
        (["--search", "--arrivals", "closed", "--requests", "3"], "a search needs"),
        (["--warmup", "5", "--duration", "4"], "--warmup ends after"),
        (["--nonsense"], "unrecognized arguments"),
    ],
)
def test_options_that_would_do_nothing_are_refused(
    argv: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as error:
        cli.parse(argv)
    assert error.value.code == 2
    assert said in capsys.readouterr().err


def test_without_an_end_a_run_takes_half_a_minute() -> None:
    assert cli.parse([])[0].duration == 30.0
    assert cli.parse(["--requests", "5"])[0].duration is None
    assert cli.parse(["--arrivals", "trace", "--trace", "x"])[0].duration is None


def test_every_option_of_the_command_is_one_of_the_configuration() -> None:
    options, _ = cli.parse(["text", "--verify"])
    assert (options.workload, options.verify) == ("text", cli.VERIFIED)


@pytest.mark.parametrize(
    ("argv", "said"),
    [
        (["no such preset"], "neither a file nor a preset"),
        (["text", "--url", "http://127.0.0.1:1"], "http://127.0.0.1:1/v1/models"),
    ],
)
def test_what_cannot_be_measured_is_said_in_one_line(
    argv: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main([*argv, "--quiet"]) == 1
    error = capsys.readouterr().err
    assert said in error
    assert error.count("\n") == 1


def test_the_command_has_the_load_test(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    from llava_interleave_serve.server import cli as command

    monkeypatch.setattr("sys.argv", ["llava-interleave", "bench", "--help"])
    with pytest.raises(SystemExit) as ended:
        command.main()
    assert ended.value.code == 0
    assert "--search" in capsys.readouterr().out


pytest_anyio = pytest.mark.anyio


@pytest_anyio
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
        assert any(part["type"] == "multi_view" for one in server.served for part in one.body["messages"][0]["content"])
    assert code == 0
    made = json.loads((tmp_path / "a.json").read_text())
    assert made["server"] == {
        "url": server.url + "/v1", "model": "fake", "dialect": "ours", "tokens_per_visual": 49,
    }  # fmt: skip
    assert len(made["requests"]) == 20
    assert made["all"]["requests"] == 20 - sum(made["left_out"].values())
    assert made["left_out"]["warm-up"] == 4
    assert made["verification"] == {"sent_alone": 4, "compared": 4, "same": 4, "different": []}
    assert (tmp_path / "a.html").read_text().startswith("<!DOCTYPE html>")
    assert "verify: 4 of 4" in capsys.readouterr().out


@pytest_anyio
async def test_an_answer_that_changes_under_load_is_an_exit_code(work: str) -> None:
    said = iter(range(1000))
    async with FakeChatServer(lambda body: Script(tokens=(f"{next(said)}",))) as server:
        argv = [work, "--rate", "50", "--requests", "8", "--verify", "2", "--quiet", "--url", server.url]
        assert await anyio.to_thread.run_sync(cli.main, argv) == 1


@pytest_anyio
@pytest.mark.parametrize("skip", [False, True])
async def test_another_server_gets_images_or_less_and_the_report_says_so(work: str, skip: bool) -> None:
    async with FakeChatServer(owner="another") as server:
        options = Options(server.url, work, rate=50.0, requests=10, skip_unsupported=skip)
        made = await benchmark.bench(options, Progress(quiet=True))
        kinds = {part["type"] for one in server.served for part in one.body["messages"][0]["content"]}
    assert made.server.dialect == "openai"
    assert kinds == ({"text"} if skip else {"text", "image_url"})
    said = "requests left out, for want of views" if skip else "camera views sent as images, names as text between them"
    assert any(said in note for note in made.notes)


@pytest_anyio
async def test_the_search_finds_what_a_server_can_do(work: str) -> None:
    """One request at a time, 50 ms each: more than 20 a second cannot be answered in time for long."""

    def answer(body: dict[str, Any]) -> Script:
        return Script(first=0.05, tokens=("A",))

    text_only = WORK[: WORK.rindex("[[classes]]")].replace("ttft = 0.5", "ttft = 0.4, share = 0.9")
    await anyio.Path(work).write_text(text_only)
    async with FakeChatServer(answer, slots=1) as server:
        options = Options(
            server.url, work, arrivals="constant", rate=5.0, requests=30, search=True, precision=0.5, most_points=6
        )
        made = await benchmark.bench(options, Progress(quiet=True))
    search = made.search
    assert search is not None
    assert search.low is not None
    assert search.high is not None
    assert search.low <= 25
    assert search.low < search.high
    assert any(point.rate == 40 and not point.met for point in search.points)
    assert made.arrivals.rate == search.low


@pytest_anyio
async def test_each_point_of_a_search_shows_media_of_its_own(work: str) -> None:
    async with FakeChatServer() as server:
        options = Options(server.url, work, rate=50.0, requests=12, search=True, most_points=2)
        await benchmark.bench(options, Progress(quiet=True))
    bodies = [json.dumps(one.body["messages"]) for one in server.served if "image_url" in json.dumps(one.body)]
    assert len(bodies) == len(set(bodies)) > 2


@pytest_anyio
async def test_a_search_without_a_target_is_an_error(work: str) -> None:
    await anyio.Path(work).write_text(WORK.replace("target", "# target"))
    with pytest.raises(WorkloadError, match="needs a target"):
        await benchmark.bench(Options("http://127.0.0.1:1", work, search=True), Progress(quiet=True))


@pytest_anyio
async def test_a_model_that_is_not_there_is_an_error(work: str) -> None:
    async with FakeChatServer() as server:
        with pytest.raises(NoServer, match="no model 'other'"):
            await benchmark.bench(Options(server.url, work, model="other", requests=1), Progress(quiet=True))


def test_two_reports_are_compared(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from tests.support.load_reports import report

    for name, seed in (("a", 0), ("b", 1)):
        (tmp_path / f"{name}.json").write_text(report(seed=seed).model_dump_json())
    files = [str(tmp_path / name) for name in ("a.json", "b.json")]
    assert cli.main(["compare", *files, "--html", str(tmp_path / "c.html")]) == 0
    assert "TTFT p50" in capsys.readouterr().out
    assert (tmp_path / "c.html").exists()
    assert cli.main(["compare", files[0], str(tmp_path / "none.json")]) == 1
