"""What is asked about held-out drawings has the answer that the drawings tell, in the words of training."""

import functools
import math
import random
import re

import pytest

from llava_interleave_serve.demo.held_out import composition, families
from llava_interleave_serve.demo.held_out.colours import CLEAR_DIFFERENCE, difference, named
from llava_interleave_serve.demo.held_out.drawings import Drawing
from llava_interleave_serve.demo.held_out.families import FAMILIES, Plan
from llava_interleave_serve.demo.scenes.drawing import KINDS
from llava_interleave_serve.demo.scenes.families import FAMILIES as TRAINED

NUMBERS = range(40)
THING = re.compile("|".join(map(str, KINDS)))


@functools.cache
def plans(family: str) -> list[Plan]:
    return [FAMILIES[family](random.Random(number)) for number in NUMBERS]


def drawings() -> list[Drawing]:
    return [drawing for family in FAMILIES for plan in plans(family) for drawing in plan.drawings]


@pytest.mark.parametrize("family", [family for family in FAMILIES if family in TRAINED])
def test_held_out_questions_have_the_words_of_training(family: str) -> None:
    trained = [TRAINED[family](random.Random(number)).turns[0] for number in range(150)]
    questions = {THING.sub("THING", turn.question) for turn in trained}
    assert {THING.sub("THING", plan.question) for plan in plans(family)} == questions


def test_a_description_names_each_thing_once_in_the_order_of_ranks() -> None:
    for plan in plans("describe"):
        (drawing,) = plan.drawings
        assert 1 <= len(drawing.things) <= 6
        assert THING.findall(plan.answer) == [str(kind) for kind in KINDS if kind in drawing.kinds]


def test_only_the_image_of_the_answer_shows_the_kind() -> None:
    for plan in plans("which"):
        kind = THING.findall(plan.question)[0]
        showing = [index for index, drawing in enumerate(plan.drawings) if kind in map(str, drawing.kinds)]
        assert plan.answer == f"Image {showing[0] + 1}."
        assert len(showing) == 1


def test_only_the_camera_of_the_answer_sees_the_kind() -> None:
    for plan in plans("camera"):
        kind = THING.findall(plan.question)[0]
        seeing = [name for name, each in zip(plan.names, plan.drawings, strict=True) if kind in map(str, each.kinds)]
        assert [plan.answer] == [f"{name}." for name in seeing]


def test_two_drawings_differ_in_what_the_answer_tells() -> None:
    verbs = set()
    for plan in plans("change"):
        before, after = (set(map(str, drawing.kinds)) for drawing in plan.drawings)
        gone, new = " ".join(before - after), " ".join(after - before)
        colour, _, shape = new.partition(" ")
        right = {f"A {new} appeared.", f"The {gone} disappeared."} if not (gone and new) else set()
        right |= {f"The {gone} became {colour}.", f"The {gone} became a {shape}."} if gone and new else set()
        assert plan.answer in right
        assert len(before - after) <= 1
        assert len(after - before) <= 1
        if gone and new:
            same = gone.split()[1] == shape if f" {colour}." in plan.answer else gone.split()[0] == colour
            assert same
        verbs.add(plan.answer.split()[-1].strip(".") if not (gone and new) else f"became {' a ' in plan.answer}")
        unchanged = [
            [thing for thing in drawing.things if str(thing.kind) in before & after] for drawing in plan.drawings
        ]
        assert unchanged[0] == unchanged[1]
        assert plan.drawings[0].paper == plan.drawings[1].paper
    assert verbs == {"appeared", "disappeared", "became True", "became False"}


@pytest.mark.parametrize(("family", "frame"), [("first", 0), ("last", -1)])
def test_the_answer_names_the_only_thing_of_the_first_or_last_frames(family: str, frame: int) -> None:
    for plan in plans(family):
        assert plan.video
        assert len(plan.drawings) == families.FRAMES
        assert all(len(drawing.things) == 1 for drawing in plan.drawings)
        assert THING.findall(plan.answer) == [str(plan.drawings[frame].kinds[0])]
        shown = [drawing.kinds[0] for drawing in plan.drawings]
        assert all(shown.count(kind) >= families.LEAST_SHOWN for kind in shown)


def test_a_moving_thing_goes_the_way_of_the_answer_and_stays_inside() -> None:
    ways = {"It moves to the left.": (-1, 0), "It moves to the right.": (1, 0), "It moves up.": (0, -1),
            "It moves down.": (0, 1)}  # fmt: skip
    seen = set()
    for plan in plans("motion"):
        (start,), (end,) = plan.drawings[0].things, plan.drawings[-1].things
        dx, dy = (end.x - start.x) / plan.drawings[0].width, (end.y - start.y) / plan.drawings[0].height
        way = ways[plan.answer]
        assert dx * way[0] + dy * way[1] >= families.LEAST_TRAVEL
        assert abs(dx * way[1]) + abs(dy * way[0]) == 0
        assert THING.findall(plan.question) in ([], [str(start.kind)])
        seen.add(plan.answer)
    assert seen == set(ways)


def test_things_do_not_touch_lie_in_the_picture_and_have_centres_apart() -> None:
    for drawing in drawings():
        shorter = min(drawing.width, drawing.height)
        for index, thing in enumerate(drawing.things):
            assert 2 * thing.radius >= composition.LEAST_PIXELS - 1e-9
            assert 2 * thing.radius <= shorter * composition.GREATEST_DIAMETER + 1e-9
            inset = thing.radius * (1 - 2 * composition.MOST_CUT) - 1e-9
            assert inset <= thing.x <= drawing.width - inset
            assert inset <= thing.y <= drawing.height - inset
            for other in drawing.things[:index]:
                dx, dy = thing.x - other.x, thing.y - other.y
                assert math.hypot(dx, dy) > thing.radius + other.radius
                assert math.hypot(dx / drawing.width, dy / drawing.height) >= composition.CENTRES_APART


def test_every_thing_has_a_shade_of_its_name_that_is_seen_on_the_paper() -> None:
    for drawing in drawings():
        for thing in drawing.things:
            assert named(thing.rgb) == thing.kind.colour
            assert all(difference(thing.rgb, other) >= CLEAR_DIFFERENCE for other in drawing.paper.colours)
            if thing.style == "outlined":
                assert thing.line_rgb == thing.rgb
                assert thing.line_width >= thing.radius / 6


def test_pictures_have_the_sizes_that_are_promised_and_a_quarter_of_the_papers_is_special() -> None:
    drawn = [composition.compose(random.Random(number), [KINDS[0]]) for number in range(600)]
    for drawing in drawn:
        assert min(drawing.width, drawing.height) >= 96
        assert max(drawing.width, drawing.height) <= 1024
        assert 1 / 3.05 <= drawing.width / drawing.height <= 3.05
    special = sum(drawing.paper.style != "plain" for drawing in drawn)
    assert 100 <= special <= 200  # 150 are expected, with a deviation of 10.6
