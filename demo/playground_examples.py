"""Questions about drawn scenes for the playground, which the demo checkpoint answers.

`python -m llava_interleave_serve.demo.playground_examples FOLDER` writes examples.json and the files that it names;
server/playground/examples was written so.
"""

import io
import json
import random
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import av
from av.video.stream import VideoStream

from llava_interleave_serve.demo.scenes import questions, signs, stories
from llava_interleave_serve.demo.scenes.drawing import Scene
from llava_interleave_serve.demo.scenes.families import FAMILIES
from llava_interleave_serve.demo.scenes.message_parts import SAMPLED_FRAMES
from llava_interleave_serve.demo.scenes.picture_file import image_bytes
from llava_interleave_serve.demo.scenes.questions import Conversation
from llava_interleave_serve.demo.scenes.video_file import FPS

SIZE = 224  # pixels along a side
QUALITY = {"crf": "18", "b": "0", "deadline": "good"}  # of VP9, which every browser plays


class Example(NamedTuple):
    """A button of the playground.

    Attributes:
        name: begins the names of the files.
        title: what the user shows.
        make: draws the scenes and asks about them.
        seed: of what is drawn; chosen so that files are small and the question is one that people would ask.
        part: the type of the part that the scenes become.

    """

    name: str
    title: str
    make: Callable[[random.Random], Conversation]
    seed: int = 0
    part: str = "image_url"


EXAMPLES = (
    Example("image", "An image", lambda rng: questions.single_image(rng, 1), 2),
    Example("which", "Several images", FAMILIES["which"], 2),
    Example("change", "Two images", FAMILIES["change"], 10),
    Example("story", "A story", lambda rng: stories.story(rng, 3, 1), 5),
    Example("sign", "A sign", signs.reading, 7),
    Example("video", "A video", FAMILIES["motion"], 10, "video_url"),
    Example("frames", "Frames of a video", FAMILIES["first"], 5, "video_frames"),
    Example("cameras", "Camera views", FAMILIES["camera"], 7, "multi_view"),
)


def webm_bytes(scenes: Sequence[Scene]) -> bytes:
    """Draws the scenes as the frames of a WebM file (VP9) of FPS frames a second."""
    buffer = io.BytesIO()
    with av.open(buffer, "w", format="webm") as container:
        stream = container.add_stream("libvpx-vp9", rate=FPS, options=QUALITY)
        assert isinstance(stream, VideoStream)  # noqa: S101 - by the codec
        stream.width, stream.height, stream.pix_fmt = SIZE, SIZE, "yuv420p"
        for scene in scenes:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(scene.draw(SIZE), format="rgb24")))
        container.mux(stream.encode())
    return buffer.getvalue()


def files_and_content(example: Example) -> tuple[dict[str, bytes], list[dict[str, Any]], str]:
    """The files of an example by name, its message's content with their names as URLs, and the right answer."""
    conversation = example.make(random.Random(f"playground {example.name} {example.seed}"))
    turn, scenes = conversation.turns[0], conversation.scenes
    question = {"type": "text", "text": turn.question}
    if example.part == "video_frames":
        step = len(scenes) // SAMPLED_FRAMES
        scenes = scenes[::step][:SAMPLED_FRAMES]
    files = {f"{example.name}-{index}.png": image_bytes(scene, SIZE, "PNG") for index, scene in enumerate(scenes)}
    urls = [{"url": name} for name in files]
    if example.part == "video_url":
        name = f"{example.name}.webm"
        shown = {f"{example.name}-0.png": files[f"{example.name}-0.png"], name: webm_bytes(scenes)}
        part = {"type": "video_url", "video_url": {"url": name, "num_frames": SAMPLED_FRAMES}}
        return shown, [part, question], turn.answer
    if example.part == "video_frames":
        return files, [{"type": "video_frames", "video_frames": {"frames": urls}}, question], turn.answer
    if example.part == "multi_view":
        views = [{**url, "name": camera} for url, camera in zip(urls, conversation.names, strict=True)]
        return files, [{"type": "multi_view", "multi_view": {"views": views}}, question], turn.answer
    return files, [*({"type": "image_url", "image_url": url} for url in urls), question], turn.answer


def write(folder: Path) -> None:
    """Writes all examples into a folder."""
    folder.mkdir(parents=True, exist_ok=True)
    described = []
    for example in EXAMPLES:
        files, content, answer = files_and_content(example)
        for name, data in files.items():
            (folder / name).write_bytes(data)
        described.append(
            {
                "title": example.title,
                "question": content[-1]["text"],
                "thumbnail": next(iter(files)),
                "content": content,
                "answer": answer,
            }
        )
    (folder / "examples.json").write_text(json.dumps(described, indent=1) + "\n")


if __name__ == "__main__":
    write(Path(sys.argv[1]))
