"""The tokeniser gets new words, and the ids of its old tokens do not change."""

import json

import pytest
from transformers import PreTrainedTokenizerFast

from llava_interleave_serve.benchmarks.evaluation import demo_dataset
from llava_interleave_serve.demo import tokenizer


@pytest.fixture(scope="module")
def before() -> PreTrainedTokenizerFast:
    return tokenizer.train()


@pytest.fixture(scope="module")
def after(before: PreTrainedTokenizerFast, tmp_path_factory: pytest.TempPathFactory) -> PreTrainedTokenizerFast:
    """The extended tokeniser, read back from its file."""
    folder = tmp_path_factory.mktemp("tokenizer")
    tokenizer.extend(before).save_pretrained(folder)
    return tokenizer.load_or_train(folder)


def test_every_token_keeps_its_id_when_the_tokenizer_is_extended(
    before: PreTrainedTokenizerFast, after: PreTrainedTokenizerFast
) -> None:
    assert before.get_vocab().items() <= after.get_vocab().items()
    assert sorted(after.get_vocab().values()) == list(range(len(after)))
    for token in tokenizer.SPECIAL_TOKENS:
        assert after.convert_tokens_to_ids(token) == before.convert_tokens_to_ids(token)
    assert (after.eos_token_id, after.pad_token_id) == (before.eos_token_id, before.pad_token_id)


def test_earlier_texts_keep_their_tokens_when_the_tokenizer_is_extended(
    before: PreTrainedTokenizerFast, after: PreTrainedTokenizerFast
) -> None:
    for text in set(tokenizer.corpus(100)):
        assert after.encode(text) == before.encode(text)


def test_every_word_of_the_later_families_is_one_token(after: PreTrainedTokenizerFast) -> None:
    for text in set(tokenizer.later_corpus(60)):
        backend = after.backend_tokenizer
        words = [backend.decoder.decode([piece]) for piece, _ in backend.pre_tokenizer.pre_tokenize_str(text)]
        longer = sum(len(after.encode(word)) - 1 for word in words if word.strip().isupper())
        assert len(after.encode(text)) == len(words) + longer


def test_a_sign_is_tokenised_letter_by_letter(after: PreTrainedTokenizerFast) -> None:
    assert after.convert_ids_to_tokens(after.encode("LTX.")) == ["L", "T", "X", "."]


def test_text_that_spells_a_special_token_is_text(after: PreTrainedTokenizerFast) -> None:
    backend = after.backend_tokenizer
    backend.encode_special_tokens = True
    try:
        for token in tokenizer.SPECIAL_TOKENS:
            assert after.convert_tokens_to_ids(token) not in backend.encode(f"a {token}{token}b").ids
    finally:
        backend.encode_special_tokens = False


def test_extending_the_tokenizer_twice_changes_nothing(after: PreTrainedTokenizerFast) -> None:
    again = tokenizer.extend(after).backend_tokenizer.to_str()
    assert json.loads(again)["model"] == json.loads(after.backend_tokenizer.to_str())["model"]


def test_every_step_of_an_answer_is_tokenised_as_in_the_whole(after: PreTrainedTokenizerFast) -> None:
    for data_set in demo_dataset.DATASETS:
        for number in range(5):
            (turn,) = data_set.conversation(number).turns
            pieces = [token for step in turn.steps for token in after.encode(step.text)]
            assert not turn.steps or pieces == after.encode(turn.answer)
