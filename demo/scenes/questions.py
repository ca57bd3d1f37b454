"""Conversations about scenes: visuals, questions about them, and the right answers.

A conversation is a list of visuals and several turns about them. Each function that draws one takes a random generator,
so that every conversation follows from its seed.
"""

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import NamedTuple

from llava_interleave_serve.demo.scenes.colours import COLOURS
from llava_interleave_serve.demo.scenes.composing import PLAIN, Artist, change
from llava_interleave_serve.demo.scenes.drawing import KINDS, SHAPES, Kind, Scene
from llava_interleave_serve.demo.scenes.frames import DIRECTIONS, moving, sequence

MAX_COUNT = 6
EMPTY_SHARE = 0.12  # of wide videos of one thing after another: the first or the last picture shows nothing
ORDINALS = ("first", "second", "third", "fourth", "fifth", "sixth", "seventh", "eighth")
CAMERAS = ("CAM_FRONT", "CAM_FRONT_LEFT", "CAM_FRONT_RIGHT", "CAM_BACK", "CAM_BACK_LEFT", "CAM_BACK_RIGHT")

# The topics of questions: none in particular, a thing, a shape, a colour, all shapes, an image, a camera, a quality of
# pictures, the next thing of a series, or the letters of a sign.
TOPICS = ("", *map(str, KINDS), *SHAPES, *COLOURS, "shapes", *ORDINALS, *CAMERAS, "dark", "noisy", "next", "letters")


class Step(NamedTuple):
    """A piece of an answer.

    visual: the index of the visual that tells it.
    kind: of the thing that tells it; None: all things of the visual do.
    """

    text: str
    visual: int
    kind: Kind | None = None


@dataclass(frozen=True)
class Turn:
    """One question and its right answer.

    family: the name of the kind of question.
    topic: one of TOPICS, which the question asks about.
    steps: the answer in pieces; empty if the family alone says which visuals tell it.
    """

    question: str
    answer: str
    family: str
    topic: str = ""
    steps: tuple[Step, ...] = ()


def stepwise_turn(question: str, steps: Sequence[Step], family: str, topic: str = "") -> Turn:
    """A turn whose answer is the text of its steps, one after the other."""
    return Turn(question, "".join(step.text for step in steps), family, topic, tuple(steps))


@dataclass
class Conversation:
    """Visuals, and turns about them.

    scenes: the visuals.
    turns: in the order in which they are asked.
    names: of the cameras, if the visuals are camera views, else empty.
    video: True if the visuals are the frames of one video.
    visuals_per_turn: the number of visuals that come with each turn; if empty, all come with the first.
    """

    scenes: list[Scene]
    turns: list[Turn]
    names: list[str] = field(default_factory=list)
    video: bool = False
    visuals_per_turn: tuple[int, ...] = ()

    def visuals_of_turn(self, turn: int) -> range:
        """The indices of the visuals that come with the turn of an index."""
        numbers = self.visuals_per_turn or (len(self.scenes),)
        return range(sum(numbers[:turn]), sum(numbers[: turn + 1]))


Asker = Callable[[random.Random, list[Scene]], Turn | None]


NOTHING = "Nothing that I know."


def listing(kinds: Sequence[Kind]) -> str:
    """`A red circle, a red star and a black square.`; NOTHING if there are no kinds."""
    return "".join(step.text for step in listing_steps(kinds, 0))


def listing_steps(kinds: Sequence[Kind], visual: int) -> list[Step]:
    """The listing in one step for each kind, all of one visual."""
    if not kinds:
        return [Step(NOTHING, visual)]
    between = ["A ", *[", a "] * (len(kinds) - 2), *[" and a "] * (len(kinds) > 1)]
    texts = [f"{before}{kind}" for before, kind in zip(between, kinds, strict=True)]
    texts[-1] += "."
    return [Step(text, visual, kind) for text, kind in zip(texts, kinds, strict=True)]


def some_kinds(rng: random.Random, most: int, artist: Artist = PLAIN) -> list[Kind]:
    """Draws different kinds: 1 to `most` of them for a plain picture."""
    return rng.sample(KINDS, rng.choice(artist.numbers(most)))


def describe(rng: random.Random, scenes: list[Scene]) -> Turn:
    """Asks for the things of one image."""
    index = rng.randrange(len(scenes))
    if len(scenes) == 1:
        question = rng.choice(("What is in the image?", "What does the image show?", "Describe the image."))
        return stepwise_turn(question, listing_steps(scenes[index].kinds, index), "describe")
    question = rng.choice((f"What is in the {ORDINALS[index]} image?", f"What does image {index + 1} show?"))
    return stepwise_turn(question, listing_steps(scenes[index].kinds, index), "shown", ORDINALS[index])


def which_image(rng: random.Random, scenes: list[Scene]) -> Turn | None:
    """Asks for the only image that shows a kind; None if there is no such image among several."""
    kinds = [(kind, image) for image, scene in enumerate(scenes) for kind in scene.kinds]
    unique = [(kind, image) for kind, image in kinds if sum(kind == other for other, _ in kinds) == 1]
    if len(scenes) < 2 or not unique:
        return None
    answer = rng.choice(sorted({image for _, image in unique}))
    kind = rng.choice([kind for kind, image in unique if image == answer])
    question = rng.choice((f"Which image shows a {kind}?", f"In which image is the {kind}?"))
    return Turn(question, f"Image {answer + 1}.", "which", str(kind))


def count(rng: random.Random, scenes: list[Scene]) -> Turn | None:
    """Asks for the number of things in all images; None if there are more than MAX_COUNT."""
    kinds = [kind for scene in scenes for kind in scene.kinds]
    match rng.choice(("all", "shape", "shape", "colour", "colour")):
        case "all":
            topic, noun, number = "shapes", "shapes", len(kinds)
        case "shape":
            shape = rng.choice(SHAPES)
            topic, noun, number = shape, f"{shape}s", sum(kind.shape == shape for kind in kinds)
        case _:
            colour = rng.choice(tuple(COLOURS))
            topic, noun, number = colour, f"{colour} shapes", sum(kind.colour == colour for kind in kinds)
    if number > MAX_COUNT:
        return None
    where = "in the image" if len(scenes) == 1 else "in all images together"
    answer = f"There {'is' if number == 1 else 'are'} {number}."
    return Turn(f"How many {noun} are there {where}?", answer, "count", topic)


def ask(rng: random.Random, scenes: list[Scene], askers: Sequence[Asker], turns: int) -> list[Turn]:
    """Draws up to `turns` different questions about the scenes; at least one, unless `turns` is 0."""
    by_question: dict[str, Turn] = {}
    for _ in range(3 * turns):
        turn = rng.choice(askers)(rng, scenes)
        if turn is not None and len(by_question) < turns:
            by_question.setdefault(turn.question, turn)
    if turns > 0 and not by_question:
        return [describe(rng, scenes)]
    return list(by_question.values())


def single_image(rng: random.Random, turns: int, artist: Artist = PLAIN) -> Conversation:
    """One image, its description, and questions about numbers."""
    scenes = [artist.compose(rng, some_kinds(rng, artist.most_alone, artist))]
    first = describe(rng, scenes)
    return Conversation(scenes, [first, *ask(rng, scenes, [count], turns - 1)])


def images(rng: random.Random, number: int, turns: int, artist: Artist = PLAIN) -> Conversation:
    """Several images of few things. They share a palette of kinds, so that there is more than one of some to count."""
    palette = rng.sample(KINDS, rng.randint(6, len(KINDS)))
    numbers = artist.numbers(3 if number < 4 else artist.most_of_several)
    scenes = [artist.compose(rng, rng.sample(palette, rng.choice(numbers))) for _ in range(number)]
    askers = [which_image, count, count, count, count, describe]
    if number > 1 and turns > 1 and rng.random() < 0.15:
        # Some images come with the first turn, the others with the second.
        early = rng.randint(1, number - 1)
        later = ask(rng, scenes, askers, turns - 1)
        if later:
            return Conversation(
                scenes, ask(rng, scenes[:early], [describe], 1) + later, visuals_per_turn=(early, number - early)
            )
    return Conversation(scenes, ask(rng, scenes, askers, turns))


def difference(rng: random.Random, turns: int, artist: Artist = PLAIN) -> Conversation:
    """Two images that differ in one thing, the question what changed, and others."""
    before = artist.compose(rng, rng.sample(KINDS, rng.randint(artist.least_before_change, 3)))
    after, answer = change(rng, before, artist)
    question = rng.choice(
        ("What changed between the two images?", "What is different in the second image?", "What changed?")
    )
    scenes = [before, after]
    more = ask(rng, scenes, [describe, which_image, count], turns - 1)
    return Conversation(scenes, [Turn(question, answer, "change"), *more])


def movement(direction: str) -> str:
    """`It moves to the left.`, `It moves up.`"""
    return f"It moves {direction}." if direction in ("up", "down") else f"It moves to the {direction}."


def video(rng: random.Random, frames: int, turns: int, artist: Artist = PLAIN) -> Conversation:
    """A video of a thing that moves, or of one thing after another."""
    if rng.random() < 0.7:
        kind, direction = rng.choice(KINDS), rng.choice(tuple(DIRECTIONS))
        scenes = moving(rng, kind, direction, frames, artist)
        question = rng.choice(
            (f"Which way does the {kind} move?", f"Where does the {kind} go?", "Which way does it move?")
        )
        turns_ = [Turn(question, movement(direction), "motion")]
        if turns > 1:
            turns_.append(Turn("What does the video show?", listing([kind]), "shown"))
    else:
        kinds = rng.sample(KINDS, min(rng.randint(2, 3), frames))
        shown = [[kind] for kind in kinds]
        if 0 in artist.numbers(1) and rng.random() < EMPTY_SHARE:
            rng.choice((shown[0], shown[-1])).clear()
        scenes = sequence(rng, shown, frames, artist)
        both = [
            Turn(
                rng.choice(("What does the video show first?", "What comes first in the video?")),
                listing(shown[0]),
                "first",
            ),
            Turn(
                rng.choice(("What does the video show last?", "What comes last in the video?")),
                listing(shown[-1]),
                "last",
            ),
        ]
        rng.shuffle(both)
        turns_ = both[:turns]
    return Conversation(scenes, turns_, video=True)


GREETING = Turn("Hello!", "Hello! Show me coloured shapes and ask me about them.", "greeting")


def greeted(conversation: Conversation) -> Conversation:
    """Puts a greeting without visuals before the conversation."""
    numbers = conversation.visuals_per_turn or (len(conversation.scenes),)
    return replace(conversation, turns=[GREETING, *conversation.turns], visuals_per_turn=(0, *numbers))


def cameras(rng: random.Random, number: int, turns: int, artist: Artist = PLAIN) -> Conversation:
    """Views of differently named cameras, each kind seen by one of them."""
    names = rng.sample(CAMERAS, number)
    scenes = [artist.compose(rng, kinds) for kinds in _distribute_kinds(rng, number, artist)]
    result = []
    kinds_of_views = [(view, kind) for view, scene in enumerate(scenes) for kind in scene.kinds]
    for view, kind in rng.sample(kinds_of_views, min(turns, len(kinds_of_views))):
        result.append(
            Turn(
                rng.choice((f"Which camera sees the {kind}?", f"Which camera sees a {kind}?")),
                f"{names[view]}.",
                "camera",
                str(kind),
            )
        )
        if len(result) < turns and rng.random() < 0.3:
            result.append(_seen(scenes, names, rng.randrange(number)))
    return Conversation(scenes, result[:turns] or [_seen(scenes, names, 0)], names=names)


def _seen(scenes: list[Scene], names: list[str], view: int) -> Turn:
    """Asks what a camera sees."""
    steps = listing_steps(scenes[view].kinds, view)
    return stepwise_turn(f"What does {names[view]} see?", steps, "shown", names[view])


def _distribute_kinds(rng: random.Random, views: int, artist: Artist) -> list[list[Kind]]:
    """Draws a few kinds for each view, none of them twice; for wide scenes sometimes none."""
    kinds = iter(rng.sample(KINDS, len(KINDS)))
    numbers = artist.numbers(artist.most_of_several)
    return [[next(kinds) for _ in range(rng.choice(numbers))] for _ in range(views)]
