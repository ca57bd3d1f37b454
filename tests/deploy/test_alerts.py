"""The alert rules fire for what they name, by Prometheus' own evaluation of them: `make alerts-check`."""

import json
import shutil
import subprocess
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from tests.support.fleet import promql

PROMTOOL = shutil.which("promtool")
needs_promtool = pytest.mark.skipif(PROMTOOL is None, reason="needs promtool (Debian's prometheus): make alerts-check")
REQUESTS = 'lis_inflight{of="requests",instance="a"}'
MINUTES = 30  # of every series; promtool evaluates at their end


@dataclass
class Case:
    """What a rule is to say of series. Values are in promtool's notation: `0+6x30` is 0, and 6 more each minute.

    Attributes:
        alert: the rule.
        bad: values of series for which it fires.
        good: values of the same series for which it does not.
        summary: what it says, with the values filled in.
        labels: of the alert, besides its severity.

    """

    alert: str
    bad: dict[str, str]
    good: dict[str, str]
    summary: str
    labels: dict[str, str] = field(default_factory=dict)


TTFT = 'vllm:time_to_first_token_seconds_bucket{{le="{}",instance="a"}}'
OF_A = {"instance": "a"}
CASES = [
    Case(
        "NoReplicaAnswers",
        {"up": "0x30"},
        {REQUESTS: "0x30"},
        "No replica's metrics can be read.",
        {"of": "requests"},
    ),
    Case(
        "ReplicasRestart",
        {'process_start_time_seconds{instance="a"}': "1x5 2x5 3x5 4x15", REQUESTS: "0x30"},
        {'process_start_time_seconds{instance="a"}': "1x5 2x5 3x20", REQUESTS: "0x30"},
        "a has started 3 times in an hour.",
        OF_A,
    ),
    Case(
        "RequestsRefused",
        {'lis_refusals_total{code="overloaded"}': "0+6x30", 'lis_phase_seconds_count{phase="admission"}': "0+114x30"},
        {'lis_refusals_total{code="overloaded"}': "0+6x30", 'lis_phase_seconds_count{phase="admission"}': "0+600x30"},
        "5% of the requests find a replica full (429).",
    ),
    Case(
        "RequestsFail",
        {'lis_refusals_total{code="None",instance="a"}': "0+2x30"},
        {'lis_refusals_total{code="None",instance="a"}': "0+1x30", 'lis_refusals_total{code="overloaded"}': "0+9x30"},
        "a fails to answer requests (code None).",
        OF_A | {"code": "None"},
    ),
    Case(
        "FirstTokensAreLate",
        {TTFT.format("10"): "0+90x30", TTFT.format("20"): "0+100x30", TTFT.format("+Inf"): "0+100x30"},
        {TTFT.format("10"): "0+96x30", TTFT.format("20"): "0+100x30", TTFT.format("+Inf"): "0+100x30"},
        "One in twenty first tokens takes longer than 15s in the engine.",
    ),
    Case(
        "QueueGrows",
        {'vllm:num_requests_waiting{instance="a"}': "9x30"},
        {'vllm:num_requests_waiting{instance="a"}': "9x25 3x1 9x4"},
        "a has had 9 or more requests waiting for 10 minutes.",
        OF_A,
    ),
    Case(
        "KvBlocksFull",
        {'vllm:kv_cache_usage_perc{instance="a"}': "0.99x30", 'vllm:num_preemptions_total{instance="a"}': "0+1x30"},
        {'vllm:kv_cache_usage_perc{instance="a"}': "0.99x30", 'vllm:num_preemptions_total{instance="a"}': "1x30"},
        "a computes prompts again, for want of KV blocks.",
        OF_A,
    ),
    Case(
        "OneReplicaIsHot",
        {f'lis_inflight{{of="visual_tokens",instance="{name}"}}': value for name, value in
         {"a": "40000x30", "b": "0x30", "c": "0x30", "d": "0x30"}.items()},
        {f'lis_inflight{{of="visual_tokens",instance="{name}"}}': value for name, value in
         {"a": "40000x30", "b": "40000x30", "c": "0x30", "d": "0x30"}.items()},
        "One replica has three times the mean of the visual tokens in flight.",
    ),
    Case(
        "DecodersDie",
        {'lis_decode_worker_deaths_total{instance="a"}': "0+1x30"},
        {'lis_decode_worker_deaths_total{instance="a"}': "0x25 1x5"},
        "a has lost 15 processes that decode media.",
        OF_A,
    ),
    Case(
        "DescriptorsRunOut",
        {'process_open_fds{instance="a"}': "900x30", 'process_max_fds{instance="a"}': "1000x30", REQUESTS: "1x30"},
        {'process_open_fds{instance="a"}': "700x30", 'process_max_fds{instance="a"}': "1000x30", REQUESTS: "1x30"},
        "a has 90% of its file descriptors open.",
        OF_A,
    ),
]  # fmt: skip


def said(case: Case, series: dict[str, str], folder: Path, *, fires: bool) -> subprocess.CompletedProcess[str]:
    """What promtool says of a rule that is to fire, or not to, for these series."""
    (rule,) = [rule for rule in promql.alerts() if rule["alert"] == case.alert]
    annotations = {"summary": case.summary, "description": rule["annotations"]["description"]}
    expected = {"exp_labels": rule["labels"] | case.labels, "exp_annotations": annotations}
    test: dict[str, Any] = {
        "interval": "1m",
        "input_series": [{"series": name, "values": values} for name, values in series.items()],
        "alert_rule_test": [
            {"eval_time": f"{MINUTES}m", "alertname": case.alert, "exp_alerts": [expected] if fires else []}
        ],
    }
    file = folder / "test.yaml"
    rules = str(promql.FILES / "alerts.yaml")
    file.write_text(json.dumps({"rule_files": [rules], "evaluation_interval": "1m", "tests": [test]}))
    assert PROMTOOL is not None
    return subprocess.run([PROMTOOL, "test", "rules", str(file)], capture_output=True, text=True, check=False)


@needs_promtool
def test_prometheus_takes_the_rules() -> None:
    assert PROMTOOL is not None
    command = [PROMTOOL, "check", "rules", str(promql.FILES / "alerts.yaml")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_every_rule_has_a_case() -> None:
    assert [case.alert for case in CASES] == [rule["alert"] for rule in promql.alerts()]


@needs_promtool
@pytest.mark.parametrize("case", CASES, ids=lambda case: case.alert)
def test_a_rule_fires_for_what_it_names_alone(case: Case, tmp_path: Path) -> None:
    for series, fires in ((case.bad, True), (case.good, False)):
        done = said(case, series, tmp_path, fires=fires)
        assert done.returncode == 0, done.stdout + done.stderr
        assert said(case, series, tmp_path, fires=not fires).returncode != 0
