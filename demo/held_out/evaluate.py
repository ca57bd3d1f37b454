"""Accuracy of the demo on drawings by renderers that training never uses.

`python -m llava_interleave_serve.demo.held_out.evaluate` asks a running server about them, decoded greedily, and
compares whole answers.
"""

import argparse
import asyncio
import itertools
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from llava_interleave_serve.demo.evaluate import POOLED, Asked, Outcome, add_options, connected, outcomes, share_right
from llava_interleave_serve.demo.held_out.conversations import HeldOutConversation, conversation
from llava_interleave_serve.demo.held_out.families import FAMILIES
from llava_interleave_serve.demo.held_out.message_parts import message_parts
from llava_interleave_serve.demo.held_out.registry import RENDERERS

# Of the smallest thing in the squeezed picture, in shares of its side.
EXTENTS = (0.05, 0.07, 0.1)
Ask = Callable[[Sequence[Asked]], list[Outcome]]


def asked_of(conversations: Sequence[HeldOutConversation], pooling: dict[str, Any]) -> list[Asked]:
    """The messages of the conversations.

    pooling: fields that go into every visual part.
    """
    return [Asked(message_parts(each, pooling), each.question, each.answer) for each in conversations]


def by_extent(conversations: Sequence[HeldOutConversation], results: Sequence[Outcome]) -> dict[str, str]:
    """The right answers and the questions whose smallest thing lies below each of EXTENTS, and above all of them."""
    right: dict[str, list[bool]] = {band: [] for band in (*(f"below {extent}" for extent in EXTENTS), "above")}
    for each, result in zip(conversations, results, strict=True):
        band = next((f"below {extent}" for extent in EXTENTS if each.least_extent < extent), "above")
        right[band].append(result.is_right)
    return {band: f"{sum(answers)} of {len(answers)}" for band, answers in right.items() if answers}


def save(folder: Path, conversations: Sequence[HeldOutConversation], results: Sequence[Outcome]) -> None:
    """Writes the pictures into the folder, and a line for each question, its answers and files into `answers.jsonl`.

    The names of the files begin with the number of the conversation, and with `wrong-` if the answer is wrong.
    """
    folder.mkdir(parents=True, exist_ok=True)
    lines = []
    for number, (each, result) in enumerate(zip(conversations, results, strict=True)):
        stem = f"{'' if result.is_right else 'wrong-'}{number}"
        names = [f"{stem}-{index}.{file.media_type.split('/')[1]}" for index, file in enumerate(each.files)]
        for name, file in zip(names, each.files, strict=True):
            (folder / name).write_bytes(file.content)
        lines.append(json.dumps({**result._asdict(), "is_right": result.is_right, "files": names}))
    (folder / "answers.jsonl").write_text("".join(f"{line}\n" for line in lines))


def accuracy(
    ask: Ask, renderer: str, family: str, numbers: range, shown_errors: int, folder: Path | None
) -> dict[str, Any]:
    """The share of right answers to the questions of these numbers; of videos also pooled by 2x2.

    Prints the first `shown_errors` wrong answers, and writes everything below the folder, unless that is None.
    """
    conversations = [conversation(renderer, family, number) for number in numbers]
    line: dict[str, Any] = {"renderer": renderer, "family": family, "n": len(conversations)}
    settings: dict[str, dict[str, Any]] = {"right": {}}
    if conversations[0].video:
        settings["pooled"] = POOLED
    for name, pooling in settings.items():
        results = ask(asked_of(conversations, pooling))
        line[name] = share_right(f"{renderer} {family} {name}", results, shown_errors)
        if name == "right":
            line["by_extent"] = by_extent(conversations, results)
        if folder is not None:
            save(folder / name / renderer / family, conversations, results)
    return line


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    add_options(parser)
    parser.add_argument("--renderer", nargs="+", choices=RENDERERS, default=list(RENDERERS))
    parser.add_argument("--families", nargs="+", choices=FAMILIES, default=list(FAMILIES))
    parser.add_argument("--pictures", type=int, default=200, metavar="N", help="questions a family (%(default)s)")
    parser.add_argument("--seed", type=int, default=0, help="the number of the first question (%(default)s)")
    parser.add_argument("--save", type=Path, metavar="FOLDER", help="write the pictures and the answers there")
    arguments = parser.parse_args()

    async def ask(messages: Sequence[Asked]) -> list[Outcome]:
        async with connected(arguments) as chat:
            return await outcomes(chat, messages)

    numbers = range(arguments.seed, arguments.seed + arguments.pictures)
    for renderer, family in itertools.product(arguments.renderer, arguments.families):
        line = accuracy(
            lambda messages: asyncio.run(ask(messages)), renderer, family, numbers, arguments.show, arguments.save
        )
        print(json.dumps(line), flush=True)


if __name__ == "__main__":
    main()
