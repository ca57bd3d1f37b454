"""Requests made from the server's own description: no 500, and no answer that the description does not state.

`EXAMPLES` in the environment says how many requests are made of each operation's schema (20).
"""

import os
import subprocess
import sys
from pathlib import Path

import jsonschema

from tests.support.attacked_server import CHAT, PLAN, Attacked

EXAMPLES = os.environ.get("EXAMPLES", "20")
# What a schema allows may still be refused: a host that is not public, a picture that is none, a limit.
UNFIT = "positive_data_acceptance"


def test_the_description_is_whole(target: Attacked) -> None:
    schema = target.client.get("/openapi.json").json()
    for path in (CHAT, PLAN):
        asked = schema["paths"][path]["post"]["requestBody"]["content"]["application/json"]["schema"]
        validator = jsonschema.Draft202012Validator({**asked, "components": schema["components"]})
        assert validator.is_valid({"messages": [{"role": "user", "content": [{"type": "text", "text": "x"}]}]})
        assert not validator.is_valid({"messages": [{"role": "user", "content": [{"type": "text"}]}]})


def test_no_request_made_from_the_description_breaks_anything(target: Attacked, tmp_path: Path) -> None:
    command = [
        str(Path(sys.executable).with_name("st")), "run", f"{target.server.url}/openapi.json", "--checks", "all",
        "--exclude-checks", UNFIT, "--max-examples", EXAMPLES, "--seed", "0", "--no-color",
    ]  # fmt: skip
    run = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, check=False)
    assert run.returncode == 0, run.stdout[-5000:] + run.stderr[-2000:]
    assert "7 selected / 7 total" in run.stdout
