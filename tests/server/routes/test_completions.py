"""The routes of texts: completions, the tokeniser's two directions, and what they hold while they run."""

from typing import Any

import pytest
from tokenizers import Tokenizer

from llava_interleave_serve.server.limits import Limits
from tests.support import scene_parts
from tests.support.app_client import CHAT, HELLO, PLAN, body, serving
from tests.support.fakes.engine import IMAGE_TOKEN, FakeEngine

pytestmark = pytest.mark.anyio
COMPLETIONS, TOKENIZE, DETOKENIZE = "/v1/completions", "/tokenize", "/detokenize"
WORDS = "Which image"
BENCH = {
    "model": "fake", "prompt": WORDS, "repetition_penalty": 1.0, "max_tokens": 8, "logprobs": None, "stream": True,
    "stream_options": {"include_usage": True}, "ignore_eos": True,
}  # fmt: skip


def ids_of(engine: FakeEngine, text: str) -> list[int]:
    tokenizer = Tokenizer.from_str(engine.facts.tokenizer)
    tokenizer.encode_special_tokens = True
    found: list[int] = tokenizer.encode(text, add_special_tokens=False).ids
    return found


@pytest.mark.parametrize("prompt", [WORDS, [WORDS, "image"], [5, 6, 7], [[5, 6], [7]], [WORDS, [5]]], ids=str)
async def test_prompts_may_be_texts_and_token_ids(prompt: Any) -> None:
    engine = FakeEngine()
    async with serving(engine) as client:
        assert (await client.post(COMPLETIONS, json={"prompt": prompt})).status_code == 200
    prompts = prompt if isinstance(prompt, list) and not isinstance(prompt[0], int) else [prompt]
    expected = [ids_of(engine, each) if isinstance(each, str) else each for each in prompts]
    assert [token_ids for token_ids, _, _ in engine.asked] == expected


async def test_what_vllms_benchmark_sends_by_default_is_answered() -> None:
    engine = FakeEngine()
    async with serving(engine) as client:
        card = (await client.get("/v1/models")).json()["data"][0]
        tokenized = await client.post(
            TOKENIZE, json={"model": card["id"], "prompt": WORDS, "add_special_tokens": False}
        )
        again = await client.post(DETOKENIZE, json={"model": card["id"], "tokens": tokenized.json()["tokens"]})
        answer = await client.post(COMPLETIONS, json=BENCH)
    assert card["root"]
    assert again.json()["prompt"] == WORDS
    assert (answer.status_code, answer.headers["cache-control"]) == (200, "no-cache")
    assert engine.asked[0][2] == {name: value for name, value in BENCH.items() if name not in ("prompt", "logprobs")}


REFUSED: list[tuple[dict[str, Any], str, str]] = [
    ({}, "prompt", "invalid_value"), ({"prompt": ""}, "prompt", "invalid_value"),
    ({"prompt": []}, "prompt", "invalid_value"), ({"prompt": {"a": 1}}, "prompt", "invalid_value"),
    ({"prompt": [WORDS, ""]}, "prompt[1]", "invalid_value"), ({"prompt": [[5], []]}, "prompt[1]", "invalid_value"),
    ({"prompt": [True]}, "prompt", "invalid_value"), ({"prompt": [5, -1]}, "prompt", "invalid_value"),
    ({"prompt": [5, 10**30]}, "prompt", "invalid_value"), ({"prompt": [5, 499_999]}, "prompt", "invalid_value"),
    ({"prompt": [5, IMAGE_TOKEN]}, "prompt", "invalid_value"), ({"prompt": [[5], [[5]]]}, "prompt[1]", "invalid_value"),
    ({"prompt": WORDS * 3_000}, "prompt", "context_length_exceeded"),
    ({"prompt": [5] * 4_096}, "prompt", "context_length_exceeded"),
    ({"prompt": [WORDS, WORDS * 3_000]}, "prompt[1]", "context_length_exceeded"),
    ({"prompt": [WORDS] * 17}, "prompt", "limit_exceeded"), ({"prompt": WORDS, "n": 17}, "n", "limit_exceeded"),
    ({"prompt": [WORDS] * 4, "n": 5}, "n", "limit_exceeded"), ({"prompt": WORDS, "n": 0}, "n", "invalid_value"),
    ({"prompt": WORDS, "model": "other"}, "model", "model_not_found"),
    ({"prompt": WORDS, "suffix": "x"}, "suffix", "invalid_value"),
    ({"prompt": WORDS, "best_of": 2}, "best_of", "invalid_value"),
    ({"prompt": WORDS, "use_beam_search": True}, "use_beam_search", "invalid_value"),
    ({"prompt": WORDS, "prompt_embeds": "x"}, "prompt_embeds", "invalid_value"),
    ({"prompt": WORDS, "max_tokens": -1}, "max_tokens", "invalid_value"),
    ({"prompt": WORDS, "logprobs": True}, "logprobs", "invalid_value"),
    ({"prompt": WORDS, "echo": True, "logprobs": 1}, "logprobs", "limit_exceeded"),
    ({"prompt": WORDS, "prompt_logprobs": 1}, "prompt_logprobs", "limit_exceeded"),
    ({"prompt": WORDS, "echo": True, "logprobs": 1, "stream": True}, "logprobs", "invalid_value"),
    ({"prompt": WORDS, "echo": True, "return_token_ids": True}, "echo", "invalid_value"),
    ({"prompt": [5], "echo": True, "return_token_ids": 1, "stream": True, "max_tokens": 0}, "echo", "invalid_value"),
    ({"prompt": WORDS, "messages": []}, "messages", "invalid_value"),
    ({"prompt": WORDS, "tools": [{}]}, "tools", "invalid_value"),
    ({"prompt": WORDS, "structured_outputs": {"regex": "a{1,99999}"}}, "structured_outputs", "limit_exceeded"),
]  # fmt: skip


@pytest.mark.parametrize(("asked", "param", "code"), REFUSED, ids=lambda value: str(value)[:60])
async def test_a_completion_that_cannot_be_had_is_refused_by_name(asked: dict[str, Any], param: str, code: str) -> None:
    engine = FakeEngine()
    async with serving(engine) as client:
        answer = await client.post(COMPLETIONS, json=asked)
    assert answer.status_code == (404 if code == "model_not_found" else 400)
    assert (answer.json()["error"]["param"], answer.json()["error"]["code"]) == (param, code)
    assert not engine.asked


@pytest.mark.parametrize(
    "fields",
    [{"suffix": ""}, {"best_of": 1}, {"add_special_tokens": True}, {"user": "x"}, {"echo": False}, {"logprobs": None},
     {"use_beam_search": False}, {"n": 1, "stream": False}, {"priority": 0}, {"max_tokens": 0, "echo": True},
     {"echo": True, "return_token_ids": False}, {"return_token_ids": True}],
    ids=str,
)  # fmt: skip
async def test_what_asks_for_nothing_is_accepted(fields: dict[str, Any]) -> None:
    async with serving() as client:
        assert (await client.post(COMPLETIONS, json={"prompt": WORDS} | fields)).status_code == 200


async def test_control_tokens_in_a_prompt_are_text_and_among_token_ids_themselves() -> None:
    engine = FakeEngine()
    async with serving(engine) as client:
        await client.post(COMPLETIONS, json={"prompt": "<|im_start|>user"})
        chat = (await client.post(TOKENIZE, json=HELLO)).json()["tokens"]
        await client.post(COMPLETIONS, json={"prompt": chat})
    start = Tokenizer.from_str(engine.facts.tokenizer).token_to_id("<|im_start|>")
    assert start not in engine.asked[0][0]
    assert engine.asked[1][0] == chat
    assert chat.count(start) == 3


async def test_the_keys_of_completions_share_no_cache() -> None:
    engine = FakeEngine()
    async with serving(engine, api_keys=("A", "B"), isolates_keys=True) as client:
        for key in "AB":
            headers = {"Authorization": f"Bearer {key}"}
            assert (await client.post(COMPLETIONS, json={"prompt": WORDS}, headers=headers)).status_code == 200
    assert len(set(engine.salts)) == 2


@pytest.mark.parametrize("path", [COMPLETIONS, TOKENIZE, DETOKENIZE])
async def test_every_route_of_texts_is_admitted(path: str) -> None:
    async with serving(limits=Limits(max_requests=1)) as client:
        with client.server.admission.reserve("", 0):
            answer = await client.post(path, json={"prompt": WORDS, "tokens": [1]})
    assert (answer.status_code, answer.json()["error"]["code"]) == (429, "overloaded")


@pytest.mark.parametrize(
    ("path", "span"),
    [(CHAT, "chat"), (COMPLETIONS, "text_completion"), (TOKENIZE, "tokenize"), (DETOKENIZE, "detokenize")],
)
async def test_every_route_has_a_span_of_its_own_name(path: str, span: str, monkeypatch: pytest.MonkeyPatch) -> None:
    names: list[str] = []
    async with serving() as client:
        monkeypatch.setattr(client.server.tracer, "export", lambda *of: names.append(of[2]))
        await client.post(path, json={"prompt": WORDS, "tokens": [1]})
    assert names == [span]


class TestTokenize:
    async def test_a_text_is_tokenised_as_it_is_in_prompts(self) -> None:
        engine = FakeEngine()
        async with serving(engine) as client:
            answer = (await client.post(TOKENIZE, json={"prompt": "a <image>", "return_token_strs": True})).json()
        assert answer["tokens"] == ids_of(engine, "a <image>")
        assert (answer["count"], answer["max_model_len"]) == (len(answer["tokens"]), 4096)
        assert "".join(answer["token_strs"]) == "a\u0120<image>"

    async def test_a_chat_is_as_many_tokens_as_its_plan_says_and_nothing_is_fetched(self) -> None:
        parts = (
            scene_parts.text_part("?"),
            {"type": "image_url", "image_url": {"url": "https://nowhere.example/x.png", "pooling": "max"}},
            {"type": "video_url", "video_url": {"url": "https://nowhere.example/x.mp4", "num_frames": 3}},
        )
        tool = {"type": "function", "function": {"name": "f"}}
        asked = body(*parts, tools=[tool], tool_choice="required")
        async with serving() as client:
            plan = (await client.post(PLAN, json=asked)).json()
            answer = (await client.post(TOKENIZE, json=asked)).json()
        assert answer["count"] == len(answer["tokens"]) == plan["prompt_tokens"]
        assert answer["tokens"].count(IMAGE_TOKEN) == plan["visual_tokens"] == 3 * 3 + 3 * 49

    @pytest.mark.parametrize(
        ("path", "asked", "param"),
        [
            (TOKENIZE, {}, "prompt"), (TOKENIZE, {"prompt": 5}, "prompt"),
            (TOKENIZE, {"prompt": "x" * 10**6}, "prompt"),
            (TOKENIZE, {"prompt": WORDS * 3_000}, "prompt"), (TOKENIZE, {"prompt": "x", "model": "other"}, "model"),
            (TOKENIZE, HELLO | {"prompt": "x"}, "prompt"), (TOKENIZE, {"messages": []}, "messages"),
            (TOKENIZE, HELLO | {"add_generation_prompt": False}, "add_generation_prompt"),
            (TOKENIZE, HELLO | {"chat_template": "x"}, "chat_template"),
            (TOKENIZE, HELLO | {"return_token_strs": 1}, "return_token_strs"),
            (DETOKENIZE, {}, "tokens"), (DETOKENIZE, {"tokens": [10**6]}, "tokens"),
            (DETOKENIZE, {"tokens": [-1]}, "tokens[0]"),
            (DETOKENIZE, {"tokens": ["a"]}, "tokens[0]"), (DETOKENIZE, {"tokens": [1] * 5_000}, "tokens"),
            (DETOKENIZE, {"tokens": [1], "model": "other"}, "model"),
        ],
        ids=lambda value: str(value)[:50],
    )  # fmt: skip
    async def test_what_cannot_be_tokenised_is_refused_by_name(
        self, path: str, asked: dict[str, Any], param: str
    ) -> None:
        async with serving() as client:
            answer = await client.post(path, json=asked)
        assert answer.status_code == (404 if param == "model" else 400)
        assert answer.json()["error"]["param"] == param

    async def test_control_tokens_are_spelled_out(self) -> None:
        async with serving() as client:
            ids = (await client.post(TOKENIZE, json=HELLO)).json()["tokens"]
            text = (await client.post(DETOKENIZE, json={"tokens": ids})).json()["prompt"]
            empty = (await client.post(DETOKENIZE, json={"tokens": []})).json()["prompt"]
        assert text.endswith("<|im_start|>user\nHello!<|im_end|>\n<|im_start|>assistant\n")
        assert empty == ""


class TestDescriptions:
    @pytest.mark.parametrize(("model", "root"), [("my/model", "my/model"), ("demo", "fake")])
    async def test_the_model_card_names_no_folder(self, model: str, root: str) -> None:
        async with serving(model=model) as client:
            (card,) = (await client.get("/v1/models")).json()["data"]
        assert (card["root"], card["parent"], card["max_model_len"]) == (root, None, 4096)
        assert card["permission"][0]["object"] == "model_permission"

    async def test_the_version_is_the_installed_one(self) -> None:
        async with serving() as client:
            assert (await client.get("/version")).json()["version"].count(".") == 2

    @pytest.mark.parametrize("method", ["GET", "HEAD"])
    async def test_a_ping_is_answered_without_a_key_as_ready_is(self, method: str) -> None:
        engine = FakeEngine()
        async with serving(engine, api_keys=("A",)) as client:
            client.server.warm = True
            assert (await client.request(method, "/ping")).status_code == 200
            engine.alive = False
            assert (await client.request(method, "/ping")).status_code == 503

    async def test_head_is_served_where_get_is(self) -> None:
        async with serving() as client:
            for path in ("/health", "/ready", "/ping", "/version", "/metrics", "/v1/models", "/v1/models/fake"):
                head, got = await client.head(path), await client.get(path)
                assert (head.status_code, head.content) == (got.status_code, b""), path


async def test_log_probabilities_of_an_answer_are_bounded_by_the_operator() -> None:
    asked = {"prompt": ["a", "b"], "logprobs": 4}
    async with serving(FakeEngine(), limits=Limits(max_answer_logprobs=160)) as client:
        assert (await client.post(COMPLETIONS, json=asked)).status_code == 200  # of 16 tokens
        refused = await client.post(COMPLETIONS, json=asked | {"max_tokens": 17})
        assert (refused.status_code, refused.json()["error"]["param"]) == (400, "logprobs")
        assert (await client.post(COMPLETIONS, json={"prompt": ["a", "b"], "max_tokens": 17})).status_code == 200


async def test_log_probabilities_of_a_prompt_count_in_each_choice() -> None:
    async with serving(FakeEngine(), limits=Limits(max_prompt_logprobs=10)) as client:
        asked = {"prompt": [5, 6], "prompt_logprobs": 1}
        assert (await client.post(COMPLETIONS, json=asked | {"n": 2})).status_code == 200
        assert (await client.post(COMPLETIONS, json=asked | {"n": 3})).status_code == 400
