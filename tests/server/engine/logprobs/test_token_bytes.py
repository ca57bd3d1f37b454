"""The bytes of tokens, of a vocabulary in which a character may be several tokens."""

import json

import pytest
from tokenizers import Tokenizer

from llava_interleave_serve.server.engine.logprobs.token_bytes import TokenBytes
from tests.support.fakes.engine import IMAGE_TOKEN, FakeEngine

TOKENIZER = FakeEngine().facts.tokenizer
TEXTS = ("a b", "café", "😀👩‍👧", "\n\t \u00a0\u00ad", "\u2028日本", "".join(map(chr, range(256))))


@pytest.mark.parametrize("text", TEXTS)
def test_the_bytes_of_the_tokens_of_a_text_are_its_bytes(text: str) -> None:
    token_bytes, tokenizer = TokenBytes(TOKENIZER), Tokenizer.from_str(TOKENIZER)
    ids = tokenizer.encode(text, add_special_tokens=False).ids
    assert b"".join(map(token_bytes.of, ids)) == text.encode()


def test_every_byte_is_a_token() -> None:
    token_bytes, tokenizer = TokenBytes(TOKENIZER), Tokenizer.from_str(TOKENIZER)
    assert {bytes([byte]) for byte in range(256)} <= set(map(token_bytes.of, range(tokenizer.get_vocab_size())))


def test_a_control_token_has_no_bytes_since_no_answer_shows_it() -> None:
    assert TokenBytes(TOKENIZER).of(IMAGE_TOKEN) == b""


def test_a_token_that_does_not_exist_has_no_bytes() -> None:
    assert TokenBytes(TOKENIZER).of(10**6) == b""


def test_a_vocabulary_that_is_not_of_bytes_is_refused() -> None:
    for decoder in (None, {"type": "Metaspace", "replacement": "_", "prepend_scheme": "always", "split": True}):
        with pytest.raises(ValueError, match="bytes"):
            TokenBytes(json.dumps(json.loads(TOKENIZER) | {"decoder": decoder}))
