"""The bytes of single tokens. A character may be several tokens, none of which is text by itself."""

import json
from functools import lru_cache

from tokenizers import Tokenizer

CACHED_TOKENS = 65_536


class TokenBytes:
    """The bytes that each token stands for in a text. Control tokens stand for none: they are not part of an answer.

    tokenizer: JSON text of a `tokenizer.json` whose vocabulary is of bytes, as Qwen2's and GPT-2's are. Raises
    ValueError for another.
    """

    def __init__(self, tokenizer: str) -> None:
        decoder = json.loads(tokenizer).get("decoder") or {}
        if decoder.get("type") != "ByteLevel":
            raise ValueError("the tokeniser's vocabulary is not of bytes")
        self._tokenizer = Tokenizer.from_str(tokenizer)
        added = self._tokenizer.get_added_tokens_decoder()
        self._added: dict[int, bytes] = {
            token_id: b"" if token.special else token.content.encode() for token_id, token in added.items()
        }
        self._byte_of: dict[str, int] = {character: byte for byte, character in _characters().items()}
        self.of = lru_cache(CACHED_TOKENS)(self._of)

    def _of(self, token_id: int) -> bytes:
        """The bytes of a token; none if there is no such token."""
        if token_id in self._added:
            return self._added[token_id]
        written: str = self._tokenizer.id_to_token(token_id) or ""
        try:
            return bytes(self._byte_of[character] for character in written)
        except KeyError:
            return written.encode()


def _characters() -> dict[int, str]:
    """The character by which each byte is written in a vocabulary of bytes (GPT-2, `bytes_to_unicode`).

    Printable characters stand for themselves, and the others are moved behind Latin-1 in their order.
    """
    printable = [*range(ord("!"), ord("~") + 1), *range(ord("¡"), ord("¬") + 1), *range(ord("®"), ord("ÿ") + 1)]
    others = [byte for byte in range(256) if byte not in printable]
    return {byte: chr(byte) for byte in printable} | {byte: chr(256 + index) for index, byte in enumerate(others)}
