"""Requests generated from the server's own OpenAPI document, by schemathesis.

`EXAMPLES` in the environment is the number of requests per operation (20).
"""

import os
import subprocess
import sys
from pathlib import Path

import jsonschema

from tests.support.attacked_server import CHAT, PLAN, AttackedServer

EXAMPLES = os.environ.get("EXAMPLES", "20")
# A request that the schema allows may still be refused: its host is private, its picture damaged, a limit exceeded.
UNFIT_CHECK = "positive_data_acceptance"


class TestRequestsFromTheSchema:
    def test_the_schema_of_a_request_accepts_a_valid_body_and_no_invalid_one(self, target: AttackedServer) -> None:
        document = target.client.get("/openapi.json").json()
        for path in (CHAT, PLAN):
            schema = document["paths"][path]["post"]["requestBody"]["content"]["application/json"]["schema"]
            validator = jsonschema.Draft202012Validator({**schema, "components": document["components"]})
            assert validator.is_valid({"messages": [{"role": "user", "content": [{"type": "text", "text": "x"}]}]})
            assert not validator.is_valid({"messages": [{"role": "user", "content": [{"type": "text"}]}]})

    def test_no_generated_request_gets_a_response_that_the_schema_does_not_describe(
        self, target: AttackedServer, tmp_path: Path
    ) -> None:
        command = [
            str(Path(sys.executable).with_name("st")), "run", f"{target.server.url}/openapi.json", "--checks", "all",
            "--exclude-checks", UNFIT_CHECK, "--max-examples", EXAMPLES, "--seed", "0", "--no-color",
        ]  # fmt: skip
        run = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, check=False)
        assert run.returncode == 0, run.stdout[-5000:] + run.stderr[-2000:]
        assert "7 selected / 7 total" in run.stdout
