"""Tokeniser of the demo checkpoint: a small byte-level BPE with Qwen2's special tokens and pre-tokenisation.

Words that were added later, for more families of questions, have ids after those of the special tokens, so that no
earlier id changed.
"""

import json
import random
from collections.abc import Iterable, Iterator
from pathlib import Path

import tokenizers
from tokenizers import decoders, models, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast

from llava_interleave_serve.demo.architecture import CONTEXT
from llava_interleave_serve.demo.scenes import comparisons, directions, questions, signs, stories

SYSTEM = "You are a helpful assistant."
SPECIAL_TOKENS = ("<|endoftext|>", "<|im_start|>", "<|im_end|>", "<image>")
VOCABULARY = 640
# How Qwen2's tokeniser splits text before it merges bytes: contractions, words, single digits, punctuation, newlines.
SPLIT = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)


def corpus(conversations: int = 4000) -> Iterator[str]:
    """Training text: the system prompt, camera names, questions and answers, with the names of the roles."""
    rng = random.Random(0)
    for _ in range(conversations):
        for conversation in (
            questions.single_image(rng, 2),
            questions.images(rng, rng.randint(2, 8), 3),
            questions.difference(rng, 2),
            questions.video(rng, 4, 2),
            questions.cameras(rng, rng.randint(2, 6), 3),
        ):
            yield f"system\n{SYSTEM}"
            yield from (f"{name}: " for name in conversation.names)
            for turn in conversation.turns:
                yield f"user\n{turn.question}"
                yield f"assistant\n{turn.answer}"


def train() -> PreTrainedTokenizerFast:
    """Trains a tokeniser of VOCABULARY tokens, the special ones last, as in Qwen2's vocabulary."""
    return with_special_tokens(train_bpe(corpus(300), VOCABULARY - len(SPECIAL_TOKENS)), CONTEXT)


def train_bpe(texts: Iterable[str], size: int) -> tokenizers.Tokenizer:
    """Trains a byte-level BPE of at most `size` tokens, none of them special, that splits text as Qwen2's does."""
    bpe = tokenizers.Tokenizer(models.BPE())
    bpe.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(tokenizers.Regex(SPLIT), behavior="isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    bpe.decoder = decoders.ByteLevel()
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    trainer = trainers.BpeTrainer(vocab_size=size, initial_alphabet=alphabet, show_progress=False)
    bpe.train_from_iterator(texts, trainer)
    return bpe


def with_special_tokens(bpe: tokenizers.Tokenizer, context: int) -> PreTrainedTokenizerFast:
    """Adds the special tokens and wraps the tokeniser for transformers; `context` is the model's length in tokens."""
    bpe.add_special_tokens([tokenizers.AddedToken(token, special=True) for token in SPECIAL_TOKENS])
    return _wrap(bpe, context)


def _wrap(bpe: tokenizers.Tokenizer, context: int) -> PreTrainedTokenizerFast:
    return PreTrainedTokenizerFast(
        tokenizer_object=bpe,
        pad_token="<|endoftext|>",  # noqa: S106 - no password
        eos_token="<|im_end|>",  # noqa: S106
        additional_special_tokens=["<|im_start|>", "<image>"],
        model_max_length=context,
        clean_up_tokenization_spaces=False,
    )


def later_corpus(conversations: int = 300) -> Iterator[str]:
    """Questions and answers of the families that were added later."""
    rng = random.Random(0)
    for _ in range(conversations):
        for conversation in (
            comparisons.edited(rng, 1),
            comparisons.alike(rng, 2),
            comparisons.captioned(rng, 2),
            comparisons.compared(rng, 2),
            stories.story(rng, 3, 1),
            stories.puzzle(rng, 4),
            stories.video(rng, 4, 1),
            signs.reading(rng),
            directions.cameras(rng, 4, 2),
        ):
            for turn in conversation.turns:
                yield turn.question
                yield turn.answer


def extend(tokeniser: PreTrainedTokenizerFast) -> PreTrainedTokenizerFast:
    """Adds a token for every word of `later_corpus`, except words in capitals, which are read letter by letter.

    A word's tokens are merged from the left, by merges that come after all existing ones. The special tokens are put
    into the vocabulary with their ids, which would change otherwise; no merge makes them.
    """
    rules = json.loads(tokeniser.backend_tokenizer.to_str())
    vocabulary, merges = rules["model"]["vocab"], rules["model"]["merges"]
    vocabulary |= {token["content"]: token["id"] for token in rules["added_tokens"]}
    splitter, decoder = tokeniser.backend_tokenizer.pre_tokenizer, tokeniser.backend_tokenizer.decoder
    pieces_of_text = (piece for text in later_corpus() for piece, _ in splitter.pre_tokenize_str(text))
    for word in (decoder.decode([piece]) for piece in dict.fromkeys(pieces_of_text)):
        if word.strip().isupper():
            continue
        bpe = tokenizers.Tokenizer.from_str(json.dumps(rules))
        pieces = bpe.encode(word, add_special_tokens=False).tokens
        while len(pieces) > 1:
            merges.append(pieces[:2])
            pieces[:2] = ["".join(pieces[:2])]
            vocabulary.setdefault(pieces[0], len(vocabulary))
    return _wrap(tokenizers.Tokenizer.from_str(json.dumps(rules)), CONTEXT)


def load_or_train(folder: Path) -> PreTrainedTokenizerFast:
    """Loads the tokeniser of a folder; if there is none, trains one and saves it there.

    A training run must keep the tokeniser that it began with.
    """
    if not (folder / "tokenizer.json").exists():
        extend(train()).save_pretrained(folder)
    return PreTrainedTokenizerFast.from_pretrained(folder)
