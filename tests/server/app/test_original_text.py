"""Texts and options around the pictures of a checkpoint in the authors' format."""

import base64
from typing import Any

import pytest

from tests.support.app_client import CHAT, body, serving
from tests.support.original.fake_engine import DPO, FOLDER, IMAGE_TOKEN, engine

pytestmark = pytest.mark.anyio


def image(**options: Any) -> dict[str, Any]:
    url = "data:image/png;base64," + base64.b64encode((FOLDER / "land.png").read_bytes()).decode()
    return {"type": "image_url", "image_url": {"url": url, **options}}


async def test_high_detail_without_any_resolution_is_one_view_whose_newline_may_be_said() -> None:
    fake = engine(DPO)
    async with serving(fake) as client:
        answer = await client.post(CHAT, json=body(image(detail="high", newline="no_token")))
    assert answer.status_code == 200, answer.text


async def test_the_placeholder_behind_the_vocabulary_is_spelled_and_a_conversation_keeps_the_context() -> None:
    async with serving(engine()) as client:
        asked = body(image()) | {"return_token_strs": True}
        tokenized = (await client.post("/tokenize", json=asked)).json()
        assert tokenized["token_strs"].count("<image>") == tokenized["tokens"].count(IMAGE_TOKEN) > 1
        spelled = (await client.post("/detokenize", json={"tokens": tokenized["tokens"]})).json()["prompt"]
        assert spelled.count("<image>") == tokenized["tokens"].count(IMAGE_TOKEN)
        refused = await client.post("/v1/completions", json={"prompt": tokenized["tokens"]})
        assert "stands for a visual" in refused.json()["error"]["message"]
        long = await client.post("/tokenize", json=body(*[image(detail="high") for _ in range(40)]))
        assert long.json()["error"]["code"] == "context_length_exceeded"


async def test_a_stated_size_is_held_against_the_file_however_the_image_is_shown() -> None:
    fake = engine()
    async with serving(fake) as client:
        for options in ({}, {"detail": "low"}, {"resizing": "pad"}):
            answer = await client.post(CHAT, json=body(image(width=200, height=151, **options)))
            assert answer.status_code == 400
            assert "200x150 and not the 200x151 pixels that" in answer.json()["error"]["message"]
        assert not fake.asked
        answer = await client.post(CHAT, json=body(image(width=200, height=150), image(width=200, height=150)))
        assert answer.status_code == 200
