"""Fields of a request that must not reach the engine, the templates, the processor or a cache key.

And requests generated from the server's own OpenAPI document, by schemathesis. `EXAMPLES` in the environment is the
number of these per operation (20).
"""

import base64
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import jsonschema
import psutil
import pytest
from PIL import Image

from llava_interleave_serve.server.errors import EngineRefusal
from llava_interleave_serve.server.limits import Limits
from tests.support import attacked_server, scene_parts
from tests.support.app_client import body, serving
from tests.support.attacked_server import CHAT, PLAN, AttackedServer, assert_refused, chat_body, data_url, media_part
from tests.support.image_files import encode
from tests.support.original.fake_engine import engine

IMAGE = "messages[0].content[0].image_url.url"
EXAMPLES = os.environ.get("EXAMPLES", "20")
# A request that the schema allows may still be refused: its host is private, its picture damaged, a limit exceeded.
UNFIT_CHECK = "positive_data_acceptance"
NOT_FINITE = ("NaN", "Infinity", "-Infinity", "1e999", "-1e999")
LONG = 60_000  # pixels along a side of a strip


def strip(across: int, down: int, **options: object) -> dict[str, object]:
    file = base64.b64encode(encode(Image.new("RGB", (across, down)))).decode()
    return {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{file}", **options}}


class TestSamplingNumbers:
    @pytest.mark.parametrize("value", NOT_FINITE)
    @pytest.mark.parametrize("field", ["temperature", "top_p", "repetition_penalty", "frequency_penalty", "min_p"])
    def test_nan_and_infinity_do_not_reach_the_engine(self, target: AttackedServer, field: str, value: str) -> None:
        before = len(target.engine.asked)
        body = json.dumps(chat_body(scene_parts.text_part("x"), **{field: "VALUE"})).replace('"VALUE"', value)
        response = target.client.post(CHAT, content=body, headers={"Content-Type": "application/json"})
        assert_refused(response, param=field if "999" in value else None)
        assert len(target.engine.asked) == before

    def test_an_infinite_number_inside_a_field_is_refused(self, target: AttackedServer) -> None:
        body = json.dumps(chat_body(scene_parts.text_part("x"), logit_bias={"5": "VALUE"})).replace('"VALUE"', "1e999")
        assert_refused(
            target.client.post(CHAT, content=body, headers={"Content-Type": "application/json"}), param="logit_bias"
        )

    @pytest.mark.parametrize("n", [17, 10**6, 10**30, "17", "1000000", 17.0, 1e6, True, 0, -1, 1.5, [], {}])
    @pytest.mark.parametrize("path", [CHAT, PLAN])
    def test_no_spelling_of_n_goes_around_its_limit(self, target: AttackedServer, path: str, n: Any) -> None:
        assert_refused(target.client.post(path, json=chat_body(scene_parts.text_part("x"), n=n)), param="n")


class TestFieldsThatAreLookedThrough:
    @pytest.mark.parametrize(
        ("field", "value"),
        [
            ("repetition_detection", {"max_pattern_size": 1e9, "min_pattern_size": 3600, "min_count": 2}),
            ("repetition_detection", {"max_pattern_size": 64, "min_count": 10**6}),
            ("stop_token_ids", [5] * 399_000), ("stop_token_ids", list(range(101))), ("stop", ["x"] * 33),
            ("allowed_token_ids", list(range(1025))), ("logit_bias", {str(token): 1 for token in range(1025)}),
            ("logprob_token_ids", list(range(129))),
        ],
        ids=lambda value: str(value)[:40],
    )  # fmt: skip
    @pytest.mark.parametrize("path", [CHAT, PLAN])
    def test_no_field_that_is_looked_through_for_each_token_is_long(
        self, target: AttackedServer, path: str, field: str, value: Any
    ) -> None:
        before = len(target.engine.asked)
        assert_refused(
            target.client.post(path, json=chat_body(scene_parts.text_part("x"), **{field: value})), param=field
        )
        assert len(target.engine.asked) == before


class TestTemplatesAndProcessorArguments:
    @pytest.mark.parametrize(
        ("field", "value"),
        [
            ("chat_template", "{{ ''.__class__.__mro__ }}"), ("chat_template_kwargs", {"a": 1}),
            ("mm_processor_kwargs", {"size": {"height": 10**6}}), ("media_io_kwargs", {"video": {"num_frames": 10**9}}),
            ("add_generation_prompt", False), ("continue_final_message", True), ("documents", [{"text": "x"}]),
            ("truncate_prompt_tokens", -1), ("add_special_tokens", True), ("echo", True), ("priority", -(10**9)),
            ("logits_processors", ["os.system"]), ("vllm_xargs", {"a": 1}), ("kv_transfer_params", {"a": 1}),
            ("functions", [{}]), ("guided_json", {}), ("guided_regex", "a"), ("reasoning_effort", "high"),
            ("thinking_token_budget", 1), ("mm_encoder_kwargs", {}), ("__class__", "x"), ("__init__", {}),
            ("audio", {"voice": "x"}), ("modalities", ["audio"]), ("x" * 10_000, 1),
        ],
    )  # fmt: skip
    def test_templates_and_processor_arguments_are_refused_by_name(
        self, target: AttackedServer, field: str, value: Any
    ) -> None:
        for path in (CHAT, PLAN):
            response = target.client.post(path, json=chat_body(scene_parts.text_part("x"), **{field: value}))
            assert_refused(response, param=field[:80])

    @pytest.mark.parametrize("option", ["mm_processor_kwargs", "processor", "size", "resize", "trust_remote_code"])
    def test_a_media_part_takes_no_processor_arguments(self, target: AttackedServer, option: str) -> None:
        response = target.chat(media_part("image_url", scene_parts.image_url(1), **{option: {"a": 1}}))
        assert_refused(response, param=f"messages[0].content[0].image_url.{option}")


class TestClientIdentifiers:
    @pytest.mark.parametrize("value", ["x", "x" * 60_000, "../../etc/passwd", "é", "a\tb", "{{7*7}}", "' OR 1=1"])
    @pytest.mark.parametrize("header", ["X-Request-Id", "X-Session-Id", "X-Data-Parallel-Rank", "traceparent"])
    def test_an_identifier_in_a_header_is_no_cache_key(self, target: AttackedServer, header: str, value: str) -> None:
        responses = [
            target.client.post(
                CHAT, json=chat_body(scene_parts.image_part(number)), headers={header.encode(): value.encode()}
            )
            for number in (1, 2)
        ]
        assert [response.status_code for response in responses] == [200, 200]
        first, second = (visuals[0].views for _, visuals, _ in target.engine.asked[-2:])
        assert (first != second).any()
        assert not any(value in sent for response in responses for sent in response.headers.values() if len(value) > 1)

    @pytest.mark.parametrize("field", ["request_id", "cache_salt", "session_id", "uuid", "mm_uuids"])
    def test_an_identifier_in_a_field_is_refused(self, target: AttackedServer, field: str) -> None:
        assert_refused(target.chat(scene_parts.image_part(1), **{field: "x" * 1000}), param=field)

    @pytest.mark.parametrize("field", ["user", "prompt_cache_key", "safety_identifier", "metadata"])
    def test_an_identifier_that_is_a_hint_is_not_read(self, target: AttackedServer, field: str) -> None:
        for number in (1, 2):
            assert target.chat(scene_parts.image_part(number), **{field: "shared"}).status_code == 200
        (_, first, sampling), (_, second, _) = list(target.engine.asked)[-2:]
        assert sampling == {}
        assert (first[0].views != second[0].views).any()
        assert list(target.engine.salts)[-2:] == ["", ""]

    def test_an_identifier_of_an_upload_is_refused(self, target: AttackedServer) -> None:
        for field in ("uuid", "id"):
            response = target.chat(scene_parts.image_part(1) | {field: "shared"})
            assert_refused(response, param=f"messages[0].content[0].{field}")
        assert_refused(
            target.chat(media_part("image_url", scene_parts.image_url(1), uuid="shared")),
            param="messages[0].content[0].image_url.uuid",
        )

    def test_media_that_changes_behind_a_url_is_decoded_again(self, target: AttackedServer) -> None:
        views = []
        for number in (1, 2):
            target.media_host.contents["changing"] = attacked_server.picture_bytes(number)
            assert target.chat(media_part("image_url", target.media_url("content/changing"))).status_code == 200
            views.append(target.engine.asked[-1][1][0].views)
        assert (views[0] != views[1]).any()


class TestRefusalsBeforeMedia:
    @pytest.mark.parametrize("path", [CHAT, PLAN])
    @pytest.mark.parametrize(
        ("fields", "status", "param", "code"),
        [
            ({"model": "other"}, 404, "model", "model_not_found"), ({"model": 5}, 400, "model", "invalid_value"),
            ({"max_tokens": -5}, 400, "max_tokens", "invalid_value"), ({"n": 17}, 400, "n", "limit_exceeded"),
            ({"tools": [{}]}, 400, "tools[0].type", "invalid_value"),
            ({"prompt_logprobs": 1}, 400, "prompt_logprobs", "limit_exceeded"),
            ({"logprobs": True, "top_logprobs": 20, "n": 9, "max_tokens": 999}, 400, "top_logprobs", "limit_exceeded"),
            ({"use_beam_search": True, "stop": ["x"]}, 400, "stop", "invalid_value"),
        ],
        ids=str,
    )  # fmt: skip
    def test_nothing_is_fetched_for_a_field_that_is_refused(
        self, target: AttackedServer, path: str, fields: dict[str, Any], status: int, param: str, code: str
    ) -> None:
        target.media_host.requested_paths.clear()
        part = media_part("image_url", target.media_url("content/picture"))
        response = target.client.post(path, json=chat_body(part, **fields))
        assert_refused(response, status, param=param)
        assert response.json()["error"]["code"] == code
        assert target.media_host.requested_paths == []

    @pytest.mark.parametrize("path", [CHAT, PLAN])
    def test_nothing_is_fetched_for_sampling_that_the_engine_refuses(self, target: AttackedServer, path: str) -> None:
        target.media_host.requested_paths.clear()
        part = media_part("image_url", target.media_url("content/picture"))
        target.engine.refuses = EngineRefusal("temperature must be in [0, 2], got 3", param="temperature")
        try:
            response = target.client.post(path, json=chat_body(part, temperature=3))
        finally:
            target.engine.refuses = None
        assert_refused(response, param="temperature")
        assert target.media_host.requested_paths == []


class TestBeamsWithoutAnEnd:
    @pytest.mark.parametrize("path", [CHAT, PLAN])
    @pytest.mark.parametrize(
        "fields", [{"n": 10}, {"n": 2, "max_tokens": 3_900}, {"n": 10, "max_completion_tokens": 10**9}]
    )
    def test_nothing_is_fetched_for_beams_that_may_take_too_much(
        self, target: AttackedServer, path: str, fields: dict[str, Any]
    ) -> None:
        target.media_host.requested_paths.clear()
        part = media_part("image_url", target.media_url("content/picture"))
        response = target.client.post(path, json=chat_body(part, use_beam_search=True, **fields))
        assert_refused(response, param="max_tokens")
        assert target.media_host.requested_paths == []


class TestEmbeddings:
    @pytest.mark.parametrize(
        ("content", "param"),
        [
            ({"type": "image_embeds", "image_embeds": "AAAA"}, "messages[0].content[0]"),
            ({"type": "image_embeds", "image_embeds": {"image_embeds": "AAAA", "uuid": "x"}}, "messages[0].content[0]"),
            ({"type": "audio_embeds", "audio_embeds": "AAAA"}, "messages[0].content[0]"),
            ({"type": "prompt_embeds", "prompt_embeds": "AAAA"}, "messages[0].content[0]"),
            ({"type": "image_pil", "image_pil": "x"}, "messages[0].content[0]"),
            ({"type": "input_audio", "input_audio": {"data": "AAAA", "format": "wav"}}, "messages[0].content[0]"),
            ({"type": "file", "file": {"file_id": "x"}}, "messages[0].content[0]"),
            ({"image_embeds": "AAAA"}, "messages[0].content[0]"),
            (media_part("image_url", data_url(b"\x80\4}q\0.", "application/octet-stream")), IMAGE),
            (media_part("image_url", "data:image/torch;base64,AAAA"), IMAGE),
            (media_part("image_url", [1.0, 2.0]), IMAGE),
        ],
    )  # fmt: skip
    def test_a_content_part_of_embeddings_is_refused(
        self, target: AttackedServer, content: dict[str, Any], param: str
    ) -> None:
        assert_refused(target.chat(content), param=param)

    @pytest.mark.parametrize("field", ["prompt_embeds", "inputs_embeds", "image_embeds", "multi_modal_data"])
    def test_a_field_of_embeddings_is_refused(self, target: AttackedServer, field: str) -> None:
        assert_refused(target.chat(scene_parts.text_part("x"), **{field: "AAAA"}), param=field)


class TestRequestsFromTheSchema:
    def test_the_schema_of_a_request_accepts_a_valid_body_and_no_invalid_one(self, target: AttackedServer) -> None:
        document = target.client.get("/openapi.json").json()
        for path in (CHAT, PLAN):
            schema = document["paths"][path]["post"]["requestBody"]["content"]["application/json"]["schema"]
            validator = jsonschema.Draft202012Validator({**schema, "components": document["components"]})
            assert validator.is_valid({"messages": [{"role": "user", "content": [{"type": "text", "text": "x"}]}]})
            assert not validator.is_valid({"messages": [{"role": "user", "content": [{"type": "text"}]}]})

    def test_no_generated_request_gets_a_response_that_the_schema_does_not_describe(
        self, target: AttackedServer, tmp_path: Path
    ) -> None:
        command = [
            str(Path(sys.executable).with_name("st")), "run", f"{target.server.url}/openapi.json", "--checks", "all",
            "--exclude-checks", UNFIT_CHECK, "--max-examples", EXAMPLES, "--seed", "0", "--no-color",
        ]  # fmt: skip
        run = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, check=False)
        assert run.returncode == 0, run.stdout[-5000:] + run.stderr[-2000:]
        assert "12 selected / 12 total" in run.stdout


@pytest.mark.anyio
class TestViews:
    """Pictures of which a checkpoint of the authors' makes more than their file seems to hold."""

    @pytest.mark.parametrize("size", [(LONG, 8), (8, LONG)])
    @pytest.mark.parametrize("resizing", ["pad", "anyres"])
    async def test_a_strip_takes_no_square_of_memory(self, size: tuple[int, int], resizing: str) -> None:
        """Its square would take 10 GB."""
        limits = Limits(decoder_memory_bytes=psutil.Process().memory_info().vms + (1 << 30))
        async with serving(engine(), limits=limits) as client:
            answer = await client.post(CHAT, json=body(strip(*size, resizing=resizing)))
        assert answer.status_code == 200, answer.text

    async def test_many_pictures_of_many_views_are_refused_by_the_number_of_views(self) -> None:
        pictures = [strip(100, 100, detail="high") for _ in range(4)]
        async with serving(engine(), limits=Limits(max_visuals=16)) as client:
            for path in (CHAT, PLAN):
                answer = await client.post(path, json=body(*pictures))
                assert answer.status_code == 400
                assert "visuals" in answer.json()["error"]["message"]

    async def test_a_stated_size_that_is_not_the_files_is_refused(self) -> None:
        fake = engine()
        async with serving(fake) as client:
            answer = await client.post(CHAT, json=body(strip(100, 100, width=76, height=1)))
        assert answer.json()["error"]["param"] == "messages[0].content[0].image_url.width"
        assert not fake.asked
