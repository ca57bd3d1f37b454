"""Text in pieces has the token ids of the whole, and is tokenised without holding up other threads."""

import json
import random
import threading
import time
from itertools import product
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Regex, Tokenizer, models, normalizers, pre_tokenizers, trainers

from llava_interleave_serve.server.config import DEMO_CHECKPOINT
from llava_interleave_serve.server.prompt import tokenizer
from llava_interleave_serve.server.prompt.tokenizer import BETWEEN_WORDS, QWEN2_WORDS, TextTokenizer

DEMO = (DEMO_CHECKPOINT / "tokenizer.json").read_text()
# One of each kind that Qwen2's pattern tells apart, and of those that normalisation joins with what is before them.
ALPHABET = [
    "a", "Z", "s", "t", "'", "1", "9", " ", "  ", "\n", "\r", "\r\n", "\t", "\u00a0", "\u3000", ".", "!", "-", "_", "<",
    "é", "ß", "Ω", "д", "א", "ع", "あ", "が", "か", "字", "한", "각", "，", "。", "😀", "½", "²", "٣",
    "\u0301", "\u0308", "\u3099", "\u11a8", "\u1100", "\u1161", "\u0903", "\u200d", "\ufb01", "\u212b", "\uf900",
    "'s", "'LL", "don't", "the ", "of\n", "token", "<|im_end|>", "<image>",
]  # fmt: skip


def _like_qwen2() -> str:
    """A tokeniser of Qwen2's steps, its normalisation among them, and a vocabulary of several thousand tokens."""
    made = Tokenizer(models.BPE())
    made.normalizer = normalizers.NFC()
    made.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(QWEN2_WORDS), "isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    sources = [path.read_text() for path in sorted(Path(tokenizer.__file__).parents[1].rglob("*.py"))]
    rng = random.Random(0)
    sources += ["".join(rng.choices(ALPHABET, k=2000)) for _ in range(20)]
    trainer = trainers.BpeTrainer(
        vocab_size=4000, initial_alphabet=pre_tokenizers.ByteLevel.alphabet(), show_progress=False
    )
    made.train_from_iterator(sources, trainer)
    made.add_special_tokens(["<|im_end|>", "<image>"])
    text: str = made.to_str()
    return text


class Both:
    """A tokeniser, and the library's that tokenises whole texts."""

    def __init__(self, definition: str) -> None:
        self.made = TextTokenizer(definition)
        self.plain = Tokenizer.from_str(definition)
        self.plain.encode_special_tokens = True

    def whole(self, text: str) -> list[int]:
        ids: list[int] = self.plain.encode(text, add_special_tokens=False).ids
        return ids


BOTH = {"the demo's": Both(DEMO), "Qwen2's steps": Both(_like_qwen2())}


@pytest.fixture(params=BOTH)
def both(request: pytest.FixtureRequest) -> Both:
    return BOTH[request.param]


def test_every_place_where_a_text_of_three_parts_may_be_cut_keeps_its_ids(both: Both) -> None:
    texts = {"".join(parts) for parts in product(ALPHABET, repeat=3)}
    cuts = [(text, match.start()) for text in texts for match in BETWEEN_WORDS.finditer(text)]
    assert len(cuts) > 10_000
    pieces = {piece for text, cut in cuts for piece in (text, text[:cut], text[cut:])}
    ids = dict(zip(pieces, map(both.whole, pieces), strict=True))
    for text, cut in cuts:
        assert ids[text] == ids[text[:cut]] + ids[text[cut:]], (text, cut)


@pytest.mark.parametrize("seed", range(5))
def test_a_random_text_in_pieces_has_the_ids_of_the_whole(
    both: Both, seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tokenizer, "PIECE", 50)
    text = "".join(random.Random(seed).choices(ALPHABET, k=50_000))
    assert len(list(both.made._pieces(text))) > 500
    assert both.made.encode(text) == both.whole(text)


@settings(max_examples=300, deadline=None)
@given(st.text(max_size=200), st.integers(1, 20))
def test_any_text_in_pieces_has_the_ids_of_the_whole(text: str, piece: int) -> None:
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(tokenizer, "PIECE", piece)
        for both in BOTH.values():
            assert both.made.encode(text) == both.whole(text)


def test_the_sources_of_this_server_in_pieces_have_the_ids_of_the_whole(both: Both) -> None:
    text = "\n".join(path.read_text() for path in sorted(Path(tokenizer.__file__).parents[1].rglob("*.py")))
    assert len(list(both.made._pieces(text))) > 2
    assert both.made.encode(text) == both.whole(text)


@pytest.mark.parametrize(
    "change",
    [
        {"normalizer": {"type": "Lowercase"}},
        {"pre_tokenizer": {"type": "ByteLevel", "add_prefix_space": True, "trim_offsets": True, "use_regex": True}},
        {"added_tokens": [{"id": 493, "content": "a b", "single_word": False, "lstrip": False, "rstrip": False,
                           "normalized": False, "special": False}]},
    ],
    ids=["normaliser", "words", "added token"],
)  # fmt: skip
def test_text_of_a_tokeniser_of_other_steps_is_not_cut(change: dict[str, object]) -> None:
    definition = json.dumps(json.loads(DEMO) | change)
    text = "a b " * 100_000
    assert list(TextTokenizer(definition)._pieces(text)) == [text]


def test_no_more_is_tokenised_than_shows_that_there_is_too_much(both: Both) -> None:
    text = "some words of a text, " * 1_000_000
    started = time.perf_counter()
    ids = both.made.encode(text, 4096)
    assert 4096 < len(ids) <= tokenizer.PIECE + 100
    assert time.perf_counter() - started < 2.0
    assert ids == both.whole(text[: tokenizer.PIECE * 2])[: len(ids)]


@pytest.mark.parametrize("text", ["a", "\U0001f600", "a1 ."])
def test_other_threads_are_not_held_up_by_two_megabytes_of_text(text: str) -> None:
    both = BOTH["the demo's"]
    long = text * (2_000_000 // len(text.encode()))
    waits: list[float] = []
    done = threading.Event()

    def tick() -> None:
        before = time.perf_counter()
        while not done.is_set():
            time.sleep(0.001)
            now = time.perf_counter()
            waits.append(now - before)
            before = now

    def longest_wait(work: threading.Thread) -> float:
        done.clear()
        waits.clear()
        ticking = threading.Thread(target=tick)
        ticking.start()
        work.start()
        work.join()
        done.set()
        ticking.join()
        return max(waits)

    # `encode` holds the interpreter for all of its time. The busier the machine, the longer that is too.
    held = longest_wait(threading.Thread(target=both.plain.encode, args=(long,)))
    free = min(longest_wait(threading.Thread(target=both.made.encode, args=(long,))) for _ in range(2))
    assert free < max(0.1, held / 5)
