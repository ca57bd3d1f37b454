"""The demo's tokeniser: a small byte-level BPE with the special tokens and the pre-tokenisation of Qwen2's."""

import random
from collections.abc import Iterable, Iterator
from pathlib import Path

import tokenizers
from tokenizers import decoders, models, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast

from llava_interleave_serve.demo import questions

SYSTEM = "You are a helpful assistant."
SPECIAL_TOKENS = ("<|endoftext|>", "<|im_start|>", "<|im_end|>", "<image>")
VOCABULARY = 640
# How Qwen2's tokeniser splits text before it merges bytes: contractions, words, single digits, punctuation, newlines.
SPLIT = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)


def corpus(conversations: int = 4000) -> Iterator[str]:
    """Text as the model meets it: roles, the system block, camera names, questions and answers."""
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
    """A tokeniser of VOCABULARY tokens, the special ones last, as in Qwen2's vocabulary."""
    return complete(merged(corpus(300), VOCABULARY - len(SPECIAL_TOKENS)), context=4096)


def merged(texts: Iterable[str], size: int) -> tokenizers.Tokenizer:
    """A byte-level BPE of at most `size` tokens, none of them special, that splits text as Qwen2's does."""
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


def complete(bpe: tokenizers.Tokenizer, context: int) -> PreTrainedTokenizerFast:
    """The tokeniser with the special tokens added, as transformers saves it."""
    bpe.add_special_tokens([tokenizers.AddedToken(token, special=True) for token in SPECIAL_TOKENS])
    return PreTrainedTokenizerFast(
        tokenizer_object=bpe,
        pad_token="<|endoftext|>",  # noqa: S106 - no password
        eos_token="<|im_end|>",  # noqa: S106
        additional_special_tokens=["<|im_start|>", "<image>"],
        model_max_length=context,
        clean_up_tokenization_spaces=False,
    )


def of(folder: Path) -> PreTrainedTokenizerFast:
    """The tokeniser in a folder; trained and put there if there is none. A run must keep the one it began with."""
    if not (folder / "tokenizer.json").exists():
        train().save_pretrained(folder)
    return PreTrainedTokenizerFast.from_pretrained(folder)
