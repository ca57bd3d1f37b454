"""The authors' checkpoints give, in float32, what their own code gives: tokens, embeddings, logits and answers."""

from pathlib import Path

import numpy as np
import pytest

from tests.support.original import cases, engine, table

pytestmark = pytest.mark.engine
CASES = {case.name: case for case in cases.all_cases()}


@pytest.fixture(scope="module")
def replies() -> dict[str, engine.Reply]:
    """The answer to each case; an engine for each checkpoint answers all of its cases."""
    return table.replies()


@pytest.mark.parametrize("name", CASES)
def test_the_prompt_has_the_tokens_of_the_authors(name: str, replies: dict[str, engine.Reply]) -> None:
    record, expected = CASES[name].record, []
    counts = iter(visual["tokens"] for visual in record["visuals"])
    for token in record["input_ids"]:
        expected += [cases.ROWS] * next(counts) if token == cases.PLACEHOLDER else [token]
    assert replies[name].prompt == expected
    assert len(expected) == record["sequence_length"]


@pytest.mark.parametrize("name", CASES)
def test_input_embeddings_are_those_of_the_authors(name: str, replies: dict[str, engine.Reply]) -> None:
    embeddings = replies[name].embeddings.numpy()
    signature = cases.signature(embeddings.astype(np.float64))
    np.testing.assert_allclose(signature[:, :4], CASES[name].signatures[:, :4], rtol=0, atol=1e-4)
    np.testing.assert_allclose(signature, CASES[name].signatures, rtol=0, atol=1e-3)


@pytest.mark.parametrize("name", ["a_land", "a_tiny", "b_two_list4d", "d_average_grid"])
def test_every_value_of_the_input_embeddings_is_that_of_the_authors(
    name: str, replies: dict[str, engine.Reply]
) -> None:
    with np.load(cases.FOLDER / "full.npz") as arrays:
        np.testing.assert_allclose(replies[name].embeddings, arrays[f"{name}.embeddings"], rtol=0, atol=1e-4)


@pytest.mark.parametrize("name", CASES)
def test_logits_are_those_of_the_authors_and_no_other_token_can_be_generated(
    name: str, replies: dict[str, engine.Reply]
) -> None:
    logits = replies[name].logits.numpy()
    np.testing.assert_allclose(logits[:, : cases.ROWS], CASES[name].logits, rtol=0, atol=1e-3)
    assert np.isneginf(logits[:, cases.ROWS :]).all()
    assert logits.shape[1] == cases.ROWS + 1


@pytest.mark.parametrize("name", CASES)
def test_greedy_answers_are_those_of_the_authors_with_and_without_the_repetition_penalty(
    name: str, replies: dict[str, engine.Reply]
) -> None:
    record = CASES[name].record
    expected = [record["greedy"], record["greedy_with_repetition_penalty"]["tokens"]]
    assert replies[name].outputs == expected


def test_the_vectors_are_all_there() -> None:
    assert len(CASES) == 52
    assert Path(cases.FOLDER / "full.npz").is_file()
