"""LiteLLM's proxy in front of the server, asked by the `openai` package."""

import json
import os
import secrets
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import httpx
import openai
from steps import equal, run, step, task

TASK = task()
KEY = f"sk-{secrets.token_hex(16)}"  # without one the proxy does not start


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


def start(port: int) -> "subprocess.Popen[bytes]":
    """Starts the proxy and waits until it serves. Raises RuntimeError if it does not within 5 minutes."""
    parameters = {"model": f"openai/{TASK.model}", "api_base": TASK.url, "api_key": "none"}
    models = [{"model_name": "demo", "litellm_params": parameters}]
    config = {"model_list": models, "general_settings": {"master_key": KEY}}
    (TASK.folder / "config.yaml").write_text(json.dumps(config))  # JSON is YAML
    command = [Path(sys.executable).with_name("litellm"), "--config", "config.yaml", "--host", "127.0.0.1"]
    environment = {**os.environ, "LITELLM_LOCAL_MODEL_COST_MAP": "True"}
    process = subprocess.Popen(
        [*map(str, command), "--port", str(port)], cwd=TASK.folder, env=environment, stdout=sys.stderr
    )
    deadline = time.monotonic() + 300
    while time.monotonic() < deadline and process.poll() is None:
        try:
            if httpx.get(f"http://127.0.0.1:{port}/health/liveliness", timeout=5).is_success:
                return process
        except httpx.TransportError:
            time.sleep(0.5)
    process.kill()
    raise RuntimeError("the proxy did not start")


PORT = free_port()
PROXY = start(PORT)
CLIENT = openai.OpenAI(base_url=f"http://127.0.0.1:{PORT}/v1", api_key=KEY, max_retries=0)


def chat(**options: Any) -> Any:
    return CLIENT.chat.completions.create(
        **{"model": "demo", "messages": TASK.messages, "temperature": 0, "max_tokens": 60} | options
    )


@step("question about a picture")
def question() -> None:
    equal(chat().choices[0].message.content, TASK.answer)


@step("streamed")
def stream() -> None:
    chunks = chat(stream=True)
    equal("".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices), TASK.answer)


@step("second turn after the answer's own message")
def second_turn() -> None:
    messages = [*TASK.messages, chat().choices[0].message, {"role": "user", "content": TASK.next_question}]
    equal(chat(messages=messages).choices[0].message.content, TASK.next_answer)


@step("tool_choice required")
def required_tool() -> None:
    parameters = {"type": "object", "properties": {"wanted": {"type": "boolean"}}, "required": ["wanted"]}
    function = {"name": "decide", "parameters": parameters}
    choice = chat(tools=[{"type": "function", "function": function}], tool_choice="required").choices[0]
    (call,) = choice.message.tool_calls
    assert isinstance(json.loads(call.function.arguments)["wanted"], bool)


@step("completion")
def completion() -> None:
    assert CLIENT.completions.create(model="demo", prompt="A red", max_tokens=8).choices[0].text


try:
    run("litellm")
finally:
    PROXY.terminate()
    PROXY.wait(60)
