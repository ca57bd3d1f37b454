"""Open WebUI's own backend with its defaults, asked as its page asks; the answer is read from the saved chat."""

import contextlib
import http.server
import json
import os
import secrets
import socket
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
from steps import equal, run, step, task

TASK = task()
DEADLINE = 300.0  # seconds until the backend serves, or a chat is saved
RECORDED: list[tuple[dict[str, Any], int]] = []  # the bodies that the backend sends, and their answers' status


class Recorder(http.server.BaseHTTPRequestHandler):
    """Passes requests on to the server, and records what is posted."""

    def do_GET(self) -> None:
        self._pass_on(None)

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        RECORDED.append((json.loads(body), self._pass_on(body)))

    def _pass_on(self, body: bytes | None) -> int:
        headers = {"Content-Type": "application/json"}
        with httpx.stream(self.command, TASK.server + self.path, content=body, headers=headers, timeout=60) as answer:
            self.send_response(answer.status_code)
            self.send_header("Content-Type", answer.headers["content-type"])
            self.end_headers()
            for piece in answer.iter_raw():
                self.wfile.write(piece)
        return answer.status_code

    def log_message(self, *_: Any) -> None:
        """Logs nothing."""


@contextlib.contextmanager
def recorder() -> Iterator[str]:
    """Runs the recorder; its URL."""
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Recorder) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


@contextlib.contextmanager
def backend(server: str) -> Iterator[httpx.Client]:
    """Runs Open WebUI without a login and without Ollama; a client that is signed in."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port = listener.getsockname()[1]
    variables = {
        "WEBUI_AUTH": "False",
        "WEBUI_SECRET_KEY": secrets.token_hex(32),
        "OPENAI_API_BASE_URL": f"{server}/v1",
        "OPENAI_API_KEY": "none",
        "ENABLE_OLLAMA_API": "False",
        "DATA_DIR": str(TASK.folder),
        "OFFLINE_MODE": "True",
        # Embeddings of documents come from elsewhere, so that torch need not be installed.
        "RAG_EMBEDDING_ENGINE": "openai",
    }
    command = [str(Path(sys.executable).with_name("open-webui")), "serve", "--host", "127.0.0.1", "--port", str(port)]
    process = subprocess.Popen(command, env=os.environ | variables, stdout=sys.stderr, cwd=TASK.folder)
    try:
        with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=60) as client:
            wait(lambda: serves(process, client))
            token = client.post("/api/v1/auths/signin", json={"email": "", "password": ""}).json()["token"]
            client.headers["Authorization"] = f"Bearer {token}"
            yield client
    finally:
        process.terminate()
        process.wait(60)


def serves(process: "subprocess.Popen[bytes]", client: httpx.Client) -> bool:
    if process.poll() is not None:
        raise RuntimeError("the backend did not start")
    with contextlib.suppress(httpx.TransportError):
        return client.get("/health").is_success
    return False


def wait(condition: Any) -> Any:
    """Waits until the condition holds, and returns its value. Raises TimeoutError after the deadline."""
    deadline = time.monotonic() + DEADLINE
    while time.monotonic() < deadline:
        if value := condition():
            return value
        time.sleep(0.3)
    raise TimeoutError("nothing came in time")


def ask(text: str, files: list[dict[str, str]], chat: str | None = None, parent: str | None = None) -> tuple[str, str]:
    """Sends what the page sends for a message. Returns the ids of the chat and of the answer's message."""
    message = {
        "id": str(uuid.uuid4()),
        "parentId": parent,
        "childrenIds": [],
        "role": "user",
        "content": text,
        "files": files,
        "models": [TASK.model],
    }
    answer = str(uuid.uuid4())
    body = {
        "stream": True,
        "model": TASK.model,
        "messages": [{"role": "user", "content": text}],
        "params": {"temperature": 0},
        "files": [],
        "features": {},
        "variables": {},
        "session_id": str(uuid.uuid4()),
        "parent_id": parent,
        "user_message": message,
        "message_ids": [{"model_id": TASK.model, "message_id": answer}],
        "background_tasks": {"title_generation": True, "tags_generation": True, "follow_up_generation": True},
    } | ({"chat_id": chat} if chat else {})
    response = CLIENT.post("/api/chat/completions", json=body)
    response.raise_for_status()
    return response.json()["chat_id"], answer


def saved(chat: str, message: str) -> str:
    """The text of a message once it is saved as done. Raises AssertionError with the message's error."""

    def done() -> Any:
        history = CLIENT.get(f"/api/v1/chats/{chat}").json()["chat"]["history"]["messages"]
        return history[message] if history.get(message, {}).get("done") else None

    record = wait(done)
    assert not record.get("error"), record["error"]
    text: str = record["content"]
    return text


def streamed() -> list[dict[str, Any]]:
    """The recorded requests for answers. What the page asks in the background is not streamed."""
    return [body for body, _ in RECORDED if body.get("stream")]


@step("list of models")
def models() -> None:
    equal([model["id"] for model in CLIENT.get("/api/models").json()["data"]], [TASK.model])


@step("chat with a picture, its built-in tools sent along, and the next turn")
def chat() -> None:
    first, answer = ask(TASK.question, [{"type": "image", "url": TASK.picture}])
    equal(saved(first, answer), TASK.answer)
    second, next_answer = ask(TASK.next_question, [], first, answer)
    equal(saved(second, next_answer), TASK.next_answer)
    equal([len(body["tools"]) > 10 for body in streamed()], [True, True])
    assert TASK.picture in json.dumps(streamed()[1]["messages"])


@step("title, asked for in the background")
def background() -> None:
    wait(lambda: len(RECORDED) >= 3)
    equal([status for _, status in RECORDED], [200] * len(RECORDED))


with recorder() as URL, backend(URL) as CLIENT:
    run("open-webui")
