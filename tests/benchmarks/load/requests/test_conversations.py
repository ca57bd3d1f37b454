"""What conversations show, and how they go back to what was shown before."""

import itertools
import random
from collections import Counter
from pathlib import Path

import pytest
from PIL import Image as Pillow

from llava_interleave_serve.benchmarks.load.requests import probes
from llava_interleave_serve.benchmarks.load.requests.deck import Deck
from llava_interleave_serve.benchmarks.load.requests.messages import (
    Conversation,
    Frames,
    Image,
    Part,
    Text,
    Video,
    Views,
)
from llava_interleave_serve.benchmarks.load.workload.media import Media
from llava_interleave_serve.benchmarks.load.workload.schema import Repeat, RequestClass, WorkloadError

SMALL = Media(sizes=((64, 48),), clip_frames=(8,))


def deck(kind: str, *, seed: str = "test", **fields: object) -> Deck:
    return Deck(RequestClass(name=kind, kind=kind, **{"media": SMALL, **fields}), seed)  # type: ignore[arg-type]


def first(conversation: Conversation) -> tuple[Part, ...]:
    return conversation.turns[0].messages[0].parts


def pictures(conversation: Conversation) -> list[bytes]:
    found = []
    for part in first(conversation):
        match part:
            case Image(picture):
                found.append(picture.file()[1])
            case Frames(shown) | Views(shown):
                found += [picture.file()[1] for picture in shown]
            case _:
                pass
    return found


def words(conversation: Conversation) -> str:
    return " ".join(part.text for part in first(conversation) if isinstance(part, Text))


def drawn_as(one: Deck, repeat: str) -> tuple[Conversation, Conversation]:
    """Two conversations, of which the second repeats the first so."""
    fresh, again = one.draw(), one.draw()
    assert (fresh.repeat, again.repeat) == ("", repeat)
    return fresh, again


@pytest.mark.parametrize("kind", ["images", "views", "frames"])
def test_new_media_are_never_the_same_twice(kind: str) -> None:
    one = deck(kind, visuals=(4,))
    shown = [picture for _ in range(20) for picture in pictures(one.draw())]
    assert len(set(shown)) == len(shown) == 80


def test_what_is_drawn_follows_from_the_seed() -> None:
    one, same, other = (pictures(deck("images", visuals=(2,), seed=seed).draw()) for seed in ("a", "a", "b"))
    assert one == same
    assert not set(one) & set(other)


def test_an_exact_repeat_is_the_same_request() -> None:
    fresh, again = drawn_as(deck("images", visuals=(3,), repeat=Repeat(exact=1.0)), "exact")
    assert fresh.turns == again.turns


def test_another_question_is_about_the_same_media() -> None:
    fresh, again = drawn_as(deck("views", visuals=(3,), repeat=Repeat(question=1.0)), "question")
    assert pictures(fresh) == pictures(again)
    assert words(fresh) != words(again)


@pytest.mark.parametrize("kind", ["images", "views"])
def test_another_order_has_the_same_pictures_and_the_same_question(kind: str) -> None:
    fresh, again = drawn_as(deck(kind, visuals=(3,), repeat=Repeat(order=1.0)), "order")
    assert pictures(fresh) != pictures(again)
    assert sorted(pictures(fresh)) == sorted(pictures(again))
    assert words(fresh) == words(again)


def test_names_stay_with_their_views_in_another_order() -> None:
    fresh, again = drawn_as(deck("views", visuals=(4,), repeat=Repeat(order=1.0)), "order")
    named = []
    for one in (fresh, again):
        (views,) = [part for part in first(one) if isinstance(part, Views)]
        named.append(dict(zip(views.names, views.pictures, strict=True)))
    assert named[0] == named[1]


def test_a_window_slides_over_one_video() -> None:
    one = deck("frames", visuals=(6,), repeat=Repeat(sliding=1.0, slide=2))
    windows = [pictures(one.draw()) for _ in range(4)]
    for before, after in itertools.pairwise(windows):
        assert before[2:] == after[:4]
        assert not set(before) & set(after[4:])


def test_a_window_over_scenes_slides_too() -> None:
    media = Media(source="scenes", sizes=((32, 32),))
    one = deck("frames", visuals=(6,), repeat=Repeat(sliding=1.0, slide=2), media=media)
    before, after = pictures(one.draw()), pictures(one.draw())
    assert before[2:] == after[:4]


def test_repeats_come_as_often_as_asked() -> None:
    one = deck("images", repeat=Repeat(exact=0.2, question=0.5))
    seen = Counter(one.draw().repeat for _ in range(2000))
    assert seen["exact"] / 2000 == pytest.approx(0.2, abs=0.04)
    assert seen["question"] / 2000 == pytest.approx(0.5, abs=0.04)


def test_a_conversation_goes_on_about_the_media_of_its_first_turn() -> None:
    turns = deck("images", visuals=(2,), turns=(3,)).draw().turns
    assert [len(turn.messages) for turn in turns] == [1, 3, 5]
    for before, after in itertools.pairwise(turns):
        assert after.messages[: len(before.messages)] == before.messages
        assert [message.role for message in after.messages[-2:]] == ["assistant", "user"]
        assert after.messages[-1].images == 0
    assert turns[0].messages[0].images == 2


def test_images_stand_where_the_placement_says() -> None:
    def kinds(placement: str) -> list[type]:
        one = deck("images", visuals=(3,), prompt_words=(12,), placement=placement)
        return [type(part) for part in first(one.draw())]

    assert kinds("front") == [Image, Image, Image, Text]
    assert kinds("alternating") == [Text, Image] * 3 + [Text]


def test_random_places_differ_and_keep_every_word() -> None:
    one = deck("images", visuals=(2,), prompt_words=(10,), placement="random")
    drawn = [one.draw() for _ in range(30)]
    assert len({tuple(type(part) for part in first(each)) for each in drawn}) > 3
    assert all(len(words(each).split()) == 10 for each in drawn)


def test_lengths_are_as_asked() -> None:
    one = deck("text", prompt_words=(3, 5), answer_tokens=(7, 9))
    drawn = [one.draw() for _ in range(50)]
    assert {len(words(each).split()) for each in drawn} == {3, 5}
    assert {each.turns[0].max_tokens for each in drawn} == {7, 9}


@pytest.mark.parametrize("family", ["which", "camera"])
def test_in_another_order_another_answer_is_right(family: str) -> None:
    kind = "views" if family == "camera" else "images"
    one = deck(
        kind, visuals=(4,), ask=family, repeat=Repeat(order=1.0), media=Media(source="scenes", sizes=((32, 32),))
    )
    fresh = one.draw()
    again = [one.draw() for _ in range(8)]
    assert all(sorted(pictures(each)) == sorted(pictures(fresh)) for each in again)
    assert all(pictures(each) != pictures(fresh) for each in again[:1])
    answers = {each.turns[0].right for each in (fresh, *again)}
    # An image's number changes with its place; a camera keeps its name wherever it stands.
    assert (len(answers) > 1) == (family == "which")


@pytest.mark.parametrize(
    ("family", "kind"), [("first", "video"), ("last", "frames"), ("motion", "frames"), ("count", "images")]
)
def test_every_family_has_a_right_answer(family: str, kind: str) -> None:
    media = Media(source="scenes", sizes=((32, 32),), clip_frames=(6,))
    turn = deck(kind, visuals=(4,), ask=family, media=media).draw().turns[0]
    assert turn.right


def test_a_probe_whose_answer_has_no_order_cannot_be_reordered() -> None:
    probe = probes.make("count", random.Random(0), 3)
    with pytest.raises(ValueError, match="do not follow the order"):
        probes.reordered("count", probe, random.Random(0))


def test_files_of_a_folder_are_sent_as_they_are(tmp_path: Path) -> None:
    for at in range(3):
        Pillow.new("RGB", (20, 20), (at * 80, 0, 0)).save(tmp_path / f"{at}.png")
    (tmp_path / "notes.txt").write_text("no picture")
    media = Media(source="folder", folder=str(tmp_path))
    sent = set(pictures(deck("images", visuals=(20,), media=media).draw()))
    assert sent == {(tmp_path / f"{at}.png").read_bytes() for at in range(3)}
    window = pictures(deck("frames", visuals=(3,), media=media).draw())
    assert sorted(window) == sorted(sent)


def test_a_folder_without_what_is_wanted_is_an_error(tmp_path: Path) -> None:
    media = Media(source="folder", folder=str(tmp_path))
    with pytest.raises(WorkloadError, match="no picture"):
        deck("images", media=media).draw()
    with pytest.raises(WorkloadError, match="no video"):
        deck("video", media=media).draw()


def test_a_video_is_a_file_with_its_frames() -> None:
    (video, _) = first(deck("video", visuals=(4,)).draw())
    assert isinstance(video, Video)
    kind, content = video.clip.file()
    assert (kind, content[4:8]) == ("mp4", b"ftyp")
    assert len(video.clip.sample(4)) == 4
    assert len(video.clip.sample(100)) == 8
