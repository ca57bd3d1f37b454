"""The measurement of a server's prefill, against a server that answers by a rule."""

import json
import subprocess
import sys

from llava_interleave_serve.benchmarks.peers import prefill
from tests.support.fakes import openai_server


def test_each_case_is_asked_alone_and_its_first_request_is_not_counted() -> None:
    with openai_server.running() as fake:
        url = fake.base_url.removesuffix("/v1")
        command = [sys.executable, "-m", prefill.__name__, "--url", url, "--rounds", "2"]
        run = subprocess.run([*command, "--cases", "1 image", "4 images"], capture_output=True, text=True, check=True)
        report = json.loads(run.stdout.splitlines()[-1])
        assert fake.max_concurrent == 1
    assert list(report["cases"]) == ["1 image", "4 images"]
    images = [str(body["messages"]).count("image_url'") for body in fake.bodies]
    assert len(fake.bodies) == 6
    assert len(set(images[:3])) == len(set(images[3:])) == 1
    assert images[0] * 4 == images[3]
    for figures in report["cases"].values():
        assert figures["s_to_first_token"] > 0
    one, four = report["cases"]["1 image"], report["cases"]["4 images"]
    tokens = [round(each["tokens_per_s"] * each["s_to_first_token"]) for each in (one, four)]
    assert 3.5 < tokens[1] / tokens[0] < 4.2
