"""The drawings by hand are forty, of every shape and colour, and are drawn as they were recorded."""

import json

import numpy as np

from llava_interleave_serve.demo.held_out.colours import REGIONS, named
from llava_interleave_serve.demo.held_out.composition import differs
from llava_interleave_serve.demo.held_out.conversations import conversation
from llava_interleave_serve.demo.held_out.hand.sketches import FILE, hand
from llava_interleave_serve.demo.held_out.registry import renderer
from llava_interleave_serve.demo.scenes.questions import listing


def test_the_hand_made_forty_drawings_of_every_shape_and_colour() -> None:
    things = [thing for drawing in hand().drawings for thing in drawing.things]
    assert len(hand().drawings) == 40
    assert {thing.kind.shape for thing in things} == {"circle", "square", "triangle", "star"}
    assert {thing.kind.colour for thing in things} == set(REGIONS)
    assert {thing.style for thing in things} == {"filled", "bordered", "outlined"}
    assert any(sketch.hatching for sketches in hand().sketches.values() for sketch in sketches)


def test_things_by_hand_have_the_colours_that_they_are_called_and_are_seen_on_the_paper() -> None:
    for drawing in hand().drawings:
        for thing in drawing.things:
            assert named(thing.rgb) == thing.kind.colour
            assert differs(thing.rgb, drawing.paper)
        assert len(set(drawing.kinds)) == len(drawing.things)


def test_the_descriptions_by_hand_are_of_the_forty_drawings_in_order() -> None:
    answers = [conversation("hand", "describe", number).answer for number in range(41)]
    assert answers == [listing(drawing.kinds) for drawing in (*hand().drawings, hand().drawings[0])]


def test_a_line_by_hand_goes_through_its_recorded_positions() -> None:
    for record, drawing in zip(json.loads(FILE.read_text()), hand().drawings, strict=True):
        picture = renderer("hand").draw(drawing)
        for each in record["things"]:
            for x, y in each["line"]:
                if 0 <= x < drawing.width and 0 <= y < drawing.height:
                    assert np.abs(picture[y, x].astype(int) - each["line_rgb"]).max() <= 2


def test_the_line_by_hand_is_bent_and_need_not_close() -> None:
    circles = [sketch.line for sketch in hand().sketches["circle"]]
    radii = [np.hypot(*line.T) for line in circles]
    assert all(0.01 < each.std() < 0.1 for each in radii)
    gaps = [
        np.hypot(*(line[0] - line[-1])) for sketches in hand().sketches.values() for line in [s.line for s in sketches]
    ]
    assert sum(gap > 0.01 for gap in gaps) > len(gaps) / 2
