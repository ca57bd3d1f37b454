"""Tokenises text: without holding up the interpreter's other threads, and no further than a prompt can use."""

import json
import re
from collections.abc import Iterator
from typing import Any

from tokenizers import Tokenizer

PIECE = 64 * 1024  # characters that are tokenised before the next are looked at
# Qwen2's pattern of words. No word of it holds a letter and behind it something else than a letter, none holds a digit
# and anything else, and behind a line's end none goes on but with white space. It looks ahead behind white space only.
QWEN2_WORDS = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
# Letters of which every version of Unicode says that they are; and what follows them composes with none (NFC).
LETTERS = "A-Za-zÀ-ÖØ-öø-ɏΑ-Ωα-ωА-яא-תء-غف-يぁ-ゖァ-ヺ一-鿿가-힣"
BETWEEN_WORDS = re.compile(rf"(?<=[{LETTERS}])(?=[\n -@\[-`{{-~、。！，：；？])|(?<=[0-9])(?=[\n -~])|(?<=\n)(?=[!-~])")


class TextTokenizer:
    """One checkpoint's tokeniser, for which special tokens that a user types are text like any other.

    definition: JSON text of `tokenizer.json`.
    """

    def __init__(self, definition: str) -> None:
        # A copy of the engine's tokeniser, since these settings are the tokeniser's own.
        self._tokenizer = Tokenizer.from_str(definition)
        self._tokenizer.encode_special_tokens = True
        self._tokenizer.no_truncation()
        self._can_split = _has_words_of_qwen2(json.loads(definition))
        self.longest_token = max(map(len, self._tokenizer.get_vocab(with_added_tokens=False)))  # bytes

    def token_id(self, token: str) -> int | None:
        """The id of a token of the vocabulary, control tokens among them."""
        number: int | None = self._tokenizer.token_to_id(token)
        return number

    @property
    def vocabulary_size(self) -> int:
        """The number of tokens, control tokens among them."""
        size: int = self._tokenizer.get_vocab_size(with_added_tokens=True)
        return size

    def decode(self, token_ids: list[int]) -> str:
        """The text of token ids, control tokens spelled out."""
        text: str = self._tokenizer.decode(token_ids, skip_special_tokens=False)
        return text

    def token_texts(self, token_ids: list[int]) -> list[str]:
        """Each token as the vocabulary writes it."""
        return [self._tokenizer.id_to_token(token_id) or "" for token_id in token_ids]

    def encode(self, text: str, most: int | None = None) -> list[int]:
        """The text's token ids; of more than `most` some that are missing at the end, so that there are still more."""
        ids: list[int] = []
        for piece in self._pieces(text):
            # `encode` would hold the interpreter's lock, 1.6 s for 2 million characters, and `.ids` of 64 K takes 1 ms.
            (encoding,) = self._tokenizer.encode_batch_fast([piece], add_special_tokens=False)
            ids += encoding.ids
            if most is not None and len(ids) > most:
                break
        return ids

    def _pieces(self, text: str) -> Iterator[str]:
        """Yields pieces of at least PIECE characters, whose token ids are together those of the text."""
        start = 0
        while self._can_split and (end := BETWEEN_WORDS.search(text, start + PIECE)) is not None:
            yield text[start : end.start()]
            start = end.start()
        yield text[start:]


def _has_words_of_qwen2(definition: dict[str, Any]) -> bool:
    """True if texts may be tokenised in pieces that end BETWEEN_WORDS."""
    steps = (definition.get("pre_tokenizer") or {}).get("pretokenizers", [])
    match steps:
        case [
            {"type": "Split", "pattern": {"Regex": words}, "behavior": "Isolated", "invert": False},
            {"type": "ByteLevel", "add_prefix_space": False, "use_regex": False},
        ]:
            normalizer = (definition.get("normalizer") or {}).get("type")
            # A token that is added and not special is looked for in the whole text, whatever the words are.
            is_plain = all(token["special"] for token in definition.get("added_tokens", []))
            return words == QWEN2_WORDS and normalizer in (None, "NFC") and is_plain
    return False
