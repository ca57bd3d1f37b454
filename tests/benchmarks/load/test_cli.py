"""The command line of the load test is parsed, or refused in one line."""

from pathlib import Path

import pytest

from llava_interleave_serve.benchmarks.load import cli


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (["--rate-to", "3"], "--rate-to is for --arrivals ramp, not poisson"),
        (["--rate=2", "--arrivals", "closed", "--requests", "3"], "--rate is for"),
        (["--cv", "2"], "--cv is for --arrivals gamma"),
        (["--concurrency", "2"], "--concurrency is for --arrivals closed"),
        (["--arrivals", "ramp", "--rate-to", "3"], "a ramp needs"),
        (["--arrivals", "trace"], "needs --trace"),
        (["--arrivals", "closed"], "needs --requests"),
        (["--rate", "0"], "argument --rate: must be above 0, not 0"),
        (["--rate", "nan"], "argument --rate: must be above 0, not nan"),
        (["--requests", "-1"], "argument --requests: must be above 0, not -1"),
        (["--verify", "-1"], "argument --verify: cannot be negative, not -1"),
        (["--search", "--arrivals", "closed", "--requests", "3"], "a search needs"),
        (["--warmup", "5", "--duration", "4"], "--warmup ends after"),
        (["--nonsense"], "unrecognized arguments"),
        (["--concur", "2"], "unrecognized arguments: --concur"),
        (["--rate", "1", "--arrivals", "closed", "--requests", "3"], "--rate is for"),
        (["--trace", "x"], "--trace is for --arrivals trace, not poisson"),
        (["--precision", "0.2"], "--precision is for --search"),
        (["--most-points", "12"], "--most-points is for --search"),
        (["--warmup", "31"], "--warmup ends after"),
        (["--warmup-requests", "-1"], "argument --warmup-requests: cannot be negative"),
        (["--requests", "many"], "argument --requests: expected a whole number, not 'many'"),
        (["--duration", "inf"], "argument --duration: must be above 0"),
    ],
)
def test_load_test_options_without_an_effect_are_refused(
    argv: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as error:
        cli.parse(argv)
    assert error.value.code == 2
    assert message in capsys.readouterr().err


def test_a_load_test_without_an_end_takes_half_a_minute() -> None:
    assert cli.parse([])[0].duration == 30.0
    assert cli.parse(["--requests", "5"])[0].duration is None
    assert cli.parse(["--arrivals", "trace", "--trace", "x"])[0].duration is None


def test_the_command_line_becomes_the_configuration_of_a_load_test() -> None:
    options, _ = cli.parse(["text", "--verify"])
    assert (options.workload, options.verify) == ("text", cli.DEFAULT_VERIFIED)


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (["no such preset"], "neither a file nor a preset"),
        (["text", "--url", "http://127.0.0.1:1"], "http://127.0.0.1:1/v1/models"),
    ],
)
def test_a_load_test_that_cannot_run_is_reported_in_one_line(
    argv: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main([*argv, "--quiet"]) == 1
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1


def test_the_subcommand_bench_is_the_load_test(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from llava_interleave_serve.server import cli as command

    monkeypatch.setattr("sys.argv", ["llava-interleave", "bench", "--help"])
    with pytest.raises(SystemExit) as ended:
        command.main()
    assert ended.value.code == 0
    assert "--search" in capsys.readouterr().out


def test_the_subcommand_compare_compares_two_reports(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from tests.support.load.reports import report

    for name, seed in (("a", 0), ("b", 1)):
        (tmp_path / f"{name}.json").write_text(report(seed=seed).model_dump_json())
    files = [str(tmp_path / name) for name in ("a.json", "b.json")]
    assert cli.main(["compare", *files, "--html", str(tmp_path / "c.html")]) == 0
    assert "TTFT p50" in capsys.readouterr().out
    assert (tmp_path / "c.html").exists()
    assert cli.main(["compare", files[0], str(tmp_path / "none.json")]) == 1
