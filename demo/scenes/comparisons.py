"""Conversations that compare images: edits, things that both show, captions, and picture quality."""

import random
from dataclasses import replace

from llava_interleave_serve.demo.scenes.composing import PLAIN, Artist
from llava_interleave_serve.demo.scenes.drawing import KINDS, Kind, Scene
from llava_interleave_serve.demo.scenes.questions import Conversation, Step, Turn, difference, stepwise_turn

CHOICES = "ABCD"  # letters of the options, one for each image
EDIT = "Write the instruction that makes the second image from the first."


def instruction(before: Scene, after: Scene) -> str:
    """The edit that makes `after` from `before`.

    One of `Make the red circle blue.`, `Make the red circle a star.`, `Add a green star.`, `Remove the red circle.`

    Raises ValueError if the scenes differ in more than one thing.
    """
    removed = [kind for kind in before.kinds if kind not in after.kinds]
    added = [kind for kind in after.kinds if kind not in before.kinds]
    match removed, added:
        case [], [new]:
            return f"Add a {new}."
        case [old], []:
            return f"Remove the {old}."
        case [old], [new]:
            return f"Make the {old} {new.colour if old.shape == new.shape else f'a {new.shape}'}."
    raise ValueError(f"the scenes differ in more than one thing: {before.kinds}, {after.kinds}")


def edited(rng: random.Random, turns: int, artist: Artist = PLAIN) -> Conversation:
    """Two images that differ in one thing; questions for the edit, for what changed, and others."""
    conversation = difference(rng, turns, artist)
    conversation.turns.insert(rng.randint(0, 1), Turn(EDIT, instruction(*conversation.scenes), "edit"))
    return conversation


def alike(rng: random.Random, turns: int, artist: Artist = PLAIN) -> Conversation:
    """Two images with one or two common things: `Do both images show a red circle?`, as often yes as no."""
    kinds = rng.sample(KINDS, 8)
    common, single, absent = kinds[: rng.randint(1, 2)], kinds[2:4], kinds[4:]
    scenes = [artist.compose(rng, rng.sample([*common, kind], len(common) + 1)) for kind in single]
    is_common: dict[Kind, bool] = {}
    for _ in range(turns):
        shared = rng.random() < 0.5
        is_common[rng.choice(common if shared else single if rng.random() < 0.7 else absent)] = shared
    turns_ = [
        Turn(f"Do both images show a {kind}?", "Yes." if shared else "No.", "both", str(kind))
        for kind, shared in is_common.items()
    ]
    return Conversation(scenes, turns_)


def captioned(rng: random.Random, turns: int, artist: Artist = PLAIN) -> Conversation:
    """Four images of two things each, which share some of them; questions for the image that a caption describes."""
    kinds = rng.sample(KINDS, 2 * len(CHOICES))
    pairs = [kinds[index : index + 2] for index in range(0, len(kinds), 2)]
    for index in range(1, len(pairs)):
        if rng.random() < 0.5:  # it shares a thing with the image before, so that the thing alone is no answer
            pairs[index] = [rng.choice(pairs[index - 1]), pairs[index][1]]
    rng.shuffle(pairs)
    scenes = [artist.compose(rng, pair) for pair in pairs]
    turns_ = []
    for index in rng.sample(range(len(pairs)), min(turns, len(pairs))):
        first, second = rng.sample(pairs[index], 2)
        question = f"Which image matches the caption: a {first} and a {second}?\n{_options(len(pairs))}"
        turns_.append(stepwise_turn(question, [Step(CHOICES[index], index)], "caption", str(first)))
    return Conversation(scenes, turns_)


def compared(rng: random.Random, turns: int) -> Conversation:
    """Two pictures, one of them darker and one noisier; questions for these."""
    scenes = [PLAIN.compose(rng, rng.sample(KINDS, rng.randint(1, 2))) for _ in range(2)]
    dark, noisy = rng.randrange(2), rng.randrange(2)
    scenes[dark] = darken(rng, scenes[dark])
    scenes[noisy] = add_noise(rng, scenes[noisy])
    both = [
        stepwise_turn(f"Which image is {word}?\n{_options(2)}", [Step(CHOICES[index], index)], "quality", topic)
        for word, topic, index in (("darker", "dark", dark), ("noisier", "noisy", noisy))
    ]
    rng.shuffle(both)
    return Conversation(scenes, both[:turns])


def _options(number: int) -> str:
    """The lines `A. Image 1`, `B. Image 2`, ..."""
    return "\n".join(f"{letter}. Image {image}" for image, letter in enumerate(CHOICES[:number], 1))


def darken(rng: random.Random, scene: Scene) -> Scene:
    """Gives the scene a dark grey background, from which every colour still differs."""
    brightness = rng.randint(95, 135)
    red, green, blue = (brightness + rng.randint(-8, 8) for _ in range(3))
    return replace(scene, background=(red, green, blue))


def add_noise(rng: random.Random, scene: Scene) -> Scene:
    """Adds noise that is visible at any size of the picture."""
    return replace(scene, noise=rng.uniform(28.0, 42.0))
