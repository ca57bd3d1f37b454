"""Families of held-out questions: what is drawn, what is asked, and the right answer, in the words of training."""

import random
from collections.abc import Callable
from dataclasses import dataclass, replace

from llava_interleave_serve.demo.held_out import composition
from llava_interleave_serve.demo.held_out.composition import compose
from llava_interleave_serve.demo.held_out.drawings import Drawing, Thing
from llava_interleave_serve.demo.scenes.drawing import KINDS, Kind
from llava_interleave_serve.demo.scenes.frames import DIRECTIONS
from llava_interleave_serve.demo.scenes.questions import CAMERAS, listing, movement

NOTHING = "Nothing that I know."
MOST_THINGS, MOST_THINGS_OF_SEVERAL = 6, 3
MOST_PICTURES = 6
FRAMES = 8  # of a video
LEAST_SHOWN = 2  # frames
MOVING = (
    1 / 10,
    9 / 20,
)  # diameters of what moves: the least in shares of the longer side, the greatest of the shorter
LEAST_TRAVEL = 0.4  # of the picture's extent in the direction of the movement
DESCRIBE_QUESTIONS = ("What is in the image?", "What does the image show?", "Describe the image.")


@dataclass(frozen=True)
class Plan:
    """Drawings, one question about them, and the right answer.

    drawings: in order; empty for one picture that shows nothing which the demo knows.
    names: of the cameras, if the drawings are camera views, else empty.
    video: True if the drawings are the frames of one video.
    """

    drawings: tuple[Drawing, ...]
    question: str
    answer: str
    names: tuple[str, ...] = ()
    video: bool = False


def describe(rng: random.Random) -> Plan:
    """Asks for the things of one drawing."""
    return described(rng, compose(rng, rng.sample(KINDS, rng.randint(1, MOST_THINGS))))


def described(rng: random.Random, drawing: Drawing) -> Plan:
    """Asks for the things of the drawing."""
    return Plan((drawing,), rng.choice(DESCRIBE_QUESTIONS), listing(drawing.kinds))


def nothing(rng: random.Random) -> Plan:
    """Asks for the things of a picture that shows none which the demo knows."""
    return Plan((), rng.choice(DESCRIBE_QUESTIONS), NOTHING)


def which(rng: random.Random) -> Plan:
    """Asks for the only one of several drawings that shows a kind."""
    number = rng.randint(2, MOST_PICTURES)
    kind, answer = rng.choice(KINDS), rng.randrange(number)
    others = [other for other in KINDS if other != kind]
    kinds = [rng.sample(others, rng.randint(1, MOST_THINGS_OF_SEVERAL)) for _ in range(number)]
    kinds[answer][-1] = kind
    question = rng.choice((f"Which image shows a {kind}?", f"In which image is the {kind}?"))
    return Plan(tuple(compose(rng, each) for each in kinds), question, f"Image {answer + 1}.")


def change(rng: random.Random) -> Plan:
    """Asks what changed between two drawings that differ in one thing."""
    question = rng.choice(
        ("What changed between the two images?", "What is different in the second image?", "What changed?")
    )
    match rng.choice(("colour", "shape", "appear", "disappear")):
        case "colour":
            before, after, answer = _recoloured(rng)
        case "shape":
            before, after, answer = _reshaped(rng)
        case "appear":
            after, before, kind = _with_one_less(rng)
            answer = f"A {kind} appeared."
        case _:
            before, after, kind = _with_one_less(rng)
            answer = f"The {kind} disappeared."
    return Plan((before, after), question, answer)


def _recoloured(rng: random.Random) -> tuple[Drawing, Drawing, str]:
    """Draws two drawings, the second with a thing in another colour, and the answer."""
    while True:
        before, thing, spare = _with_spare_kinds(rng)
        for kind in (kind for kind in spare if kind.shape == thing.kind.shape):
            new = composition.recoloured(rng, thing, kind, before.paper)
            if new is not None:
                return before, before.replacing(thing, new), f"The {thing.kind} became {kind.colour}."


def _reshaped(rng: random.Random) -> tuple[Drawing, Drawing, str]:
    """Draws two drawings, the second with a thing in another shape, and the answer."""
    before, thing, spare = _with_spare_kinds(rng)
    kind = next(kind for kind in spare if kind.colour == thing.kind.colour)
    return before, before.replacing(thing, replace(thing, kind=kind)), f"The {thing.kind} became a {kind.shape}."


def _with_spare_kinds(rng: random.Random) -> tuple[Drawing, Thing, list[Kind]]:
    """Draws a drawing, one of its things, and the kinds that it does not show, in any order."""
    drawing = compose(rng, _few_kinds(rng, 1))
    spare = [kind for kind in KINDS if kind not in drawing.kinds]
    rng.shuffle(spare)
    return drawing, rng.choice(drawing.things), spare


def _with_one_less(rng: random.Random) -> tuple[Drawing, Drawing, Kind]:
    """Draws a drawing of at least two things, the same without one of these, and the kind of that one."""
    drawing = compose(rng, _few_kinds(rng, 2))
    thing = rng.choice(drawing.things)
    return drawing, drawing.replacing(thing, None), thing.kind


def camera(rng: random.Random) -> Plan:
    """Asks which of several camera views shows a kind; each kind is seen in one view."""
    names = rng.sample(CAMERAS, rng.randint(2, len(CAMERAS)))
    kinds = rng.sample(KINDS, len(KINDS))
    frame = composition.size(rng)
    seen = [[kinds.pop() for _ in range(rng.randint(1, MOST_THINGS_OF_SEVERAL))] for _ in names]
    view = rng.randrange(len(names))
    kind = rng.choice(seen[view])
    question = rng.choice((f"Which camera sees the {kind}?", f"Which camera sees a {kind}?"))
    return Plan(tuple(compose(rng, each, frame) for each in seen), question, f"{names[view]}.", tuple(names))


def first(rng: random.Random) -> Plan:
    """Asks for the first thing of a video that shows one thing after the other."""
    frames = _one_after_the_other(rng)
    question = rng.choice(("What does the video show first?", "What comes first in the video?"))
    return Plan(frames, question, listing(frames[0].kinds), video=True)


def last(rng: random.Random) -> Plan:
    """Asks for the last thing of a video that shows one thing after the other."""
    frames = _one_after_the_other(rng)
    question = rng.choice(("What does the video show last?", "What comes last in the video?"))
    return Plan(frames, question, listing(frames[-1].kinds), video=True)


def _one_after_the_other(rng: random.Random) -> tuple[Drawing, ...]:
    """Draws the frames of a video of two or three things, each alone, on one paper or each on its own."""
    kinds, frame = _few_kinds(rng, 2), _video_frame(rng)
    if rng.random() < 0.5:
        whole = compose(rng, kinds, frame)
        shown = [replace(whole, things=(thing,)) for thing in whole.things]
    else:
        shown = [compose(rng, [kind], frame) for kind in kinds]
    lengths = [LEAST_SHOWN] * len(shown)
    for _ in range(FRAMES - sum(lengths)):
        lengths[rng.randrange(len(lengths))] += 1
    return tuple(drawing for drawing, length in zip(shown, lengths, strict=True) for _ in range(length))


def motion(rng: random.Random) -> Plan:
    """Asks which way the thing of a video moves."""
    direction, kind = rng.choice(tuple(DIRECTIONS)), rng.choice(KINDS)
    least, most = MOVING
    still = compose(rng, [kind], _video_frame(rng), most, least)
    (thing,), (dx, dy) = still.things, DIRECTIONS[direction]
    extent = still.width if dx else still.height
    travel = extent * rng.uniform(LEAST_TRAVEL, 1 - 2 * thing.radius / extent)
    start = rng.uniform(thing.radius, extent - thing.radius - travel)
    frames = []
    for frame in range(FRAMES):
        along = start + travel * frame / (FRAMES - 1)
        place = along if dx + dy > 0 else extent - along
        moved = replace(thing, x=place) if dx else replace(thing, y=place)
        frames.append(replace(still, things=(moved,)))
    question = rng.choice((f"Which way does the {kind} move?", f"Where does the {kind} go?", "Which way does it move?"))
    return Plan(tuple(frames), question, movement(direction), video=True)


def _few_kinds(rng: random.Random, least: int) -> list[Kind]:
    return rng.sample(KINDS, rng.randint(least, MOST_THINGS_OF_SEVERAL))


def _video_frame(rng: random.Random) -> tuple[int, int]:
    """Draws width and height of a video, which are even."""
    width, height = composition.size(rng)
    return width - width % 2, height - height % 2


FAMILIES: dict[str, Callable[[random.Random], Plan]] = {
    "describe": describe,
    "nothing": nothing,
    "which": which,
    "change": change,
    "camera": camera,
    "first": first,
    "last": last,
    "motion": motion,
}
