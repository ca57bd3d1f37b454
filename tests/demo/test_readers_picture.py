"""The README's first question is about a picture that its reader makes, and the demo answers it right."""

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support import demo_server

README = Path(__file__).resolve().parents[2] / "README.md"


@pytest.mark.engine
def test_the_demo_answers_the_question_of_the_readme(tmp_path: Path) -> None:
    (commands,) = re.findall(r"```sh\n(\.venv/bin/python -c .*?)```", README.read_text(), re.DOTALL)
    with demo_server.start(tmp_path) as server:
        here = commands.replace(".venv/bin/python", sys.executable).replace("http://127.0.0.1:8000", server.url)
        answered = subprocess.run(["bash", "-c", here], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert json.loads(answered.stdout)["choices"][0]["message"]["content"] == "A red circle."
