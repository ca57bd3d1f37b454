"""Requests in the dialects of servers."""

import json
from typing import Any

import pytest

from llava_interleave_serve.benchmarks.load.client.request_format import Dialect
from llava_interleave_serve.benchmarks.load.options import Options
from llava_interleave_serve.benchmarks.load.requests.arrivals import arrival_times
from llava_interleave_serve.benchmarks.load.requests.images import Encoded, Noise, data_url
from llava_interleave_serve.benchmarks.load.requests.messages import (
    Frames,
    Image,
    Message,
    Part,
    Text,
    Turn,
    Video,
    Views,
)
from llava_interleave_serve.benchmarks.load.requests.schedule import ScheduledRequest, build_schedule
from llava_interleave_serve.benchmarks.load.requests.videos import GeneratedClip
from llava_interleave_serve.benchmarks.load.workload import schema
from llava_interleave_serve.benchmarks.load.workload.schema import RequestClass
from llava_interleave_serve.server.prompt import chat_request

SHOWN = tuple(Encoded(Noise(seed, 32, 32), "png") for seed in range(3))
CLIP = GeneratedClip(tuple(Noise(9, 32, 32, at) for at in range(6)), 8.0)
POOLED = {"pooling": "average"}


def ask(*parts: Part, kind: str = "images", **fields: Any) -> ScheduledRequest:
    messages = (Message("user", parts), Message("assistant", (Text("So."),)), Message("user", (Text("And?"),)))
    return ScheduledRequest(0, RequestClass(name="a", kind=kind, **fields), 0, 1, 0.0, Turn(messages, 9))


def body(dialect: str, one: ScheduledRequest) -> tuple[dict[str, Any], Dialect]:
    writer = Dialect("the model", dialect)
    return json.loads(writer.body(one)), writer


def test_our_parts_are_sent_as_docs_http_has_them() -> None:
    one = ask(Image(SHOWN[0]), Video(CLIP, 4, POOLED), Frames(SHOWN), Views(SHOWN[:2], ("L", "R"), POOLED), Text("Hm?"))
    sent, writer = body("ours", one)
    content = sent["messages"][0]["content"]
    assert [part["type"] for part in content] == ["image_url", "video_url", "video_frames", "multi_view", "text"]
    assert content[1]["video_url"].items() >= {"num_frames": 4, "pooling": "average"}.items()
    assert content[3]["multi_view"]["views"][1] == {"url": data_url(SHOWN[1]), "name": "R"}
    assert not writer.changed
    assert writer.lacks(one) == set()


def test_answers_are_asked_for_greedily_as_streams() -> None:
    sent, _ = body("ours", ask(Text("Hm?"), ignore_eos=True))
    assert {key: sent[key] for key in sent if key != "messages"} == {
        "model": "the model",
        "max_tokens": 9,
        "temperature": 0,
        "stream": True,
        "stream_options": {"include_usage": True},
        "ignore_eos": True,
    }
    assert sent["messages"][1] == {"role": "assistant", "content": "So."}


def test_another_server_gets_images_and_text_in_the_same_order() -> None:
    one = ask(Text("See"), Frames(SHOWN), Views(SHOWN[:2], ("L", "R")), Image(SHOWN[2]), Text("Hm?"))
    sent, writer = body("openai", one)
    content = sent["messages"][0]["content"]
    assert [part.get("text") or part["image_url"]["url"] for part in content] == [
        "See", *map(data_url, SHOWN), "L: ", data_url(SHOWN[0]), "R: ", data_url(SHOWN[1]), data_url(SHOWN[2]), "Hm?",
    ]  # fmt: skip
    assert set(writer.changed) == {"frames sent as images", "camera views sent as images, names as text between them"}


def test_another_server_gets_a_videos_frames_and_no_pooling() -> None:
    one = ask(Video(CLIP, 4, POOLED), Text("Hm?"), kind="video")
    sent, writer = body("openai", one)
    assert [part["type"] for part in sent["messages"][0]["content"]] == ["image_url"] * 4 + ["text"]
    assert set(writer.changed) == {"video files sent as frames, each an image", "pooling left out"}
    assert writer.lacks(one) == {"video", "pooling"}


def test_nothing_is_lacking_for_images_and_text() -> None:
    assert Dialect("m", "openai").lacks(ask(Image(SHOWN[0]), Text("Hm?"))) == set()


@pytest.mark.parametrize("preset", schema.preset_names())
def test_our_server_takes_every_request_of_every_preset(preset: str) -> None:
    work = schema.load(preset)
    small = Options(url="", workload=preset, arrivals="constant", rate=1, requests=2 * len(work.classes))
    writer = Dialect("m", "ours")
    for one in build_schedule(work, arrival_times(small, 0), 0):
        chat_request.parse(json.loads(writer.body(one)))
