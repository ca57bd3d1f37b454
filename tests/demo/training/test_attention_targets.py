"""Attention targets mark the patches that decide an answer, and all things that are counted."""

import random

import numpy as np
import pytest

from llava_interleave_serve.demo import architecture
from llava_interleave_serve.demo.scenes import comparisons, directions, questions, signs, stories
from llava_interleave_serve.demo.scenes.drawing import FORMS, Kind, Scene, Thing
from llava_interleave_serve.demo.scenes.questions import Conversation, Turn
from llava_interleave_serve.demo.training import attention_targets

RED_CIRCLE, BLUE_STAR, RED_STAR = Kind("red", "circle"), Kind("blue", "star"), Kind("red", "star")
GRID = architecture.GRID
LEFT, RIGHT = 2 * GRID + 1, 2 * GRID + 5  # the patches of the centres of two things


def scene(*kinds: Kind) -> Scene:
    """Things whose centres are in the patches LEFT and RIGHT."""
    places = [((patch % GRID + 0.5) / GRID, (patch // GRID + 0.5) / GRID) for patch in (LEFT, RIGHT)]
    things = tuple(
        Thing(kind, x, y, 0.11, 0.0, (0, 0, 0)) for kind, (x, y) in zip(kinds, places[: len(kinds)], strict=True)
    )
    return Scene(things, (255, 255, 255))


def targets_of(conversation: Conversation) -> list[list[tuple[int, int]]]:
    """The (visual, patch) pairs that tell each step of the only turn; of patches only LEFT and RIGHT."""
    (steps,) = attention_targets.step_targets(conversation, scene_labels(conversation))
    return [[(int(v), int(p)) for v, p in np.argwhere(step) if p in (LEFT, RIGHT)] for step in steps]


def scene_labels(conversation: Conversation) -> np.ndarray:
    return np.stack([scene.patch_labels(GRID) for scene in conversation.scenes])


SCENES = [scene(RED_CIRCLE, BLUE_STAR), scene(RED_STAR, BLUE_STAR), scene(RED_CIRCLE)]


@pytest.mark.parametrize(
    ("turn", "expected"),
    [
        (Turn("", "", "which", "red star"), [(1, LEFT)]),
        (Turn("", "", "camera", "blue star"), [(0, RIGHT), (1, RIGHT)]),
        (Turn("", "", "face", "red star"), [(1, LEFT)]),
        (Turn("", "", "both", "red circle"), [(0, LEFT), (2, LEFT)]),
        (Turn("", "", "count", "star"), [(1, RIGHT)]),
        (Turn("", "", "count", "red"), [(2, LEFT)]),
        (Turn("", "", "count", "green"), []),
        (Turn("", "", "shown", "second"), [(1, LEFT), (1, RIGHT)]),
        (Turn("", "", "first"), [(0, LEFT), (0, RIGHT)]),
        (Turn("", "", "last"), [(2, LEFT)]),
        (Turn("", "", "motion"), [(2, LEFT)]),
        (Turn("", "", "greeting"), []),
        (Turn("", "", "describe"), [(0, LEFT), (0, RIGHT), (1, LEFT), (1, RIGHT), (2, LEFT)]),
    ],
)
def test_the_attention_target_is_the_patches_that_decide_the_answer(
    turn: Turn, expected: list[tuple[int, int]]
) -> None:
    assert targets_of(Conversation(SCENES, [turn])) == [expected]


def test_the_attention_target_of_each_listed_thing_is_this_thing() -> None:
    turn = questions.stepwise_turn("", questions.listing_steps(SCENES[0].kinds, 0), "describe")
    assert turn.answer == "A red circle and a blue star."
    assert targets_of(Conversation(SCENES[:1], [turn])) == [[(0, LEFT)], [(0, RIGHT)]]


def test_an_answer_that_names_nothing_has_no_attention_target() -> None:
    turn = questions.stepwise_turn("", questions.listing_steps([], 0), "describe")
    assert turn.answer == "Nothing that I know."
    assert targets_of(Conversation([scene()], [turn])) == [[]]


@pytest.mark.parametrize("family", ["change", "edit"])
def test_the_attention_target_of_a_change_is_the_difference_in_both_images(family: str) -> None:
    assert targets_of(Conversation(SCENES[:2], [Turn("", "", family)])) == [[(0, LEFT), (1, LEFT)]]


def test_the_attention_target_of_a_named_camera_is_its_view() -> None:
    conversation = Conversation(
        SCENES, [Turn("", "", "shown", "CAM_BACK")], names=["CAM_FRONT", "CAM_BACK", "CAM_BACK_LEFT"]
    )
    assert targets_of(conversation) == [[(1, LEFT), (1, RIGHT)]]


def test_the_attention_target_of_each_story_step_is_its_own_image() -> None:
    (steps,) = (
        attention_targets.step_targets(conversation, scene_labels(conversation))[0]
        for conversation in [stories.story(random.Random(3), 3, 1)]
    )
    assert [sorted(set(np.argwhere(step)[:, 0].tolist())) for step in steps] == [[0], [1], [2]]


def test_the_attention_target_of_each_sign_step_is_its_own_letter() -> None:
    conversation = signs.reading(random.Random(5))
    letters = scene_labels(conversation)[0, :, 0]
    (steps,) = attention_targets.step_targets(conversation, scene_labels(conversation))
    for step, letter in zip(steps, conversation.turns[0].answer, strict=False):
        assert set(letters[step[0]].tolist()) == {1 + FORMS.index(letter)}
    assert (np.sum(steps, axis=0) == (letters > 0)).all()


@pytest.mark.parametrize(
    ("turn", "expected"),
    [
        (Turn("", "", "count", "shapes"), 5),
        (Turn("", "", "count", "red"), 3),
        (Turn("", "", "count", "star"), 3),
        (Turn("", "", "count", "yellow"), 0),
        (Turn("", "", "both", "blue star"), 2),
        (Turn("", "", "which", "blue star"), 0),
    ],
)
def test_the_count_target_marks_the_centre_of_every_counted_thing(turn: Turn, expected: int) -> None:
    marked = attention_targets.count_targets(turn, scene_labels(Conversation(SCENES, [turn])))
    assert marked.sum() == expected
    assert set(np.argwhere(marked)[:, 1].tolist()) <= {LEFT, RIGHT}


def test_the_count_target_marks_a_thing_in_both_images_twice() -> None:
    for seed in range(30):
        conversation = comparisons.alike(random.Random(seed), 3)
        for turn in conversation.turns:
            assert (attention_targets.count_targets(turn, scene_labels(conversation)).sum() == 2) == (
                turn.answer == "Yes."
            )


def test_every_answer_about_visuals_has_an_attention_target() -> None:
    for seed in range(20):
        rng = random.Random(seed)
        for conversation in (
            comparisons.edited(rng, 2), comparisons.captioned(rng, 3), comparisons.compared(rng, 2),
            stories.puzzle(rng, 4), stories.video(rng, 8, 2), signs.reading(rng), directions.cameras(rng, 4, 4),
            questions.cameras(rng, 3, 3),
        ):  # fmt: skip
            for turn, steps in zip(
                conversation.turns,
                attention_targets.step_targets(conversation, scene_labels(conversation)),
                strict=True,
            ):
                assert turn.family == "count" or all(step.any() for step in steps), turn
