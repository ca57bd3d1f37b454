"""Held-out conversations: one question about drawings of a renderer that training never uses, and the right answer."""

import random
from dataclasses import dataclass

import numpy as np

from llava_interleave_serve.demo.held_out import composition, families
from llava_interleave_serve.demo.held_out.families import Plan
from llava_interleave_serve.demo.held_out.hand.sketches import hand
from llava_interleave_serve.demo.held_out.picture_file import PictureFile, encode, lossless
from llava_interleave_serve.demo.held_out.registry import renderer

DETAIL = 28  # pixels: a picture with a thing of a smaller diameter is detailed


@dataclass(frozen=True)
class HeldOutConversation:
    """Pictures, one question about them, and the right answer.

    files: the pictures, or the frames of the video, in order.
    names: of the cameras, if the pictures are camera views, else empty.
    video: True if the pictures are the frames of one video.
    mp4: True if that video is sent as an MP4 file; its frames are without loss before they become one.
    least_extent: of the smallest thing in any of the pictures squeezed to a square, in shares of the square's side; 1
        if there is no thing.
    """

    files: tuple[PictureFile, ...]
    question: str
    answer: str
    names: tuple[str, ...] = ()
    video: bool = False
    mp4: bool = False
    least_extent: float = 1.0

    @property
    def pictures(self) -> list[np.ndarray]:
        """The pictures as their files decode: each uint8 [H, W, 3], RGB."""
        return [file.pixels for file in self.files]


def conversation(renderer_name: str, family: str, number: int) -> HeldOutConversation:
    """Draws the conversation of a renderer, a family and a number, from which alone it follows.

    renderer_name: one of registry.RENDERERS. family: one of families.FAMILIES.
    """
    rng = random.Random(f"{renderer_name} {family} {number}")
    draw, draw_nothing = renderer(renderer_name)
    plan = _plan(renderer_name, family, number, rng)
    mp4 = plan.video and rng.random() < 0.5
    if not plan.drawings:
        files = [encode(draw_nothing(rng, *composition.size(rng)), rng, detailed=False)]
    else:
        pictures = {drawing: draw(drawing) for drawing in dict.fromkeys(plan.drawings)}  # frames may be equal
        files = [
            lossless(pictures[each]) if mp4 else encode(pictures[each], rng, each.least_diameter < DETAIL)
            for each in plan.drawings
        ]
    least_extent = min((drawing.least_extent for drawing in plan.drawings), default=1.0)
    return HeldOutConversation(tuple(files), plan.question, plan.answer, plan.names, plan.video, mp4, least_extent)


def _plan(renderer_name: str, family: str, number: int, rng: random.Random) -> Plan:
    """What is drawn and asked. The hand's descriptions are of its own drawings, one after the other."""
    if (renderer_name, family) == ("hand", "describe"):
        drawings = hand().drawings
        return families.described(rng, drawings[number % len(drawings)])
    return families.FAMILIES[family](rng)
