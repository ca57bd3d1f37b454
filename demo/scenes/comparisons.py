"""Conversations that hold images against each other: edits, what both show, captions, and how good pictures are."""

import random
from dataclasses import replace

from llava_interleave_serve.demo.scenes.drawing import KINDS, Kind, Scene, compose
from llava_interleave_serve.demo.scenes.questions import Conversation, Turn, difference, stepwise

CHOICES = "ABCD"  # letters of the answers to choose from, one an image
EDIT = "Write the instruction that makes the second image from the first."


def instruction(before: Scene, after: Scene) -> str:
    """`Make the red circle blue.`, `Make the red circle a star.`, `Add a green star.`, `Remove the red circle.`"""
    gone = [kind for kind in before.kinds if kind not in after.kinds]
    new = [kind for kind in after.kinds if kind not in before.kinds]
    match gone, new:
        case [], [added]:
            return f"Add a {added}."
        case [removed], []:
            return f"Remove the {removed}."
        case [was], [is_]:
            return f"Make the {was} {is_.colour if was.shape == is_.shape else f'a {is_.shape}'}."
    raise ValueError(f"the scenes differ in more than one thing: {before.kinds}, {after.kinds}")


def edited(rng: random.Random, turns: int) -> Conversation:
    """Two images that differ in one thing: how one is made from the other, what changed, and more."""
    talk = difference(rng, turns)
    talk.turns.insert(rng.randint(0, 1), Turn(EDIT, instruction(*talk.scenes), "edit"))
    return talk


def alike(rng: random.Random, turns: int) -> Conversation:
    """Two images that have some things in common: `Do both images show a red circle?`, as often yes as no."""
    kinds = rng.sample(KINDS, 8)
    common, own, absent = kinds[: rng.randint(1, 2)], kinds[2:4], kinds[4:]
    scenes = [compose(rng, rng.sample([*common, mine], len(common) + 1)) for mine in own]
    asked: dict[Kind, bool] = {}
    for _ in range(turns):
        shared = rng.random() < 0.5
        asked[rng.choice(common if shared else own if rng.random() < 0.7 else absent)] = shared
    turns_ = [
        Turn(f"Do both images show a {kind}?", "Yes." if shared else "No.", "both", str(kind))
        for kind, shared in asked.items()
    ]
    return Conversation(scenes, turns_)


def captioned(rng: random.Random, turns: int) -> Conversation:
    """Four images of two things each, of which some are in other images too: which one is a caption's?"""
    kinds = rng.sample(KINDS, 2 * len(CHOICES))
    pairs = [kinds[at : at + 2] for at in range(0, len(kinds), 2)]
    for at in range(1, len(pairs)):
        if rng.random() < 0.5:  # one thing is as before, so that it does not tell the image alone
            pairs[at] = [rng.choice(pairs[at - 1]), pairs[at][1]]
    rng.shuffle(pairs)
    scenes = [compose(rng, pair) for pair in pairs]
    turns_ = []
    for at in rng.sample(range(len(pairs)), min(turns, len(pairs))):
        first, second = rng.sample(pairs[at], 2)
        question = f"Which image matches the caption: a {first} and a {second}?\n{_options(len(pairs))}"
        turns_.append(stepwise(question, [(CHOICES[at], at)], "caption", str(first)))
    return Conversation(scenes, turns_)


def compared(rng: random.Random, turns: int) -> Conversation:
    """Two pictures, one of which is darker, and one noisier: which one?"""
    scenes = [compose(rng, rng.sample(KINDS, rng.randint(1, 2))) for _ in range(2)]
    dark, noisy = rng.randrange(2), rng.randrange(2)
    scenes[dark] = darkened(rng, scenes[dark])
    scenes[noisy] = roughened(rng, scenes[noisy])
    asked = [
        stepwise(f"Which image is {word}?\n{_options(2)}", [(CHOICES[at], at)], "quality", about)
        for word, about, at in (("darker", "dark", dark), ("noisier", "noisy", noisy))
    ]
    rng.shuffle(asked)
    return Conversation(scenes, asked[:turns])


def _options(number: int) -> str:
    """`A. Image 1`, a line each."""
    return "\n".join(f"{letter}. Image {at}" for at, letter in enumerate(CHOICES[:number], 1))


def darkened(rng: random.Random, scene: Scene) -> Scene:
    """The scene in front of a dark grey, on which every colour still stands out."""
    paper = rng.randint(95, 135)
    red, green, blue = (paper + rng.randint(-8, 8) for _ in range(3))
    return replace(scene, background=(red, green, blue))


def roughened(rng: random.Random, scene: Scene) -> Scene:
    """The scene with so much noise that it shows at any size."""
    return replace(scene, noise=rng.uniform(28.0, 42.0))
