"""Conversations show new media or repeat an earlier conversation."""

import itertools
from collections import Counter
from typing import Any

import pytest

from llava_interleave_serve.benchmarks.load.requests.conversations import ConversationGenerator
from llava_interleave_serve.benchmarks.load.requests.messages import Conversation, Image, Text, Views
from llava_interleave_serve.benchmarks.load.workload.media import Media
from llava_interleave_serve.benchmarks.load.workload.schema import Kind, Repeat
from tests.support.load.conversations import first_parts, generator, pictures, text


def new_and_repeated(conversations: ConversationGenerator[Any], repeat: str) -> tuple[Conversation, Conversation]:
    """Two conversations, of which the second repeats the first in that way."""
    new, repeated = conversations.generate(), conversations.generate()
    assert (new.repeat, repeated.repeat) == ("", repeat)
    return new, repeated


@pytest.mark.parametrize("kind", ["images", "views", "frames"])
def test_new_conversations_never_share_media(kind: Kind) -> None:
    conversations = generator(kind, visuals=(4,))
    files = [picture for _ in range(20) for picture in pictures(conversations.generate())]
    assert len(set(files)) == len(files) == 80


def test_equal_seeds_give_equal_pictures_and_others_do_not() -> None:
    first, same, other = (pictures(generator("images", visuals=(2,), seed=seed).generate()) for seed in ("a", "a", "b"))
    assert first == same
    assert not set(first) & set(other)


def test_an_exact_repeat_is_the_same_request() -> None:
    new, repeated = new_and_repeated(generator("images", visuals=(3,), repeat=Repeat(exact=1.0)), "exact")
    assert new.turns == repeated.turns


def test_a_repeat_with_another_question_has_the_same_media() -> None:
    new, repeated = new_and_repeated(generator("views", visuals=(3,), repeat=Repeat(question=1.0)), "question")
    assert pictures(new) == pictures(repeated)
    assert text(new) != text(repeated)


@pytest.mark.parametrize("kind", ["images", "views"])
def test_a_repeat_in_another_order_has_the_same_pictures_and_question(kind: Kind) -> None:
    new, repeated = new_and_repeated(generator(kind, visuals=(3,), repeat=Repeat(order=1.0)), "order")
    assert pictures(new) != pictures(repeated)
    assert sorted(pictures(new)) == sorted(pictures(repeated))
    assert text(new) == text(repeated)


def test_camera_names_stay_with_their_views_in_another_order() -> None:
    conversations = new_and_repeated(generator("views", visuals=(4,), repeat=Repeat(order=1.0)), "order")
    named = []
    for conversation in conversations:
        (views,) = [part for part in first_parts(conversation) if isinstance(part, Views)]
        named.append(dict(zip(views.names, views.pictures, strict=True)))
    assert named[0] == named[1]


def test_repeats_slide_a_window_over_one_video() -> None:
    conversations = generator("frames", visuals=(6,), repeat=Repeat(sliding=1.0, slide=2))
    windows = [pictures(conversations.generate()) for _ in range(4)]
    for before, after in itertools.pairwise(windows):
        assert before[2:] == after[:4]
        assert not set(before) & set(after[4:])


def test_repeats_slide_a_window_over_one_sequence_of_scenes() -> None:
    media = Media(source="scenes", sizes=((32, 32),))
    conversations = generator("frames", visuals=(6,), repeat=Repeat(sliding=1.0, slide=2), media=media)
    before, after = pictures(conversations.generate()), pictures(conversations.generate())
    assert before[2:] == after[:4]


def test_repeats_are_as_frequent_as_their_shares() -> None:
    conversations = generator("images", repeat=Repeat(exact=0.2, question=0.5))
    repeats = Counter(conversations.generate().repeat for _ in range(2000))
    assert repeats["exact"] / 2000 == pytest.approx(0.2, abs=0.04)
    assert repeats["question"] / 2000 == pytest.approx(0.5, abs=0.04)


def test_further_turns_are_about_the_media_of_the_first() -> None:
    turns = generator("images", visuals=(2,), turns=(3,)).generate().turns
    assert [len(turn.messages) for turn in turns] == [1, 3, 5]
    for before, after in itertools.pairwise(turns):
        assert after.messages[: len(before.messages)] == before.messages
        assert [message.role for message in after.messages[-2:]] == ["assistant", "user"]
        assert after.messages[-1].images == 0
    assert turns[0].messages[0].images == 2


def test_images_are_in_front_of_the_text_or_alternate_with_it() -> None:
    def part_types(placement: str) -> list[type]:
        conversations = generator("images", visuals=(3,), prompt_words=(12,), placement=placement)
        return [type(part) for part in first_parts(conversations.generate())]

    assert part_types("front") == [Image, Image, Image, Text]
    assert part_types("alternating") == [Text, Image] * 3 + [Text]


def test_random_placements_differ_and_keep_every_word() -> None:
    conversations = generator("images", visuals=(2,), prompt_words=(10,), placement="random")
    generated = [conversations.generate() for _ in range(30)]
    orders = {tuple(type(part) for part in first_parts(conversation)) for conversation in generated}
    assert len(orders) > 3
    assert all(len(text(conversation).split()) == 10 for conversation in generated)


def test_questions_and_answers_have_the_lengths_of_the_class() -> None:
    conversations = generator("text", prompt_words=(3, 5), answer_tokens=(7, 9))
    generated = [conversations.generate() for _ in range(50)]
    assert {len(text(conversation).split()) for conversation in generated} == {3, 5}
    assert {conversation.turns[0].max_tokens for conversation in generated} == {7, 9}
