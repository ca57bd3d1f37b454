"""Wide scenes: things of many sizes and styles that can be told from their paper, and pictures of nothing."""

import colorsys
import itertools
import math
import random

import numpy as np
import pytest

from llava_interleave_serve.demo.scenes import colours, comparisons, questions, stories
from llava_interleave_serve.demo.scenes.composing import WIDE
from llava_interleave_serve.demo.scenes.drawing import KINDS, Finish, Kind, Scene, Thing
from llava_interleave_serve.demo.scenes.frames import DIRECTIONS, moving
from llava_interleave_serve.demo.scenes.papers import marks, patterns
from llava_interleave_serve.demo.scenes.papers import paper as papers

RED_CIRCLE = Kind("red", "circle")


def wide_scenes(number: int) -> list[Scene]:
    rngs = [random.Random(seed) for seed in range(number)]
    return [WIDE.compose(rng, questions.some_kinds(rng, WIDE.most_alone, WIDE)) for rng in rngs]


def in_pixels(scene: Scene, thing: Thing) -> tuple[float, float, float]:
    """Centre and radius of a thing in the drawing."""
    assert scene.finish is not None
    width, height = scene.finish.width, scene.finish.height
    return thing.x * width, thing.y * height, thing.radius * math.sqrt(width * height)


class TestWideScenes:
    def test_the_regions_of_the_colours_are_disjoint(self) -> None:
        for one, other in itertools.combinations(colours.REGIONS.values(), 2):
            assert any(a[1] < b[0] or b[1] < a[0] for a, b in zip(one, other, strict=True))

    @pytest.mark.parametrize("colour", colours.REGIONS)
    def test_every_shade_lies_in_its_colours_region(self, colour: str) -> None:
        (low, high), saturations, values = colours.REGIONS[colour]
        for seed in range(200):
            shade = colours.wide_shade(random.Random(seed), colour)
            hue, saturation, value = colorsys.rgb_to_hsv(*(channel / 255 for channel in shade))
            degrees = hue * 360 - (360 if hue * 360 > 340 and low < 0 else 0)
            assert colour == "black" or low - 1 <= degrees <= high + 1
            assert colour == "black" or saturations[0] - 0.01 <= saturation <= saturations[1]
            assert values[0] - 0.01 <= value <= values[1] + 0.05

    def test_things_differ_from_their_paper_and_do_not_touch(self) -> None:
        for scene in wide_scenes(80):
            assert scene.finish is not None
            for thing in scene.things:
                assert min(colours.distance(thing.rgb, rgb) for rgb in scene.finish.paper.colours) > WIDE.DIFFERENCE
            for one, other in itertools.combinations(scene.things, 2):
                (x, y, radius), (other_x, other_y, other_radius) = in_pixels(scene, one), in_pixels(scene, other)
                assert math.hypot(x - other_x, y - other_y) > 1.15 * (radius + other_radius)

    def test_sizes_numbers_ratios_and_styles_are_of_the_whole_range(self) -> None:
        scenes = wide_scenes(300)
        assert {len(scene.things) for scene in scenes} == set(range(7))
        finishes = [scene.finish for scene in scenes if scene.finish]
        ratios = [finish.width / finish.height for finish in finishes]
        assert min(ratios) < 0.5
        assert max(ratios) > 2
        diameters = [
            2 * in_pixels(scene, thing)[2] / max(scene.finish.width, scene.finish.height)
            for scene in scenes
            if scene.finish
            for thing in scene.things
        ]
        assert 0.049 < min(diameters) < 0.07
        assert max(diameters) > 0.7
        things = [thing for scene in scenes for thing in scene.things]
        assert any(thing.line for thing in things)
        assert any(thing.border_width for thing in things)
        for values in ([finish.smooth for finish in finishes], [bool(finish.blur) for finish in finishes]):
            assert set(values) == {True, False}
        assert min(finish.quality for finish in finishes if finish.quality) < 40

    def test_the_border_cuts_some_things_a_little(self) -> None:
        cuts = [0, 0]
        for scene in wide_scenes(200):
            assert scene.finish is not None
            for thing in scene.things:
                *centre, radius = in_pixels(scene, thing)
                for axis, side in enumerate((scene.finish.width, scene.finish.height)):
                    beyond = max(radius - centre[axis], centre[axis] + radius - side)
                    assert beyond < 0.21 * radius
                    cuts[axis] += beyond > 1e-6
        assert min(cuts) > 20

    def test_several_pictures_show_up_to_three_things_and_a_change_may_be_of_the_only_one(self) -> None:
        rngs = [random.Random(seed) for seed in range(60)]
        for scenes in (
            [questions.images(rng, 6, 1, WIDE) for rng in rngs],
            [questions.cameras(rng, 5, 1, WIDE) for rng in rngs],
        ):
            assert {len(scene.things) for each in scenes for scene in each.scenes} == {0, 1, 2, 3}
        assert {len(questions.difference(rng, 1, WIDE).scenes[0].things) for rng in rngs} == {1, 2, 3}

    def test_a_picture_follows_from_its_scene(self) -> None:
        for scene in wide_scenes(30):
            picture = scene.draw(64)
            assert picture.shape == (64, 64, 3)
            assert (picture == scene.draw(64)).all()

    def test_an_outline_leaves_the_paper_inside(self) -> None:
        paper = papers.Paper("plain", (255, 255, 255), (255, 255, 255))
        thing = Thing(RED_CIRCLE, 0.5, 0.5, 0.3, 0.0, (255, 0, 0), line=0.2)
        filled = Thing(RED_CIRCLE, 0.5, 0.5, 0.3, 0.0, (255, 0, 0), border=(0, 0, 255), border_width=0.2)
        for one, middle, edge in ((thing, (255, 255, 255), (255, 0, 0)), (filled, (255, 0, 0), (0, 0, 255))):
            picture = Scene((one,), paper.rgb, finish=Finish(paper, 200, 200)).draw(200)
            assert tuple(picture[100, 100]) == middle
            assert tuple(picture[100, 160]) == edge

    def test_a_change_can_be_seen(self) -> None:
        for seed in range(60):
            rng = random.Random(seed)
            conversation = comparisons.edited(rng, 2, WIDE)
            before, after = conversation.scenes
            assert before.finish == after.finish
            assert (before.draw(96) != after.draw(96)).any()
            for thing in after.things:
                assert after.finish
                assert min(colours.distance(thing.rgb, rgb) for rgb in after.finish.paper.colours) > WIDE.DIFFERENCE

    @pytest.mark.parametrize("direction", DIRECTIONS)
    def test_what_moves_stays_in_the_picture(self, direction: str) -> None:
        for seed in range(30):
            frames = moving(random.Random(seed), RED_CIRCLE, direction, 8, WIDE)
            places = np.array([(frame.things[0].x, frame.things[0].y) for frame in frames])
            assert (places > 0).all()
            assert (places < 1).all()
            assert np.ptp(places, axis=0).max() >= 0.4 - 1e-9
            assert len({frame.finish for frame in frames}) == 1

    def test_a_series_is_drawn_on_one_paper_at_one_place(self) -> None:
        for seed in range(20):
            scenes = stories.same_place_scenes(random.Random(seed), KINDS[:9:4], WIDE)
            assert len({(scene.things[0].x, scene.finish) for scene in scenes}) == 1


class TestPicturesOfNothing:
    @pytest.mark.parametrize("mark", marks.MARKS)
    def test_every_mark_can_be_seen(self, mark: str) -> None:
        for seed in range(10):
            bare = papers.Paper("plain", (255, 255, 255), (255, 255, 255), seed=seed)
            marked = papers.Paper("plain", (255, 255, 255), (255, 255, 255), (mark,), seed)
            assert (np.asarray(bare.draw(150, 100)) == 255).all()
            assert (np.asarray(marked.draw(150, 100)) != 255).any()

    @pytest.mark.parametrize("pattern", patterns.PATTERNS)
    def test_a_pattern_lies_between_its_two_colours(self, pattern: str) -> None:
        for seed in range(5):
            picture = np.asarray(papers.Paper(pattern, (10, 200, 30), (90, 20, 30), seed=seed).draw(120, 80))
            assert picture.shape == (80, 120, 3)
            assert (picture.min((0, 1)) >= (10, 20, 30)).all()
            assert (picture.max((0, 1)) <= (90, 200, 30)).all()

    def test_families_answer_that_they_know_nothing(self) -> None:
        empty = WIDE.compose(random.Random(0), [])
        assert questions.describe(random.Random(0), [empty]).answer == questions.NOTHING
        assert questions.describe(random.Random(0), [empty, empty]).answer == questions.NOTHING
        answers = {
            turn.answer
            for seed in range(200)
            for make in (lambda rng: questions.video(rng, 6, 2, WIDE), lambda rng: questions.cameras(rng, 2, 4, WIDE))
            for turn in make(random.Random(seed)).turns
            if turn.family in ("first", "last", "shown")
        }
        assert questions.NOTHING in answers
