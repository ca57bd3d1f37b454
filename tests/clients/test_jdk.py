"""The JDK's own HTTP client, on which Java's OpenAI clients are built, with its default: it offers HTTP/2."""

import json
import re
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from llava_interleave_serve.benchmarks.openai_api import content_parts
from tests.support.clients.registry import JAVA, JDK
from tests.support.clients.results import Result

SCHEMA: dict[str, Any] = {
    "type": "object",
    "properties": {"shape": {"enum": ["circle", "star"]}},
    "required": ["shape"],
    "additionalProperties": False,
}
TOOL = {"type": "function", "function": {"name": "remember", "parameters": SCHEMA}}


def bodies(task: dict[str, str]) -> dict[str, tuple[dict[str, Any], Callable[[str], bool]]]:
    """The fields to send at each step, and what is true of an answer's body that is right."""
    picture = content_parts.image_part(content_parts.data_url(Path(task["picture"]).read_bytes(), "image/png"))
    question = {"role": "user", "content": [picture, content_parts.text_part(task["question"])]}
    next_question = {"role": "user", "content": task["next_question"]}
    turns = [question, {"role": "assistant", "content": task["answer"]}, next_question]
    common = {"model": task["model"], "messages": [question], "temperature": 0, "max_tokens": 60}
    by_schema = {"type": "json_schema", "json_schema": {"name": "thing", "schema": SCHEMA}}
    return {
        "question about a picture": (common, lambda body: message(body)["content"] == task["answer"]),
        "streamed": (common | {"stream": True}, lambda body: streamed_text(body) == task["answer"]),
        "second turn": (
            common | {"messages": turns},
            lambda body: bool(message(body)["content"] == task["next_answer"]),
        ),
        "response_format": (
            common | {"response_format": by_schema},
            lambda body: is_valid(message(body)["content"]),
        ),
        "tool_choice required": (
            common | {"tools": [TOOL], "tool_choice": "required"},
            lambda body: is_valid(message(body)["tool_calls"][0]["function"]["arguments"]),
        ),
    }


def message(body: str) -> dict[str, Any]:
    result: dict[str, Any] = json.loads(body)["choices"][0]["message"]
    return result


def streamed_text(body: str) -> str:
    events = [json.loads(data) for data in re.findall(r"data: (\{.*?\})(?=  data:)", body)]
    return "".join(choice["delta"].get("content") or "" for event in events for choice in event.get("choices", ()))


def is_valid(text: str) -> bool:
    jsonschema.validate(json.loads(text), SCHEMA)
    return True


@pytest.mark.engine
@pytest.mark.skipif(shutil.which("javac") is None, reason="there is no JDK")
def test_the_jdks_client_is_served(task: dict[str, str], tmp_path: Path) -> None:
    steps = bodies(task)
    files = [tmp_path / f"{number}.json" for number in range(len(steps))]
    for file, (fields, _) in zip(files, steps.values(), strict=True):
        file.write_text(json.dumps(fields))
    command = ["java", str(JAVA / "Post.java"), f"{task['server']}/v1/chat/completions", *map(str, files)]
    run = subprocess.run(command, capture_output=True, text=True, check=True, timeout=300)
    version, *lines = run.stdout.splitlines()
    result = Result(JDK.title, {"java": version}, dict.fromkeys(steps))
    for title, line in zip([*steps, *steps], lines, strict=True):
        status, http, body = line.split(" ", 2)
        if (status, http) != ("200", "HTTP_1_1") or not steps[title][1](body):
            result.steps[title] = line
    result.store()
    assert not result.failures
