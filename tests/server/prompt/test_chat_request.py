"""A chat request is parsed, or refused by the name of the field at fault."""

import tracemalloc
from typing import Any

import pytest

from llava_interleave_serve.model_executor.visual import Pooling
from llava_interleave_serve.server.errors import RequestError
from llava_interleave_serve.server.prompt import chat_request
from llava_interleave_serve.server.prompt.prompt_writer import PromptWriter
from tests.support.fakes.engine import FakeEngine

URL = "data:,"


def request(*parts: dict[str, Any], **fields: Any) -> dict[str, Any]:
    return {"messages": [{"role": "user", "content": list(parts)}], **fields}


def part(kind: str, **options: Any) -> dict[str, Any]:
    return {"type": kind, kind: options}


HERE = "messages[0].content[0]"
REFUSED: list[tuple[Any, str | None]] = [
    (request(part("image_url", url=URL, zoom=1)), f"{HERE}.image_url.zoom"),
    (request(part("image_url", url=5)), f"{HERE}.image_url.url"),
    (request(part("image_url", url="")), f"{HERE}.image_url.url"),
    (request(part("image_url", url=URL, detail="original")), f"{HERE}.image_url.detail"),
    (request(part("image_url", url=None)), f"{HERE}.image_url.url"),
    (request({"type": "refusal", "refusal": "no"}), "messages[0]"),
    ({"messages": [{"role": "user", "content": None}]}, "messages[0].content"),
    ({"messages": [{"role": "user"}]}, "messages[0].content"),
    (request(part("image_url", url=URL, detail="low", pooling="max")), f"{HERE}.image_url"),
    (request(part("image_url", url=URL, pool_stride=2)), f"{HERE}.image_url"),
    (request(part("image_url", url=URL, pooling="max", pool_stride=5)), f"{HERE}.image_url.pool_stride"),
    (request(part("image_url", url=URL, pooling="mean")), f"{HERE}.image_url.pooling"),
    (request({"type": "image_url"}), f"{HERE}.image_url"),
    (request({"type": "image_url", "image_url": {"url": URL}, "uuid": "x"}), f"{HERE}.uuid"),
    (request({"type": "input_audio"}), HERE),
    (request(part("video_url", url=URL, num_frames=0)), f"{HERE}.video_url.num_frames"),
    (request(part("video_url", url=URL, num_frames=2.5)), f"{HERE}.video_url.num_frames"),
    (request(part("video_url", url=URL, num_frames=-1)), f"{HERE}.video_url.num_frames"),
    (request(part("video_url", url=URL, fps=float("nan"))), f"{HERE}.video_url.fps"),
    (request(part("video_url", url=URL, fps=0)), f"{HERE}.video_url.fps"),
    (request(part("video_url", url=URL, start=-1)), f"{HERE}.video_url.start"),
    (request(part("video_url", url=URL, fps=1, num_frames=3)), f"{HERE}.video_url"),
    (request(part("video_url", url=URL, start=2, end=2)), f"{HERE}.video_url"),
    (request(part("video_frames", frames=[])), f"{HERE}.video_frames.frames"),
    (request(part("video_frames", frames=[{"url": URL}, {"uri": URL}])), f"{HERE}.video_frames.frames[1].url"),
    (request(part("multi_view", views=[])), f"{HERE}.multi_view.views"),
    (request(part("multi_view", views=[{"url": URL, "name": ""}])), f"{HERE}.multi_view.views[0].name"),
    ({"messages": [{"role": "system", "content": [part("image_url", url=URL)]}]}, "messages[0]"),
    ({"messages": [{"role": "user", "content": 5}]}, "messages[0].content"),
    ({"messages": [{"role": "user", "content": "x", "nickname": "Ann"}]}, "messages[0].nickname"),
    ({"messages": [{"role": "function", "name": "f", "content": "x"}]}, "messages[0].role"),
    ({"messages": []}, "messages"),
    ({}, "messages"),
    ([], None),
    (request(max_visual_tokens=0), "max_visual_tokens"),
    (request(max_visual_tokens="many"), "max_visual_tokens"),
    (request(model=5), "model"),
    (request(max_tokens=0), "max_tokens"),
    (request(max_completion_tokens=10**30), "max_completion_tokens"),
    (request(prompt_logprobs=-1), "prompt_logprobs"),
    (request(prompt_logprobs=0, stream=True), "prompt_logprobs"),
    (request(stream=True, stream_options={"include_usge": True}), "stream_options.include_usge"),
    (request(stream=True, stream_options={"include_usage": "no"}), "stream_options.include_usage"),
    (request(stream=True, stream_options={"include_usage": 1}), "stream_options.include_usage"),
    (request(stream=True, stream_options={"include_obfuscation": True}), "stream_options.include_obfuscation"),
    (request(stream=True, stream_options={"include_obfuscation": 0}), "stream_options.include_obfuscation"),
    (request(stream_options=True), "stream_options"),
    *(
        (request(**{name: value}), name)
        for name, value in {
            "chat_template": "x", "chat_template_kwargs": {"a": 1}, "mm_processor_kwargs": {"a": 1},
            "media_io_kwargs": {"a": 1}, "cache_salt": "x", "request_id": "x", "session_id": "x", "priority": 1,
            "tool_choice": "any", "echo": True, "add_generation_prompt": False, "documents": [{}],
            "parallel_tools": [], "best_of": True, "functions": [{}], "function_call": "auto", "verbosity": "low",
            "service_tier": "flex", "modalities": ["text", "audio"], "audio": {}, "web_search_options": {},
            "reasoning_effort": "low", "thinking": {"type": "enabled"}, "enable_thinking": True, "guided_json": {},
            "reasoning": {"effort": "high"},
            "continue_final_message": True, "truncate_prompt_tokens": 1, "kv_transfer_params": {}, "prompt_embeds": "x",
            "unheard_of": 1,
        }.items()
    ),
]  # fmt: skip


@pytest.mark.parametrize(("body", "param"), REFUSED, ids=lambda value: str(value)[-60:])
def test_a_field_that_is_not_served_is_refused_by_name(body: Any, param: str | None) -> None:
    with pytest.raises(RequestError) as refusal:
        chat_request.parse(body)
    assert refusal.value.param == param
    assert refusal.value.status == 400


@pytest.mark.parametrize(
    ("options", "pooling"),
    [
        ({}, None),
        ({"detail": "auto"}, Pooling()),
        ({"detail": "high"}, Pooling()),
        ({"detail": "low"}, None),
        ({"pooling": "none"}, Pooling()),
        ({"pooling": "average"}, Pooling("average", 2)),
        ({"pooling": "max", "pool_stride": 4}, Pooling("max", 4)),
        ({"pooling": "bilinear", "pool_stride": 3, "detail": "auto"}, Pooling("bilinear", 3)),
    ],
)
def test_the_options_of_an_image_decide_its_pooling(options: dict[str, Any], pooling: Pooling | None) -> None:
    ((_, parsed),) = chat_request.parse(request(part("image_url", url=URL, **options))).media_parts()
    assert isinstance(parsed, chat_request.ImagePart)
    assert parsed.image_url.pinned_pooling == pooling


def test_a_field_that_is_null_counts_as_absent_at_every_level() -> None:
    image = part("image_url", url=URL, detail=None, format=None) | {"text": None, "uuid": None}
    views = part("multi_view", views=[{"url": URL, "name": None, "x": None}], pooling=None)
    frames = part("video_frames", frames=[{"url": URL, "x": None}])
    video = part("video_url", url=URL, fps=None, nframes=None)
    text = {"type": "text", "text": "x", "image_url": None}
    user = {"role": "user", "content": [image, views, frames, video, text], "name": None, "tool_calls": None}
    system = {"role": "system", "content": "x", "tool_calls": None, "unheard_of": None}
    options = {"include_usage": True, "continuous_usage_stats": None, "x": None}
    body = {"messages": [system, user], "stop": None, "tools": None, "unheard_of": None, "seed": 3}
    parsed = chat_request.parse(body | {"stream": True, "stream_options": options})
    assert parsed.sampling == {"seed": 3, "stream": True, "stream_options": {"include_usage": True}}
    assert len(list(parsed.media_parts())) == 4


def test_null_inside_a_schema_stays() -> None:
    schema = {"type": "json_schema", "json_schema": {"name": "x", "schema": {"const": None, "default": None}}}
    assert chat_request.parse(request(response_format=schema)).sampling == {"response_format": schema}


@pytest.mark.parametrize(
    "message",
    [
        {"content": None}, {}, {"content": []}, {"content": ""}, {"content": [{"type": "refusal", "refusal": "no"}]},
        {"content": None, "refusal": "no"}, {"content": None, "tool_calls": [], "function_call": None, "audio": None},
    ],
    ids=str,
)  # fmt: skip
def test_an_assistant_without_content_said_nothing(message: dict[str, Any]) -> None:
    facts = FakeEngine().facts
    writer = PromptWriter(facts.tokenizer, facts.image_token)
    user = {"role": "user", "content": "x"}
    bodies = [{"messages": [user, {"role": "assistant"} | came, user]} for came in (message, {"content": ""})]
    asked, empty = (writer.write(chat_request.parse(body).messages, {}) for body in bodies)
    assert asked == empty


@pytest.mark.parametrize(
    ("role", "field", "value"),
    [
        ("user", "name", "bob"), ("system", "name", "A"), ("developer", "name", "A"), ("assistant", "name", "n"),
        ("user", "cache_control", {"type": "ephemeral"}), ("assistant", "reasoning_content", "b"),
        ("assistant", "reasoning", "b"), ("assistant", "provider_specific_fields", {"reasoning": None}),
        ("assistant", "annotations", [{"type": "url_citation"}]), ("assistant", "refusal", "no"),
    ],
)  # fmt: skip
def test_a_field_of_a_message_that_changes_nothing_is_accepted(role: str, field: str, value: Any) -> None:
    message = {"role": role, "content": "x"}
    with_field, without = (
        chat_request.parse({"messages": [came]}).messages for came in (message | {field: value}, message)
    )
    assert with_field == without


def test_a_part_may_have_cache_control() -> None:
    parts = ({"type": "text", "text": "x"}, part("image_url", url=URL), part("video_url", url=URL))
    marked = [came | {"cache_control": {"type": "ephemeral"}} for came in parts]
    assert chat_request.parse(request(*marked)).messages == chat_request.parse(request(*parts)).messages


def test_what_tokens_vllm_gets_is_what_was_read() -> None:
    assert chat_request.parse(request(max_tokens="40")).sampling == {"max_tokens": 40}
    both = chat_request.parse(request(max_tokens=40, max_completion_tokens=7))
    assert both.most_tokens == 7
    assert chat_request.parse(request()).most_tokens is None


def test_an_answer_is_accepted_as_an_assistant_message() -> None:
    came: dict[str, Any] = {
        "role": "assistant",
        "content": "A red star.",
        "refusal": None,
        "tool_calls": [],
        "reasoning": None,
    }
    parsed = chat_request.parse({"messages": [{"role": "user", "content": "x"}, came]})
    (part,) = parsed.messages[1].content
    assert isinstance(part, chat_request.TextPart)
    assert part.text == "A red star."


def test_fields_that_describe_only_the_client_are_accepted_and_not_passed_on() -> None:
    assert chat_request.parse(request(user="me", metadata={"a": "b"}, temperature=0)).sampling == {"temperature": 0}


def test_the_first_unknown_field_is_named_however_many_there_are() -> None:
    others = {f"k{index}": 0 for index in range(100)}
    empty: dict[str, object] = {"refusal": None, "tool_calls": []}
    for body, param in (
        (request({"type": "text", "text": "x"} | others), f"{HERE}.k0"),
        (request(part("image_url", url=URL, **others)), f"{HERE}.image_url.k0"),
        (request(part("video_frames", frames=[{"url": URL} | others])), f"{HERE}.video_frames.frames[0].k0"),
        ({"messages": [{"role": "user", "content": "x"} | others]}, "messages[0].k0"),
        ({"messages": [{"role": "assistant", "content": "x"} | empty | others]}, "messages[0].k0"),
    ):
        with pytest.raises(RequestError, match="there is no such option") as refusal:
            chat_request.parse(body)
        assert refusal.value.param == param


@pytest.mark.parametrize(
    "body",
    [
        {"messages": [{}] * 100_000},
        request(*[{}] * 100_000),
        request(part("video_frames", frames=[{}] * 100_000)),
        request(part("multi_view", views=[{}] * 100_000)),
        request({"type": "text", "text": "x"} | {f"k{index}": 0 for index in range(20_000)}),
        {"messages": [{"role": "user"} | {f"k{index}": 0 for index in range(20_000)}]},
        request(part("image_url", url=URL, **{f"k{index}": 0 for index in range(20_000)})),
        request(stop=[1] * 100_000),
        request(response_format={"enum": [1] * 100_000}),
        request(stream_options={f"k{index}": 0 for index in range(20_000)}),
    ],
    ids=["messages", "parts", "frames", "views", "options of a part", "fields of a message", "options of an image",
         "stop", "structure", "stream options"],
)  # fmt: skip
def test_a_refusal_takes_no_memory_for_each_fault(body: Any) -> None:
    tracemalloc.start()
    try:
        with pytest.raises(RequestError):
            chat_request.parse(body)
        assert tracemalloc.get_traced_memory()[1] < 100_000  # bytes: one for each item
    finally:
        tracemalloc.stop()


def test_every_field_that_is_passed_on_is_a_field_of_vllm() -> None:
    from llava_interleave_serve.server.engine import vllm_compat

    assert set(vllm_compat.ChatCompletionRequest.model_fields) >= chat_request.ChatRequest.sampling_fields


def test_media_parts_are_listed_in_order_with_their_places() -> None:
    parts = [part("image_url", url=URL), {"type": "text", "text": "x"}, part("video_url", url=URL)]
    parsed = chat_request.parse({"messages": [{"role": "user", "content": "x"}, {"role": "user", "content": parts}]})
    places = [place for place, _ in parsed.media_parts()]
    assert places == ["messages[1].content[0].image_url", "messages[1].content[2].video_url"]
