"""The number of a checkpoint's tokens, to which the authors' builder cuts embedding and head."""

import json
from pathlib import Path
from typing import Any, NamedTuple

from transformers.utils import cached_file

PLACEHOLDER = "<image>"


class Vocabulary(NamedTuple):
    """Tokens of a tokenizer.

    Attributes:
        size: the number of tokens, as `len(tokenizer)` has it.
        placeholder: the token of `<image>`; None if there is none.

    """

    size: int
    placeholder: int | None


def read(model: str | None) -> Vocabulary | None:
    """Reads the tokenizer's files of a folder, or of a name on the hub; None if there are none.

    Raises ValueError for a damaged file.
    """
    if not model:
        return None
    whole = _json(model, "tokenizer.json")
    if whole is not None:
        vocabulary: dict[str, int] = dict(whole["model"]["vocab"])
        added = {token["content"]: token["id"] for token in whole.get("added_tokens", [])}
    else:
        vocabulary, added = _json(model, "vocab.json"), {}
        if vocabulary is None:
            return None
    added |= _json(model, "added_tokens.json") or {}
    described = (_json(model, "tokenizer_config.json") or {}).get("added_tokens_decoder", {})
    added |= {token["content"]: int(index) for index, token in described.items()}
    vocabulary = vocabulary | added
    return Vocabulary(len(vocabulary), added.get(PLACEHOLDER))


def _json(model: str, name: str) -> Any:
    path = cached_file(
        model,
        name,
        _raise_exceptions_for_missing_entries=False,
        _raise_exceptions_for_connection_errors=False,
        _raise_exceptions_for_gated_repo=False,
    )
    if path is None:
        return None
    try:
        return json.loads(Path(path).read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"{name} is not JSON: {error}") from None
