"""The whole server is started as its user starts it, and asked with the `openai` client."""

import asyncio
import base64
import json
import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import openai
import pytest

from tests.support import demo_server, scene_parts
from tests.support.checkpoints import PATCHES, PATCHES_BY_2
from tests.support.demo_server import RunningServer
from tests.support.fleet import promql

pytestmark = pytest.mark.engine
GREETING = {"type": "text", "text": "Hello!"}
FAMILIES = ("describe", "which", "count", "change", "first", "motion", "camera")


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    with demo_server.start(tmp_path_factory.mktemp("server")) as server:
        yield server


def ask(server: RunningServer, content: Any, **options: Any) -> Any:
    options = {"temperature": 0.0, "max_tokens": 24} | options
    messages: Any = (
        content if isinstance(content, list) and "role" in content[0] else [{"role": "user", "content": content}]
    )
    return server.client.chat.completions.create(model=server.model, messages=messages, **options)


def answer(server: RunningServer, content: Any, **options: Any) -> str:
    text: str = ask(server, content, **options).choices[0].message.content
    return text


def test_the_series_that_the_alerts_and_the_dashboard_read_are_exported(server: RunningServer) -> None:
    exported = promql.exported(httpx.get(f"{server.url}/metrics").text)
    for place, expression in promql.expressions().items():
        assert {name for name, _ in promql.selected(expression)} <= exported, place


class TestAnswers:
    @pytest.mark.parametrize("family", FAMILIES)
    def test_the_demo_answers_most_questions_of_every_family(self, server: RunningServer, family: str) -> None:
        questions = [scene_parts.question(family, seed) for seed in range(20)]
        right = sum(answer(server, content) == expected for content, expected in questions)
        assert right >= 17, f"{right} of {len(questions)}"

    def test_the_media_usage_of_an_answer_lists_every_part(self, server: RunningServer) -> None:
        video, _ = scene_parts.question("motion", 1)
        content = [
            scene_parts.image_part(1),
            scene_parts.text_part("and"),
            *video,
            scene_parts.image_part(2, pooling="bilinear"),
        ]
        usage = ask(server, content).model_extra["media_usage"]
        assert [part["param"].rsplit(".", 1)[0] for part in usage["parts"]] == [
            "messages[0].content[0]", "messages[0].content[2]", "messages[0].content[4]"
        ]  # fmt: skip
        assert [part["tokens"] for part in usage["parts"]] == [PATCHES, 8 * PATCHES, PATCHES_BY_2]
        assert usage["parts"][1]["sampled"]["frames"] == [0, 3, 6, 9, 13, 16, 19, 23]
        assert usage["visuals"] == 10

    def test_a_stream_has_the_text_of_the_whole_answer(self, server: RunningServer) -> None:
        content, _ = scene_parts.question("describe", 3)
        whole = ask(server, content)
        chunks = list(ask(server, content, stream=True, stream_options={"include_usage": True}))
        streamed = "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices)
        assert streamed == whole.choices[0].message.content
        assert chunks[-1].usage == whole.usage or chunks[-1].usage.total_tokens == whole.usage.total_tokens
        assert chunks[0].model_extra["media_usage"] == whole.model_extra["media_usage"]

    def test_images_of_earlier_turns_decide_later_answers(self, server: RunningServer) -> None:
        def second_answer(number: int) -> Any:
            messages: list[dict[str, Any]] = [{"role": "user", "content": [scene_parts.image_part(number), GREETING]}]
            reply = ask(server, messages).choices[0].message
            messages += [reply.model_dump(), {"role": "user", "content": "What is in the image?"}]
            return ask(server, messages)

        answers = [second_answer(number) for number in range(4)]
        assert len({answer.choices[0].message.content for answer in answers}) > 1
        assert answers[0].model_extra["media_usage"]["parts"][0]["param"] == "messages[0].content[0].image_url"

    def test_frames_sampled_by_the_client_get_the_answer_of_the_same_images(self, server: RunningServer) -> None:
        urls = [scene_parts.image_url(number) for number in range(4)]
        question = scene_parts.text_part("What does image 3 show?")
        frames = {"type": "video_frames", "video_frames": {"frames": [{"url": url} for url in urls]}}
        images = [{"type": "image_url", "image_url": {"url": url}} for url in urls]
        assert answer(server, [frames, question]) == answer(server, [*images, question])


class TestOpenAIOptions:
    def test_the_number_of_choices_is_n(self, server: RunningServer) -> None:
        assert len(ask(server, [scene_parts.image_part(1)], n=3, temperature=1.0).choices) == 3

    def test_a_stop_word_ends_the_answer_before_the_word(self, server: RunningServer) -> None:
        content, _ = scene_parts.question("describe", 7)
        stopped = ask(server, content, stop=["."]).choices[0]
        assert stopped.finish_reason == "stop"
        assert "." not in stopped.message.content
        assert answer(server, content).startswith(stopped.message.content)

    def test_a_seed_repeats_a_sampled_answer(self, server: RunningServer) -> None:
        options = {"temperature": 2.0, "seed": 11, "max_tokens": 20}
        answers = {answer(server, [scene_parts.image_part(2)], **options) for _ in range(3)}
        assert len(answers) == 1

    def test_every_token_has_logprobs(self, server: RunningServer) -> None:
        choice = ask(server, [scene_parts.image_part(3)], logprobs=True, top_logprobs=3).choices[0]
        assert choice.message.content.startswith("".join(token.token for token in choice.logprobs.content[:3]))
        assert all(len(token.top_logprobs) == 3 for token in choice.logprobs.content)
        assert all(token.logprob <= 0 for token in choice.logprobs.content)

    def test_an_answer_follows_its_json_schema(self, server: RunningServer) -> None:
        schema = {
            "type": "object",
            "properties": {"colour": {"enum": ["red", "blue"]}, "number": {"type": "integer", "enum": [1, 2]}},
            "required": ["colour", "number"],
            "additionalProperties": False,
        }
        response_format = {"type": "json_schema", "json_schema": {"name": "thing", "schema": schema}}
        thing = json.loads(answer(server, [scene_parts.image_part(4)], response_format=response_format, max_tokens=60))
        assert thing["colour"] in ("red", "blue")
        assert thing["number"] in (1, 2)

    def test_safe_fields_of_vllm_are_honoured(self, server: RunningServer) -> None:
        extra = {"return_token_ids": True, "ignore_eos": True, "min_p": 0.1}
        completion = ask(server, [scene_parts.image_part(5)], extra_body=extra, max_tokens=12)
        assert len(completion.choices[0].model_extra["token_ids"]) == 12

    def test_the_media_of_a_request_keep_its_budget_of_visual_tokens(self, server: RunningServer) -> None:
        video, _ = scene_parts.question("motion", 2)
        video[0]["video_url"].pop("num_frames")
        usage = ask(server, video, extra_body={"max_visual_tokens": 6 * PATCHES + 6}).model_extra["media_usage"]
        assert usage["visual_tokens"] == 6 * PATCHES


class TestConcurrency:
    @pytest.mark.anyio
    async def test_64_mixed_requests_at_once_get_the_answers_of_each_alone(self, server: RunningServer) -> None:
        contents = [scene_parts.question(FAMILIES[index % len(FAMILIES)], 100 + index)[0] for index in range(64)]
        alone = [await self._token_ids(server, content) for content in contents]
        most = 0.0

        async def watch() -> None:
            nonlocal most
            while True:
                most = max(most, await asyncio.to_thread(server.metric, "vllm:num_requests_running"))
                await asyncio.sleep(0.02)

        watching = asyncio.create_task(watch())
        together = await asyncio.gather(*(self._token_ids(server, content) for content in contents))
        watching.cancel()
        assert together == alone
        # The number that run in one step depends on how fast the pictures are decoded: 8 is far above what requests one
        # after the other reach, and far below what the slowest machine tried reaches (21).
        assert most >= 8

    @staticmethod
    async def _token_ids(server: RunningServer, content: Any) -> list[int]:
        completion = await server.async_client.chat.completions.create(
            model="llava-interleave-demo",
            messages=[{"role": "user", "content": content}],
            temperature=0.0,
            max_tokens=24,
            extra_body={"return_token_ids": True, "ignore_eos": True},
        )
        token_ids: list[int] = (completion.choices[0].model_extra or {})["token_ids"]
        return token_ids


def error_of(refusal: pytest.ExceptionInfo[openai.BadRequestError]) -> dict[str, Any]:
    """OpenAI's error object of a refusal."""
    assert isinstance(refusal.value.body, dict)
    return refusal.value.body


def part(kind: str, **options: Any) -> dict[str, Any]:
    return {"type": kind, kind: options}


BAD_PARTS = {
    "unreachable": (part("image_url", url="http://127.0.0.1:9/a.png"), "image_url.url"),
    "not an image": (part("image_url", url="data:image/png;base64,aGVsbG8="), "image_url.url"),
    "an empty video": (part("video_url", url="data:video/mp4;base64,"), "video_url.url"),
    "an unknown option": (part("image_url", url="data:image/png;base64,", zoom=2), "image_url.zoom"),
    "a wrong type": (part("video_url", url=7), "video_url.url"),
    "an unknown part": ({"type": "audio_url", "audio_url": {}}, ""),
    "a bad view": (
        part("multi_view", views=[{"url": scene_parts.image_url(1)}, {"url": "ftp://a/b"}]), "multi_view.views[1].url",
    ),
}  # fmt: skip


class TestBadInput:
    @pytest.mark.parametrize("name", BAD_PARTS)
    def test_a_bad_part_is_named_and_the_next_request_is_served(self, server: RunningServer, name: str) -> None:
        bad, where = BAD_PARTS[name]
        with pytest.raises(openai.BadRequestError) as refusal:
            ask(server, [scene_parts.text_part("Look:"), bad])
        assert error_of(refusal)["param"] == ".".join(filter(None, ["messages[0].content[1]", where]))
        assert answer(server, [scene_parts.image_part(1)], max_tokens=4)

    def test_a_truncated_jpeg_is_refused_and_not_shown_in_part(self, server: RunningServer) -> None:
        header, payload = scene_parts.image_url(0, kind="JPEG").split(",")
        cut = base64.b64encode(base64.b64decode(payload)[: len(payload) // 3]).decode()
        with pytest.raises(openai.BadRequestError, match="damaged or incomplete"):
            ask(server, [part("image_url", url=f"{header},{cut}")])

    def test_the_65th_media_part_is_refused_by_name(self, server: RunningServer) -> None:
        with pytest.raises(openai.BadRequestError) as refusal:
            ask(server, [scene_parts.image_part(1)] * 65)
        assert error_of(refusal)["param"] == "messages[0].content[64].image_url"

    def test_a_prompt_that_overflows_the_context_is_refused_with_the_tokens_of_each_part(
        self, server: RunningServer
    ) -> None:
        with pytest.raises(openai.BadRequestError) as refusal:
            ask(server, [part("multi_view", views=[{"url": scene_parts.image_url(1)}] * 97)])
        assert f"messages[0].content[0].multi_view: {97 * PATCHES} (97 x {PATCHES})" in refusal.value.message
        assert error_of(refusal)["code"] == "context_length_exceeded"

    @pytest.mark.parametrize(
        ("options", "param"),
        [
            ({"chat_template": "x"}, "chat_template"),
            ({"mm_processor_kwargs": {"a": 1}}, "mm_processor_kwargs"),
            ({"top_k": "many"}, "top_k"),
            ({"n": 99}, "n"),
        ],
    )
    def test_fields_that_clients_may_not_set_are_refused(
        self, server: RunningServer, options: dict[str, Any], param: str
    ) -> None:
        with pytest.raises(openai.BadRequestError) as refusal:
            ask(server, "Hello!", extra_body=options)
        assert error_of(refusal)["param"] == param

    @pytest.mark.parametrize("options", [{"temperature": -1}, {"top_p": 5}, {"max_tokens": -3}, {"stop": [""]}])
    def test_an_impossible_sampling_parameter_is_a_400(self, server: RunningServer, options: dict[str, Any]) -> None:
        with pytest.raises(openai.BadRequestError):
            ask(server, "Hello!", **options)

    def test_a_refused_stream_is_a_400(self, server: RunningServer) -> None:
        with pytest.raises(openai.BadRequestError):
            ask(server, "Hello!", stream=True, temperature=-1)


class TestEnd:
    def test_sigterm_lets_running_requests_finish(self, tmp_path: Path) -> None:
        with demo_server.start(tmp_path) as server:
            stream = ask(
                server, [scene_parts.image_part(1)], stream=True, max_tokens=600, extra_body={"ignore_eos": True}
            )
            next(iter(stream))
            server.process.send_signal(signal.SIGTERM)
            tokens = sum(1 for chunk in stream if chunk.choices and chunk.choices[0].delta.content is not None)
            assert tokens > 300
            assert server.process.wait(30) == 0
            # What an operator reads: no warnings or progress of the libraries, and no reports of leaks at the end.
            messages = [line.partition(" llava_interleave_serve: ")[2] for line in server.log.read_text().splitlines()]
            assert [message.split()[0] for message in messages] == ["serving", "memory:", "ready:"]
            assert server.url in messages[0]

    def test_the_death_of_the_engine_fails_running_requests_and_ends_the_process(self, tmp_path: Path) -> None:
        with demo_server.start(tmp_path) as server:
            stream = ask(
                server, [scene_parts.image_part(1)], stream=True, max_tokens=3000, extra_body={"ignore_eos": True}
            )
            next(iter(stream))
            os.kill(server.engine, signal.SIGKILL)
            died = time.monotonic()
            with pytest.raises((openai.APIError, httpx.TransportError)):
                list(stream)
            assert time.monotonic() - died < 10
            assert _status(server, "/ready") in (503, None)
            assert server.process.wait(30) == 1


def _status(server: RunningServer, path: str) -> int | None:
    """The status of a route; None if nobody listens any more."""
    try:
        return httpx.get(f"{server.url}{path}").status_code
    except httpx.TransportError:
        return None
