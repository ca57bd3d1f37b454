"""Questions asked again about the same visuals in another order."""

import random
from dataclasses import replace

from llava_interleave_serve.demo.scenes import questions
from llava_interleave_serve.demo.scenes.questions import Conversation

# The direction that a thing moves in when the video is played backwards.
OPPOSITE = {"left": "right", "right": "left", "up": "down", "down": "up"}


def other_order(number: int, rng: random.Random) -> list[int]:
    """Shuffles the indices of so many visuals until their order is another. Raises ValueError for fewer than two."""
    if number < 2:
        raise ValueError(f"{number} visuals have no other order")
    order = list(range(number))
    while order == sorted(order):
        rng.shuffle(order)
    return order


def permuted(family: str, conversation: Conversation, rng: random.Random) -> Conversation | None:
    """Reorders the visuals of a conversation of one question, and gives the answer that is right for the new order.

    Images are put into another order, videos reversed. None for a family whose question does not ask about the order or
    a name.
    """
    turn, order = conversation.turns[0], list(range(len(conversation.scenes)))
    match family:
        case "which":
            order = other_order(len(order), rng)
            answer = int(turn.answer.removeprefix("Image ").removesuffix(".")) - 1
            turn = replace(turn, answer=f"Image {order.index(answer) + 1}.")
        case "camera":
            order = other_order(len(order), rng)
        case "first" | "last":
            order.reverse()
            kinds = conversation.scenes[order[0 if family == "first" else -1]].kinds
            turn = replace(turn, answer=questions.listing(kinds))
        case "motion":
            order.reverse()
            direction = next(direction for direction in OPPOSITE if f"{direction}." in turn.answer)
            turn = replace(turn, answer=questions.movement(OPPOSITE[direction]))
        case _:
            return None
    names = [conversation.names[index] for index in order] if conversation.names else []
    scenes = [conversation.scenes[index] for index in order]
    return replace(conversation, scenes=scenes, turns=[turn], names=names)
