"""Generates the conversations of a class: about new media, or repeating an earlier one.

A ConversationMaker makes one conversation, RandomTextMaker one whose text is random words, and ConversationGenerator
decides which are repeated. known_answers.py has the maker for questions about the demo's scenes.
"""

import random
from collections import deque
from dataclasses import dataclass, replace
from typing import Generic, Protocol, TypeVar

from llava_interleave_serve.benchmarks.load.requests.media_source import MediaSource
from llava_interleave_serve.benchmarks.load.requests.messages import (
    Conversation,
    Frames,
    Image,
    Message,
    Part,
    Text,
    Turn,
    Video,
    Views,
)
from llava_interleave_serve.benchmarks.load.workload.schema import RequestClass

CAMERAS = ("CAM_FRONT", "CAM_FRONT_RIGHT", "CAM_BACK_RIGHT", "CAM_BACK", "CAM_BACK_LEFT", "CAM_FRONT_LEFT")
REMEMBERED = 16  # how many earlier conversations a repeated one is chosen from
ANSWER_WORDS = 20  # of the assistant's turns in a history: answers are written here, so that no turn waits for another
VOCABULARY = """
the a this that image picture shows between before after under above near large small bright dark person street house
water light table green red blue left right corner middle first last next many several describe compare count explain
where which what how why object colour shape surface number change difference moves stands holds looks at of in on with
and but then while from into again carefully detail every other same second third whole window door road tree animal
vehicle sign letter line edge shadow ground sky wall hand face group pair
"""
WORDS = VOCABULARY.split()


def random_sentence(rng: random.Random, words: int) -> str:
    """A sentence of so many random words: the first with a capital, and a full stop."""
    return f"{' '.join(rng.choices(WORDS, k=words)).capitalize()}."


def random_questions(request_class: RequestClass, rng: random.Random) -> tuple[str, ...]:
    """Random text for each turn of a conversation."""
    turns = rng.choice(request_class.turns)
    return tuple(random_sentence(rng, rng.choice(request_class.prompt_words)) for _ in range(turns))


def write_turns(
    request_class: RequestClass,
    rng: random.Random,
    visuals: tuple[Part, ...],
    questions: tuple[str, ...],
    known_answer: str | None = None,
) -> tuple[Turn, ...]:
    """Writes one request a question, each with the messages before it; the visuals are in the first message."""
    messages: list[Message] = []
    turns = []
    for index, question in enumerate(questions):
        parts = place_visuals(request_class.placement, rng, visuals, question) if index == 0 else (Text(question),)
        messages.append(Message("user", parts))
        turns.append(Turn(tuple(messages), rng.choice(request_class.answer_tokens), known_answer))
        messages.append(Message("assistant", (Text(random_sentence(rng, ANSWER_WORDS)),)))
    return tuple(turns)


def place_visuals(placement: str, rng: random.Random, visuals: tuple[Part, ...], text: str) -> tuple[Part, ...]:
    """Puts the visuals in `front` of the text; or, `alternating`, one after each equal piece; or, `random`, anywhere
    between the words.
    """
    if placement == "front" or not visuals:
        return (*visuals, Text(text))
    words = text.split()
    if placement == "alternating":
        cuts = [len(words) * (index + 1) // (len(visuals) + 1) for index in range(len(visuals))]
    else:
        cuts = sorted(rng.randint(0, len(words)) for _ in visuals)
    parts: list[Part] = []
    for visual, start, end in zip(visuals, [0, *cuts], cuts, strict=False):
        parts += [*_joined(words[start:end]), visual]
    return (*parts, *_joined(words[cuts[-1] :]))


def _joined(words: list[str]) -> list[Part]:
    return [Text(" ".join(words))] if words else []


class WithTurns(Protocol):
    """A conversation in a maker's own form, which has all that the maker needs to repeat it."""

    @property
    def turns(self) -> tuple[Turn, ...]: ...


ConversationT = TypeVar("ConversationT", bound=WithTurns)


class ConversationMaker(Protocol[ConversationT]):
    """Makes the conversations of one class."""

    def new(self) -> ConversationT:
        """Makes a conversation about new media."""
        ...

    def repeated(self, earlier: ConversationT, repeat: str) -> ConversationT:
        """Makes an earlier conversation again. `repeat` is one of workload.schema.Repeat.shares."""
        ...


class ConversationGenerator(Generic[ConversationT]):
    """Generates the conversations of a class, of which the shares given by its `repeat` table repeat an earlier one."""

    def __init__(
        self, request_class: RequestClass, maker: ConversationMaker[ConversationT], rng: random.Random
    ) -> None:
        self.request_class, self.maker, self.rng = request_class, maker, rng
        self._earlier: deque[tuple[int, ConversationT]] = deque(maxlen=REMEMBERED)
        self._sessions = 0

    def generate(self) -> Conversation:
        """The next conversation."""
        repeat = self._draw_repeat()
        if not repeat:
            conversation, session = self.maker.new(), self._sessions
            self._sessions += 1
            self._earlier.append((session, conversation))
            return Conversation(conversation.turns, session=session)
        index = self.rng.randrange(len(self._earlier))
        session, earlier = self._earlier[index]
        conversation = self.maker.repeated(earlier, repeat)
        if repeat == "sliding":
            self._earlier[index] = session, conversation  # its next repeat slides on from here
        return Conversation(conversation.turns, repeat, session)

    def _draw_repeat(self) -> str:
        """The way to repeat an earlier conversation, by the shares; empty for new media, and while there is none."""
        position = self.rng.random()
        for name, share in self.request_class.repeat.shares.items():
            if position < share:
                return name if self._earlier else ""
            position -= share
        return ""


@dataclass(frozen=True, slots=True)
class RandomTextConversation:
    """Visuals, and questions of random words about them."""

    visuals: tuple[Part, ...]
    questions: tuple[str, ...]
    turns: tuple[Turn, ...] = ()
    video: int = 0
    """Identifier of the video that a window of frames is of."""
    start: int = 0
    """Index of the window's first frame."""


class RandomTextMaker:
    """Makes the conversations of a class that does not `ask` about scenes."""

    def __init__(self, request_class: RequestClass, rng: random.Random) -> None:
        self.request_class, self.rng = request_class, rng
        self.source = MediaSource(request_class.media, rng)

    def new(self) -> RandomTextConversation:
        """Makes a conversation of new media and new text."""
        number, pooling = self.rng.choice(self.request_class.visuals), self.request_class.pooling_fields
        video = 0
        visuals: tuple[Part, ...] = ()
        match self.request_class.kind:
            case "images":
                visuals = tuple(Image(picture, pooling) for picture in self.source.pictures(number))
            case "views":
                visuals = (Views(self.source.pictures(number), _camera_names(number), pooling),)
            case "frames":
                video = self.source.video()
                visuals = (Frames(self.source.window(video, 0, number), pooling),)
            case "video":
                visuals = (Video(self.source.clip(), number, pooling),)
        questions = random_questions(self.request_class, self.rng)
        return self._with_turns(RandomTextConversation(visuals, questions, video=video))

    def repeated(self, earlier: RandomTextConversation, repeat: str) -> RandomTextConversation:
        """Makes the earlier conversation again: `exact`, with a new `question`, in another `order`, or `sliding` on."""
        match repeat:
            case "exact":
                return earlier
            case "question":
                return self._with_turns(replace(earlier, questions=random_questions(self.request_class, self.rng)))
            case "order":
                return self._with_turns(replace(earlier, visuals=self._reordered(earlier.visuals)))
            case _:
                start = earlier.start + self.request_class.repeat.slide
                number = sum(len(part.pictures) for part in earlier.visuals if isinstance(part, Frames))
                pictures = self.source.window(earlier.video, start, number)
                window = Frames(pictures, self.request_class.pooling_fields)
                return self._with_turns(replace(earlier, visuals=(window,), start=start))

    def _with_turns(self, draft: RandomTextConversation) -> RandomTextConversation:
        return replace(draft, turns=write_turns(self.request_class, self.rng, draft.visuals, draft.questions))

    def _reordered(self, visuals: tuple[Part, ...]) -> tuple[Part, ...]:
        """The visuals in another order, if there is one; views within their part, with their names."""
        if len(visuals) == 1 and isinstance(visuals[0], Views):
            views = visuals[0]
            order = self._other_order(len(views.pictures))
            pictures = tuple(views.pictures[index] for index in order)
            return (Views(pictures, tuple(views.names[index] for index in order), views.pooling),)
        return tuple(visuals[index] for index in self._other_order(len(visuals)))

    def _other_order(self, number: int) -> list[int]:
        order = list(range(number))
        while number > 1 and order == sorted(order):
            self.rng.shuffle(order)
        return order


def _camera_names(number: int) -> tuple[str, ...]:
    return tuple(CAMERAS[view] if number <= len(CAMERAS) else f"VIEW_{view + 1}" for view in range(number))
