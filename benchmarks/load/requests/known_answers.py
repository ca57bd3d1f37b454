"""Requests whose right answers are known: the demo's questions about its scenes, and the check of an answer.

The demo's modules bring torch, so each function that draws scenes imports them itself.
"""

import random
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from llava_interleave_serve.benchmarks.load.requests.conversations import write_turns
from llava_interleave_serve.benchmarks.load.requests.images import Picture, SceneDrawing
from llava_interleave_serve.benchmarks.load.requests.media_source import MediaSource
from llava_interleave_serve.benchmarks.load.requests.messages import Frames, Image, Part, Turn, Video, Views
from llava_interleave_serve.benchmarks.load.requests.videos import GeneratedClip
from llava_interleave_serve.benchmarks.load.workload.schema import RequestClass

if TYPE_CHECKING:
    from llava_interleave_serve.demo.scenes import questions
    from llava_interleave_serve.demo.scenes.drawing import Scene


def is_right(answer: str, known_answer: str, *, whole: bool) -> bool:
    """True if the answer has the words of the known one, punctuation and case aside; unless `whole`, among others."""
    words, right = (re.findall(r"\w+", text.lower()) for text in (answer, known_answer))
    if whole:
        return words == right
    return any(words[start : start + len(right)] == right for start in range(len(words) - len(right) + 1))


@dataclass(frozen=True, slots=True)
class SceneQuestion:
    """A question about scenes."""

    scenes: tuple["Scene", ...]
    names: tuple[str, ...]
    """Names of the scenes' cameras; empty unless the scenes are camera views."""
    question: str
    answer: str
    """The right answer, for the scenes in this order."""


def _draw_conversation(family: str, rng: random.Random, visuals: int) -> "questions.Conversation":
    from llava_interleave_serve.demo.scenes import questions  # noqa: PLC0415

    match family:
        case "describe" | "which" | "count":
            return questions.images(rng, visuals, 3)
        case "change":
            return questions.difference(rng, 1)
        case "camera":
            return questions.cameras(rng, visuals, 1)
        case _:
            return questions.video(rng, visuals, 2)


def draw_question(family: str, rng: random.Random, visuals: int) -> SceneQuestion:
    """Draws scenes and a question of the family about so many of them (`change` is always about two)."""
    while True:
        conversation = _draw_conversation(family, rng, visuals)
        for turn in conversation.turns:
            if turn.family == family and not conversation.visuals_per_turn:
                scenes, names = tuple(conversation.scenes), tuple(conversation.names)
                return SceneQuestion(scenes, names, turn.question, turn.answer)


def reorder_question(family: str, earlier: SceneQuestion, rng: random.Random) -> SceneQuestion:
    """The same question about the same scenes in another order, with the answer that is right for it.

    Raises ValueError if the answers of the family do not depend on the order.
    """
    from llava_interleave_serve.demo.scenes import permutations, questions  # noqa: PLC0415

    turn = questions.Turn(earlier.question, earlier.answer, family)
    conversation = questions.Conversation(list(earlier.scenes), [turn], names=list(earlier.names))
    permuted = permutations.permuted(family, conversation, rng)
    if permuted is None:
        raise ValueError(f"the answers of {family} do not follow the order")
    turn = permuted.turns[0]
    return SceneQuestion(tuple(permuted.scenes), tuple(permuted.names), turn.question, turn.answer)


@dataclass(frozen=True, slots=True)
class KnownAnswerConversation:
    """A conversation of one question."""

    question: SceneQuestion
    pictures: dict["Scene", Picture]
    """The picture of each scene; empty if the scenes are the frames of a video file."""
    turns: tuple[Turn, ...]


class KnownAnswerMaker:
    """Makes the conversations of a class that `ask`s about scenes."""

    def __init__(self, request_class: RequestClass, rng: random.Random) -> None:
        self.request_class, self.rng = request_class, rng
        self.family = request_class.ask or ""
        self.source = MediaSource(request_class.media, rng)

    def new(self) -> KnownAnswerConversation:
        """Makes a conversation of new scenes and a new question."""
        is_video = self.request_class.kind == "video"
        lengths = self.request_class.media.clip_frames if is_video else self.request_class.visuals
        question = draw_question(self.family, self.rng, self.rng.choice(lengths))
        size = self.source.size()  # the same for all scenes, as of one camera or one video
        if is_video:
            frames = tuple(SceneDrawing(scene, *size) for scene in question.scenes)
            clip = GeneratedClip(frames, self.request_class.media.clip_fps)
            video = Video(clip, self.rng.choice(self.request_class.visuals), self.request_class.pooling_fields)
            return KnownAnswerConversation(question, {}, self._turns((video,), question))
        pictures = {scene: self.source.encode(SceneDrawing(scene, *size)) for scene in question.scenes}
        return KnownAnswerConversation(question, pictures, self._turns(self._visuals(question, pictures), question))

    def repeated(self, earlier: KnownAnswerConversation, repeat: str) -> KnownAnswerConversation:
        """Makes the earlier conversation again: `exact`, or with the pictures in another `order` and its answer."""
        if repeat == "exact":
            return earlier
        question = reorder_question(self.family, earlier.question, self.rng)
        turns = self._turns(self._visuals(question, earlier.pictures), question)
        return KnownAnswerConversation(question, earlier.pictures, turns)

    def _visuals(self, question: SceneQuestion, pictures: dict["Scene", Picture]) -> tuple[Part, ...]:
        ordered, pooling = tuple(pictures[scene] for scene in question.scenes), self.request_class.pooling_fields
        match self.request_class.kind:
            case "frames":
                return (Frames(ordered, pooling),)
            case "views":
                return (Views(ordered, question.names, pooling),)
            case _:
                return tuple(Image(picture, pooling) for picture in ordered)

    def _turns(self, visuals: tuple[Part, ...], question: SceneQuestion) -> tuple[Turn, ...]:
        return write_turns(self.request_class, self.rng, visuals, (question.question,), question.answer)
