"""The demo's accuracy through HTTP, on scenes it was not trained on: `python -m llava_interleave_serve.demo.evaluate`.

Asks a running server with the `openai` client, greedily, and compares whole answers. Each family is also asked with its
visuals in another order, where the right answer changes with the order. Videos are real files, sampled by the server.
"""

import argparse
import asyncio
import base64
import io
import json
import random
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import openai
from PIL import Image

from llava_interleave_serve.demo.scenes import questions
from llava_interleave_serve.demo.scenes.drawing import Scene
from llava_interleave_serve.demo.scenes.questions import Conversation, Turn

VIDEO_FRAMES = 8
FILE_FRAMES = 24
FILE_FPS = 8


def one_question(make: Callable[[random.Random], Conversation], family: str, rng: random.Random) -> Conversation:
    """A conversation of one question, of the family."""
    while True:
        talk = make(rng)
        turns = [turn for turn in talk.turns if turn.family == family]
        if turns and not talk.shown:
            return replace(talk, turns=turns[:1])


def _video(rng: random.Random) -> Conversation:
    return questions.video(rng, FILE_FRAMES, 2)


FAMILIES: dict[str, Callable[[random.Random], Conversation]] = {
    "describe": lambda rng: one_question(lambda r: questions.single_image(r, 1), "describe", rng),
    "which": lambda rng: one_question(lambda r: questions.images(r, r.randint(2, 8), 3), "which", rng),
    "count": lambda rng: one_question(lambda r: questions.images(r, r.randint(2, 8), 3), "count", rng),
    "change": lambda rng: one_question(lambda r: questions.difference(r, 1), "change", rng),
    "first": lambda rng: one_question(_video, "first", rng),
    "last": lambda rng: one_question(_video, "last", rng),
    "motion": lambda rng: one_question(_video, "motion", rng),
    "camera": lambda rng: one_question(lambda r: questions.cameras(r, r.randint(2, 6), 1), "camera", rng),
}
# What the right answer becomes when the visuals are reversed; a family that is not here does not depend on the order.
OPPOSITE = {"left": "right", "right": "left", "up": "down", "down": "up"}


def permuted(family: str, talk: Conversation, rng: random.Random) -> Conversation | None:
    """The same question about the same visuals in another order, with the answer that is right there."""
    turn, order = talk.turns[0], list(range(len(talk.scenes)))
    match family:
        case "which":
            rng.shuffle(order)
            shown = int(turn.answer.removeprefix("Image ").removesuffix(".")) - 1
            turn = replace(turn, answer=f"Image {order.index(shown) + 1}.")
        case "camera":
            rng.shuffle(order)
        case "first" | "last":
            order.reverse()
            shown_kinds = talk.scenes[order[0 if family == "first" else -1]].kinds
            turn = replace(turn, answer=questions.listing(shown_kinds))
        case "motion":
            order.reverse()
            word = next(word for word in OPPOSITE if f"{word}." in turn.answer)
            turn = replace(turn, answer=questions.movement(OPPOSITE[word]))
        case _:
            return None
    names = [talk.names[at] for at in order] if talk.names else []
    return replace(talk, scenes=[talk.scenes[at] for at in order], turns=[turn], names=names)


def image_url(scene: Scene, rng: random.Random) -> str:
    """The scene as a data URL: a PNG or JPEG of some size."""
    kind = rng.choice(("PNG", "JPEG"))
    data = image_bytes(scene, rng.randint(112, 336), kind)
    return f"data:image/{kind.lower()};base64,{base64.b64encode(data).decode()}"


def image_bytes(scene: Scene, size: int, kind: str) -> bytes:
    """The scene as a PNG or JPEG file."""
    buffer = io.BytesIO()
    Image.fromarray(scene.draw(size)).save(buffer, kind, quality=92, optimize=True)
    return buffer.getvalue()


def video_url(frames: Sequence[Scene]) -> str:
    """The scenes as an MP4 file in a data URL."""
    return f"data:video/mp4;base64,{base64.b64encode(video_bytes(frames)).decode()}"


def video_bytes(frames: Sequence[Scene], size: int = 224) -> bytes:
    """The scenes as an MP4 file."""
    import cv2  # noqa: PLC0415 - only to write videos

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "video.mp4"
        writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"mp4v"), FILE_FPS, (size, size))
        for scene in frames:
            writer.write(np.ascontiguousarray(scene.draw(size)[..., ::-1]))
        writer.release()
        return path.read_bytes()


def content(talk: Conversation, rng: random.Random, pooling: dict[str, Any]) -> list[dict[str, Any]]:
    """The parts of the message: the visuals, then the question."""
    question = {"type": "text", "text": talk.turns[0].question}
    if talk.video:
        video = {"url": video_url(talk.scenes), "num_frames": VIDEO_FRAMES, **pooling}
        return [{"type": "video_url", "video_url": video}, question]
    urls = [image_url(scene, rng) for scene in talk.scenes]
    if talk.names:
        views = [{"url": url, "name": name} for url, name in zip(urls, talk.names, strict=True)]
        return [{"type": "multi_view", "multi_view": {"views": views, **pooling}}, question]
    return [*({"type": "image_url", "image_url": {"url": url, **pooling}} for url in urls), question]


async def ask(client: openai.AsyncOpenAI, model: str, parts: list[dict[str, Any]]) -> str:
    message: Any = {"role": "user", "content": parts}  # openai's types do not know our parts
    answer = await client.chat.completions.create(model=model, messages=[message], temperature=0.0, max_tokens=40)
    return answer.choices[0].message.content or ""


async def accuracy(
    client: openai.AsyncOpenAI, model: str, arguments: argparse.Namespace, family: str
) -> dict[str, Any]:
    """The share of right answers in a family: as drawn, with the visuals permuted, and videos pooled by 2x2."""
    gate = asyncio.Semaphore(arguments.concurrency)

    async def right(talk: Conversation, rng: random.Random, pooling: dict[str, Any]) -> tuple[bool, Turn, str]:
        async with gate:
            got = await ask(client, model, content(talk, rng, pooling))
        return got == talk.turns[0].answer, talk.turns[0], got

    async def share(talks: list[Conversation], pooling: dict[str, Any]) -> float:
        done = await asyncio.gather(*(right(talk, random.Random(at), pooling) for at, talk in enumerate(talks)))
        for _, turn, got in [one for one in done if not one[0]][: arguments.show]:
            print(f"  {family}: {turn.question!r} -> {got!r}, not {turn.answer!r}")
        return round(sum(one[0] for one in done) / len(done), 4)

    talks = [FAMILIES[family](random.Random(f"held out {family} {at}")) for at in range(arguments.scenes)]
    turned = [permuted(family, talk, random.Random(at)) for at, talk in enumerate(talks)]
    line: dict[str, Any] = {"family": family, "scenes": len(talks), "right": await share(talks, {})}
    if all(talk is not None for talk in turned):
        line["permuted"] = await share([talk for talk in turned if talk is not None], {})
    if talks[0].video:
        line["pooled"] = await share(talks, {"pooling": "bilinear", "pool_stride": 2})
    return line


async def evaluate(arguments: argparse.Namespace) -> None:
    client = openai.AsyncOpenAI(base_url=arguments.base_url, api_key=arguments.api_key, max_retries=0, timeout=600)
    model = (await client.models.list()).data[0].id
    for family in arguments.families:
        print(json.dumps(await accuracy(client, model, arguments, family)), flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--base-url", default="http://127.0.0.1:8000/v1")
    parser.add_argument("--api-key", default="none")
    parser.add_argument("--scenes", type=int, default=500, help="scenes a family (%(default)s)")
    parser.add_argument("--families", nargs="+", choices=FAMILIES, default=list(FAMILIES))
    parser.add_argument("--concurrency", type=int, default=16)
    parser.add_argument("--show", type=int, default=0, help="print so many wrong answers a family")
    asyncio.run(evaluate(parser.parse_args()))


if __name__ == "__main__":
    main()
