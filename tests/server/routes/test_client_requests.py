"""What real clients send is answered, or refused for a reason that is told.

client_requests.jsonl: requests as clients made them by their own API, one a line, with pictures and texts cut; chats
unless they have another path.
"""

import json
from pathlib import Path
from typing import Any

import pytest

from tests.support import scene_parts
from tests.support.app_client import CHAT, PLAN, serving
from tests.support.fakes.engine import FakeEngine

pytestmark = pytest.mark.anyio
FILE = Path(__file__).with_name("client_requests.jsonl")
PICTURE, MODEL = "data:image/png;base64,iVBORw0KGgoA...", "llava-interleave-demo"
RECORDED: list[dict[str, Any]] = [json.loads(line) for line in FILE.read_text().splitlines()]
REQUESTS = [request for request in RECORDED if "path" not in request]
# Why a request is refused: what the client asks for, and no answer without it would be the one it asked for.
REASONS = {
    "tool_choice": "a call of a function, without any function",
    "functions": "calls of functions, in an older form",
    "messages[1].role": "the result of a call in the older form",
    "reasoning_effort": "reasoning, which these checkpoints have not learnt",
    "verbosity": "an answer of another length than the model's own",
    "audio": "speech",
    "web_search_options": "a search",
    "media_io_kwargs": "frames of videos, which video_url.num_frames says",
    "cache_salt": "a cache of its own, which the API key decides",
    "request_id": "a name for the request, which no client may choose",
    "guided_json": "a structure, by the name that older releases of vLLM had",
    "guided_choice": "the same",
    "truncate_prompt_tokens": "another prompt than the one that it sends",
    "provider": "a choice among providers",
    "options": "options of another server, a context length among them",
    "messages": "an answer to nothing",
    "messages[0].content": "an answer to a user who says nothing; a text that should be a list of parts",
    "messages[0].content[0]": "a part of another kind: a file, audio, or one that does not say what it is",
    "messages[0].content[0].uuid": "a cache key of its own",
    "messages[0].content[0].image_url": "a URL in the place of the object that holds it",
    "messages[0].content[0].image_url.detail": "the picture in its own resolution",
    "messages[0]": "a picture that the system shows, where the checkpoints saw only the user's",
    "model": "another model",
}


def as_sent(request: dict[str, Any], model: str) -> dict[str, Any]:
    """The body of a client, with a picture in the place of the cut one and the name of the model that is served."""
    text = json.dumps(request["body"]).replace(PICTURE, scene_parts.image_url(1)).replace(MODEL, model)
    body: dict[str, Any] = json.loads(text)
    return body


async def test_completions_and_texts_to_tokenise_are_answered() -> None:
    others = [request for request in RECORDED if "path" in request]
    engine = FakeEngine()
    async with serving(engine) as client:
        for request in others:
            answer = await client.post(request["path"], json=as_sent(request, engine.facts.name))
            assert answer.status_code == 200, request
    assert {request["path"] for request in others} == {"/v1/completions", "/tokenize"}


async def test_what_clients_send_with_tools_is_answered_where_the_definitions_are_written_too() -> None:
    engine = FakeEngine(max_model_len=32_768)
    counts = []
    async with serving(engine, auto_tools="write") as client:
        for request in (request for request in REQUESTS if request["body"].get("tools")):
            answer = await client.post(CHAT, json=as_sent(request, engine.facts.name))
            assert answer.status_code == 200, answer.text
            counts.append(len(engine.asked[-1][2].get("tools", ())))
    assert (max(counts), counts.count(0)) == (36, 4)


async def test_what_clients_send_is_answered_or_refused_for_a_known_reason() -> None:
    engine = FakeEngine()
    answered, refused = 0, set()
    async with serving(engine) as client:
        for request in REQUESTS:
            body = as_sent(request, engine.facts.name)
            answer, plan = [await client.post(path, json=body) for path in (CHAT, PLAN)]
            assert answer.status_code == plan.status_code
            if answer.status_code == 200:
                answered += 1
                continue
            error = answer.json()["error"]
            assert error == plan.json()["error"]
            assert answer.status_code == (404 if error["param"] == "model" else 400), error
            refused.add(error["param"])
    assert refused == REASONS.keys()
    assert answered == 80
