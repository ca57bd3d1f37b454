"""Attacks on the routes of texts: completions, and the tokeniser's two directions."""

from collections.abc import Iterator
from typing import Any

import pytest

from llava_interleave_serve.server.limits import Limits
from tests.support import attacked_server
from tests.support.attacked_server import AttackedServer, assert_refused
from tests.support.fakes.engine import IMAGE_TOKEN

COMPLETIONS, TOKENIZE, DETOKENIZE = PATHS = ("/v1/completions", "/tokenize", "/detokenize")
JSON_TYPE = {"Content-Type": "application/json"}
MALFORMED = (
    b"[" * 1_000_000, b'{"prompt":' + b"[" * 500_000, b"", b"null", b"7", b'"x"', b"[]", b"{", b"{'prompt': 1}", b"\0",
    b'{"prompt": "\xff\xfe"}', b'{"prompt": "\xed\xa0\x80"}', b'{"tokens": [1e999]}',
    b'{"prompt": "x", "prompt": "y"}',
    b'{"tokens": [' + b"9" * 5_000 + b"]}", b'{"prompt": {"a": 1}}', b'{"prompt": [[[1]]]}', b'{"tokens": [[1]]}',
    b'{"prompt": [1.0]}', b'{"prompt": [true]}', b'{"prompt": [null]}', b'{"prompt": null, "tokens": null}',
)  # fmt: skip
LONG: dict[str, Any] = {
    "text": "x" * 3_000_000, "one word": "\u00e9" * 3_000_000, "texts": ["x"] * 100_000, "ids": [5] * 300_000,
    "lists": [[5]] * 100_000, "empty lists": [[]] * 150_000, "objects": [{}] * 100_000, "words": "a b " * 500_000,
}  # fmt: skip


@pytest.fixture(scope="module")
def target(tmp_path_factory: pytest.TempPathFactory) -> Iterator[AttackedServer]:
    """A server that waits for large bodies on a machine however busy."""
    with attacked_server.running(tmp_path_factory.mktemp("allowed"), limits=Limits()) as target:
        yield target


class TestTextRoutes:
    @pytest.fixture(autouse=True)
    def _refused_before_the_engine(self, target: AttackedServer) -> Iterator[None]:
        """Asserts after every test that the engine was asked for nothing that succeeded."""
        before = len(target.engine.asked)
        yield
        assert len(target.engine.asked) == before

    @pytest.mark.parametrize("path", PATHS)
    @pytest.mark.parametrize("body", MALFORMED, ids=range(len(MALFORMED)))
    def test_a_body_that_is_no_request_is_refused(self, target: AttackedServer, path: str, body: bytes) -> None:
        response = target.client.post(path, content=body, headers=JSON_TYPE)
        assert_refused(response, param=response.json()["error"]["param"])
        assert len(response.content) < 1_000

    @pytest.mark.parametrize("path", PATHS)
    @pytest.mark.parametrize("attack", LONG)
    def test_texts_and_lists_longer_than_the_context_are_refused(
        self, target: AttackedServer, path: str, attack: str
    ) -> None:
        field = "tokens" if path == DETOKENIZE else "prompt"
        response = target.client.post(path, json={field: LONG[attack]})
        assert_refused(response, param=response.json()["error"]["param"])

    @pytest.mark.parametrize("token", [IMAGE_TOKEN, 99_999, 10**6, 2**31, 2**62, -1])
    def test_no_token_id_stands_for_a_picture_or_for_nothing(self, target: AttackedServer, token: int) -> None:
        for prompt in ([5, token, 5], [[5], [token]]):
            response = target.client.post(COMPLETIONS, json={"prompt": prompt})
            assert_refused(response, param=response.json()["error"]["param"])

    @pytest.mark.parametrize("value", ["NaN", "Infinity", "1e999"])
    @pytest.mark.parametrize("field", ["temperature", "top_p", "max_tokens", "n", "logprobs"])
    def test_nan_and_infinity_do_not_reach_the_engine(self, target: AttackedServer, field: str, value: str) -> None:
        body = f'{{"prompt": "x", "{field}": {value}}}'
        response = target.client.post(COMPLETIONS, content=body, headers=JSON_TYPE)
        assert_refused(response, param=field if "999" in value else None)

    @pytest.mark.parametrize(
        ("field", "value"),
        [("cache_salt", "x"), ("request_id", "x"), ("session_id", "x"), ("prompt_embeds", "x"), ("priority", -1),
         ("kv_transfer_params", {"a": 1}), ("truncate_prompt_tokens", 1), ("return_prompt_text", True),
         ("vllm_xargs", {"a": 1}), ("logits_processors", ["os.system"]), ("stream_interval", 1)],
    )  # fmt: skip
    def test_fields_of_the_engine_are_refused_by_name(self, target: AttackedServer, field: str, value: Any) -> None:
        assert_refused(target.client.post(COMPLETIONS, json={"prompt": "x", field: value}), param=field)

    def test_many_prompts_are_as_many_choices(self, target: AttackedServer) -> None:
        assert_refused(target.client.post(COMPLETIONS, json={"prompt": ["x"] * 17}), param="prompt")
        assert_refused(target.client.post(COMPLETIONS, json={"prompt": ["x"] * 2, "n": 16}), param="n")

    def test_log_probabilities_of_an_echoed_prompt_have_the_operators_bound(self, target: AttackedServer) -> None:
        for fields in ({"echo": True, "logprobs": 0}, {"prompt_logprobs": 0}):
            response = target.client.post(COMPLETIONS, json={"prompt": "x", **fields})
            assert_refused(response, param=next(name for name in fields if "logprobs" in name))


class TestTextsOfOtherRequests:
    @pytest.mark.parametrize("stream", [False, True])
    def test_the_engines_failure_is_told_in_own_words(self, target: AttackedServer, stream: bool) -> None:
        target.engine.fails = RuntimeError("/work/secret at 0x7f")
        response = target.client.post(COMPLETIONS, json={"prompt": "x", "stream": stream})
        target.engine.fails = None
        assert_refused(response, 500)

    def test_a_text_is_answered_with_itself_alone(self, target: AttackedServer) -> None:
        texts = ["one", "two <image>", "\u202ethree", "\x00"]
        for text in texts:
            ids = target.client.post(TOKENIZE, json={"prompt": text}).json()["tokens"]
            assert target.client.post(DETOKENIZE, json={"tokens": ids}).json()["prompt"] == text
