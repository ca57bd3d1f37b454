"""Conversations about scenes: what is shown, what is asked, and the right answers.

A conversation is one list of visuals and several turns that ask about them. Each family of questions is one function
from a random generator to a conversation, so that every conversation follows from its seed.
"""

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

from llava_interleave_serve.demo.scenes.drawing import (
    COLOURS,
    DIRECTIONS,
    KINDS,
    SHAPES,
    Kind,
    Scene,
    change,
    compose,
    moving,
    sequence,
)

MAX_COUNT = 6
ORDINALS = ("first", "second", "third", "fourth", "fifth", "sixth", "seventh", "eighth")
CAMERAS = ("CAM_FRONT", "CAM_FRONT_LEFT", "CAM_FRONT_RIGHT", "CAM_BACK", "CAM_BACK_LEFT", "CAM_BACK_RIGHT")

# What a question can name: nothing in particular, a thing, a shape, a colour, all shapes, an image, a camera, or what
# pictures differ in.
TOPICS = ("", *map(str, KINDS), *SHAPES, *COLOURS, "shapes", *ORDINALS, *CAMERAS, "dark", "noisy", "next", "letters")


@dataclass(frozen=True)
class Turn:
    """One question, its right answer, the name of what it tests, and which of the TOPICS it asks about.

    steps: the answer in pieces, each with the number of the visual that tells it; none where the family says that.
    """

    question: str
    answer: str
    family: str
    about: str = ""
    steps: tuple[tuple[str, int], ...] = ()


def stepwise(question: str, steps: Sequence[tuple[str, int]], family: str, about: str = "") -> Turn:
    """A turn whose answer is told piece by piece."""
    return Turn(question, "".join(text for text, _ in steps), family, about, tuple(steps))


@dataclass
class Conversation:
    """Visuals, named or not (camera views are), and turns about them. `video`: the visuals are one video's frames.

    `shown`: how many of the visuals come with each turn; all with the first one if empty.
    """

    scenes: list[Scene]
    turns: list[Turn]
    names: list[str] = field(default_factory=list)
    video: bool = False
    shown: tuple[int, ...] = ()

    def shown_with(self, turn: int) -> range:
        """The visuals that come with a turn."""
        shown = self.shown or (len(self.scenes),)
        return range(sum(shown[:turn]), sum(shown[: turn + 1]))


Asker = Callable[[random.Random, list[Scene]], Turn | None]


def listing(kinds: list[Kind]) -> str:
    """`A red circle, a red star and a black square.`"""
    words = [f"a {kind}" for kind in kinds]
    text = words[0] if len(words) == 1 else f"{', '.join(words[:-1])} and {words[-1]}"
    return f"A{text[1:]}."


def some_kinds(rng: random.Random, most: int) -> list[Kind]:
    """One to `most` different kinds, often alike in colour or shape, since telling those apart is what is hard."""
    return rng.sample(KINDS, rng.randint(1, most))


def describe(rng: random.Random, scenes: list[Scene]) -> Turn:
    at = rng.randrange(len(scenes))
    if len(scenes) == 1:
        question = rng.choice(("What is in the image?", "What does the image show?", "Describe the image."))
        return Turn(question, listing(scenes[at].kinds), "describe")
    question = rng.choice((f"What is in the {ORDINALS[at]} image?", f"What does image {at + 1} show?"))
    return Turn(question, listing(scenes[at].kinds), "shown", ORDINALS[at])


def which_image(rng: random.Random, scenes: list[Scene]) -> Turn | None:
    kinds = [(kind, at) for at, scene in enumerate(scenes) for kind in scene.kinds]
    single = [(kind, at) for kind, at in kinds if sum(kind == other for other, _ in kinds) == 1]
    if len(scenes) < 2 or not single:
        return None
    at = rng.choice(sorted({at for _, at in single}))
    kind = rng.choice([kind for kind, place in single if place == at])
    question = rng.choice((f"Which image shows a {kind}?", f"In which image is the {kind}?"))
    return Turn(question, f"Image {at + 1}.", "which", str(kind))


def count(rng: random.Random, scenes: list[Scene]) -> Turn | None:
    kinds = [kind for scene in scenes for kind in scene.kinds]
    match rng.choice(("all", "shape", "shape", "colour", "colour")):
        case "all":
            about, noun, number = "shapes", "shapes", len(kinds)
        case "shape":
            shape = rng.choice(SHAPES)
            about, noun, number = shape, f"{shape}s", sum(kind.shape == shape for kind in kinds)
        case _:
            colour = rng.choice(tuple(COLOURS))
            about, noun, number = colour, f"{colour} shapes", sum(kind.colour == colour for kind in kinds)
    if number > MAX_COUNT:
        return None
    where = "in the image" if len(scenes) == 1 else "in all images together"
    answer = f"There {'is' if number == 1 else 'are'} {number}."
    return Turn(f"How many {noun} are there {where}?", answer, "count", about)


def ask(
    rng: random.Random,
    scenes: list[Scene],
    kinds: Sequence[Asker],
    turns: int,
) -> list[Turn]:
    """Up to `turns` different questions about the scenes; one at least, if any are wanted."""
    asked: dict[str, Turn] = {}
    for _ in range(3 * turns):
        turn = rng.choice(kinds)(rng, scenes)
        if turn is not None and len(asked) < turns:
            asked.setdefault(turn.question, turn)
    if turns > 0 and not asked:
        return [describe(rng, scenes)]
    return list(asked.values())


def single_image(rng: random.Random, turns: int) -> Conversation:
    scenes = [compose(rng, some_kinds(rng, 3))]
    first = describe(rng, scenes)
    return Conversation(scenes, [first, *ask(rng, scenes, [count], turns - 1)])


def images(rng: random.Random, number: int, turns: int) -> Conversation:
    """Several images, few things in each. Kinds repeat, or counting would always find one."""
    palette = rng.sample(KINDS, rng.randint(6, len(KINDS)))
    scenes = [compose(rng, rng.sample(palette, rng.randint(1, 3 if number < 4 else 2))) for _ in range(number)]
    kinds = [which_image, count, count, count, count, describe]
    if number > 1 and turns > 1 and rng.random() < 0.15:  # some images now, the rest with the next turn
        early = rng.randint(1, number - 1)
        later = ask(rng, scenes, kinds, turns - 1)
        if later:
            return Conversation(scenes, ask(rng, scenes[:early], [describe], 1) + later, shown=(early, number - early))
    return Conversation(scenes, ask(rng, scenes, kinds, turns))


def difference(rng: random.Random, turns: int) -> Conversation:
    before = compose(rng, rng.sample(KINDS, rng.randint(2, 3)))
    after, answer = change(rng, before)
    question = rng.choice(
        ("What changed between the two images?", "What is different in the second image?", "What changed?")
    )
    scenes = [before, after]
    more = ask(rng, scenes, [describe, which_image, count], turns - 1)
    return Conversation(scenes, [Turn(question, answer, "change"), *more])


def movement(direction: str) -> str:
    """`It moves to the left.`, `It moves up.`"""
    return f"It moves {direction}." if direction in ("up", "down") else f"It moves to the {direction}."


def video(rng: random.Random, frames: int, turns: int) -> Conversation:
    if rng.random() < 0.7:
        kind, direction = rng.choice(KINDS), rng.choice(tuple(DIRECTIONS))
        scenes = moving(rng, kind, direction, frames)
        question = rng.choice(
            (f"Which way does the {kind} move?", f"Where does the {kind} go?", "Which way does it move?")
        )
        turns_ = [Turn(question, movement(direction), "motion")]
        if turns > 1:
            turns_.append(Turn("What does the video show?", listing([kind]), "shown"))
    else:
        kinds = rng.sample(KINDS, min(rng.randint(2, 3), frames))
        scenes = sequence(rng, kinds, frames)
        both = [
            Turn(
                rng.choice(("What does the video show first?", "What comes first in the video?")),
                listing([kinds[0]]),
                "first",
            ),
            Turn(
                rng.choice(("What does the video show last?", "What comes last in the video?")),
                listing([kinds[-1]]),
                "last",
            ),
        ]
        rng.shuffle(both)
        turns_ = both[:turns]
    return Conversation(scenes, turns_, video=True)


GREETING = Turn("Hello!", "Hello! Show me coloured shapes and ask me about them.", "greeting")


def greeted(talk: Conversation) -> Conversation:
    """The conversation after a greeting without visuals."""
    shown = talk.shown or (len(talk.scenes),)
    return replace(talk, turns=[GREETING, *talk.turns], shown=(0, *shown))


def cameras(rng: random.Random, number: int, turns: int) -> Conversation:
    names = rng.sample(CAMERAS, number)
    scenes = [compose(rng, kinds) for kinds in _shared_out(rng, number)]
    asked = []
    seen = [(at, kind) for at, scene in enumerate(scenes) for kind in scene.kinds]
    for at, kind in rng.sample(seen, min(turns, len(seen))):
        asked.append(
            Turn(
                rng.choice((f"Which camera sees the {kind}?", f"Which camera sees a {kind}?")),
                f"{names[at]}.",
                "camera",
                str(kind),
            )
        )
        if len(asked) < turns and rng.random() < 0.3:
            view = rng.randrange(number)
            asked.append(Turn(f"What does {names[view]} see?", listing(scenes[view].kinds), "shown", names[view]))
    return Conversation(scenes, asked[:turns], names=names)


def _shared_out(rng: random.Random, views: int) -> list[list[Kind]]:
    """Different kinds for each of the views, so that exactly one view sees each."""
    kinds = iter(rng.sample(KINDS, len(KINDS)))
    return [[next(kinds) for _ in range(rng.randint(1, 2))] for _ in range(views)]
