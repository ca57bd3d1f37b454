"""Requests are written as this project's API takes them, and as OpenAI's does."""

import json
from typing import Any

import pytest

from llava_interleave_serve.benchmarks.load.client.request_format import RequestFormat
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
from llava_interleave_serve.benchmarks.load.workload.schema import Kind, RequestClass
from llava_interleave_serve.server.prompt import chat_request

PICTURES = tuple(Encoded(Noise(seed, 32, 32), "png") for seed in range(3))
CLIP = GeneratedClip(tuple(Noise(9, 32, 32, index) for index in range(6)), 8.0)
POOLING = {"pooling": "average"}


def request(*parts: Part, kind: Kind = "images", **fields: Any) -> ScheduledRequest:
    messages = (Message("user", parts), Message("assistant", (Text("So."),)), Message("user", (Text("And?"),)))
    return ScheduledRequest(0, RequestClass(name="a", kind=kind, **fields), 0, 1, 0.0, Turn(messages, 9))


def written(dialect: str, scheduled: ScheduledRequest) -> tuple[dict[str, Any], RequestFormat]:
    request_format = RequestFormat("the model", dialect)
    return json.loads(request_format.body(scheduled)), request_format


def test_parts_for_our_server_are_sent_as_docs_http_describes_them() -> None:
    scheduled = request(
        Image(PICTURES[0]),
        Video(CLIP, 4, POOLING),
        Frames(PICTURES),
        Views(PICTURES[:2], ("L", "R"), POOLING),
        Text("Hm?"),
    )
    sent, request_format = written("ours", scheduled)
    content = sent["messages"][0]["content"]
    assert [part["type"] for part in content] == ["image_url", "video_url", "video_frames", "multi_view", "text"]
    assert content[1]["video_url"].items() >= {"num_frames": 4, "pooling": "average"}.items()
    assert content[3]["multi_view"]["views"][1] == {"url": data_url(PICTURES[1]), "name": "R"}
    assert not request_format.changes
    assert request_format.unsupported(scheduled) == set()


def test_requests_ask_for_greedy_streamed_answers() -> None:
    sent, _ = written("ours", request(Text("Hm?"), ignore_eos=True))
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
    views = Views(PICTURES[:2], ("L", "R"))
    scheduled = request(Text("See"), Frames(PICTURES), views, Image(PICTURES[2]), Text("Hm?"))
    sent, request_format = written("openai", scheduled)
    content, urls = sent["messages"][0]["content"], [data_url(picture) for picture in PICTURES]
    assert [part.get("text") or part["image_url"]["url"] for part in content] == [
        "See", *urls, "L: ", urls[0], "R: ", urls[1], urls[2], "Hm?",
    ]  # fmt: skip
    assert set(request_format.changes) == {
        "frames sent as images",
        "camera views sent as images, names as text between them",
    }


def test_another_server_gets_a_videos_frames_and_no_pooling() -> None:
    scheduled = request(Video(CLIP, 4, POOLING), Text("Hm?"), kind="video")
    sent, request_format = written("openai", scheduled)
    assert [part["type"] for part in sent["messages"][0]["content"]] == ["image_url"] * 4 + ["text"]
    assert set(request_format.changes) == {"video files sent as frames, each an image", "pooling left out"}
    assert request_format.unsupported(scheduled) == {"video", "pooling"}


def test_every_server_supports_images_and_text() -> None:
    assert RequestFormat("m", "openai").unsupported(request(Image(PICTURES[0]), Text("Hm?"))) == set()


@pytest.mark.parametrize("preset", schema.preset_names())
def test_our_server_takes_every_request_of_every_preset(preset: str) -> None:
    work = schema.load(preset)
    small = Options(url="", workload=preset, arrivals="constant", rate=1, requests=2 * len(work.classes))
    request_format = RequestFormat("m", "ours")
    for scheduled in build_schedule(work, arrival_times(small, 0), 0):
        chat_request.parse(json.loads(request_format.body(scheduled)))
