"""Writes a bench for the demo checkpoint.

`python -m llava_interleave_serve.benchmarks.evaluation.demo_dataset FOLDER`

A counterpart of every scenario of M4-Instruct, in the format of LLaVA-Interleave Bench (docs/evaluation.md):
FOLDER/bench.json with its pictures and videos. Every record follows from its data set and number, and no scene of it is
one of training's, whose seeds are other ones.
"""

import argparse
import json
import random
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from llava_interleave_serve.benchmarks.evaluation.scoring import chance
from llava_interleave_serve.benchmarks.evaluation.scoring.metrics import MULTI_CHOICE, OPEN_ENDED
from llava_interleave_serve.demo.scenes import comparisons, directions, questions, signs, stories
from llava_interleave_serve.demo.scenes.drawing import Scene
from llava_interleave_serve.demo.scenes.families import one_question
from llava_interleave_serve.demo.scenes.picture_file import image_bytes
from llava_interleave_serve.demo.scenes.questions import Conversation
from llava_interleave_serve.demo.scenes.video_file import video_bytes

FOLDER = Path(__file__).resolve().parents[2] / "demo" / "dataset"  # the one that is shipped
FILE = "bench.json"
RECORDS = 20  # of a data set, in the one that is shipped
VIDEO_FRAMES = 64  # as many as the ablation asks for at most
VIDEO_SIZE = 112  # pixels
SIZES = (112, 144)  # pixels of a picture's side
IMAGES, VIDEOS, VIEWS, ONE_IMAGE = "Multi-image", "Multi-frame (video)", "Multi-view (3D)", "Single image"


@dataclass(frozen=True)
class DataSet:
    """A data set: the family of its questions, and how a conversation that asks one is made."""

    name: str
    split: str
    category: str
    family: str
    make: Callable[[random.Random], Conversation]
    question_type: str = OPEN_ENDED

    def conversation(self, number: int) -> Conversation:
        """The one question of a record."""
        return one_question(self.make, self.family, random.Random(self.seed(number)))

    def seed(self, number: int) -> str:
        return f"bench {self.name} {number}"


def _several(rng: random.Random) -> Conversation:
    return questions.images(rng, rng.randint(2, 6), 3)


def _film(rng: random.Random) -> Conversation:
    return stories.video(rng, VIDEO_FRAMES, 2)


def _views(rng: random.Random) -> Conversation:
    return directions.cameras(rng, rng.randint(3, 6), 6)


DATA_SETS = (
    DataSet("Demo-Change", IMAGES, "Spot the Difference", "change", lambda rng: comparisons.edited(rng, 1)),
    DataSet("Demo-Edit", IMAGES, "Image Edit Instruction", "edit", lambda rng: comparisons.edited(rng, 1)),
    DataSet(
        "Demo-Story", IMAGES, "Visual Story Telling", "story", lambda rng: stories.story(rng, rng.randint(2, 4), 1)
    ),
    DataSet("Demo-Sign", IMAGES, "Text-rich VQA", "sign", signs.reading),
    DataSet("Demo-Which", IMAGES, "Multi-image VQA", "which", _several),
    DataSet("Demo-Count", IMAGES, "Multi-image VQA", "count", _several),
    DataSet("Demo-Both", IMAGES, "Multi-image VQA", "both", lambda rng: comparisons.alike(rng, 1), MULTI_CHOICE),
    DataSet(
        "Demo-Quality",
        IMAGES,
        "Low-level Comparison",
        "quality",
        lambda rng: comparisons.compared(rng, 1),
        MULTI_CHOICE,
    ),
    DataSet(
        "Demo-Caption", IMAGES, "Caption Matching", "caption", lambda rng: comparisons.captioned(rng, 1), MULTI_CHOICE
    ),
    DataSet("Demo-Puzzle", IMAGES, "Puzzle", "puzzle", lambda rng: stories.puzzle(rng, rng.randint(3, 5))),
    DataSet("Demo-Motion", VIDEOS, "Video QA", "motion", _film),
    DataSet("Demo-First", VIDEOS, "Video QA", "first", _film),
    DataSet("Demo-Last", VIDEOS, "Video QA", "last", _film),
    DataSet("Demo-Film", VIDEOS, "Video Captioning", "video caption", _film),
    DataSet("Demo-Camera", VIEWS, "Scene VQA", "camera", _views),
    DataSet("Demo-View", VIEWS, "Scene VQA", "shown", _views),
    DataSet("Demo-Step", VIEWS, "Embodied Steps", "face", _views),
    DataSet("Demo-Describe", ONE_IMAGE, "Single Image", "describe", lambda rng: questions.single_image(rng, 1)),
)


def question(talk: Conversation) -> str:
    """The question after its visuals, each marked where it stands and named as it is."""
    if talk.video:
        return f"<video>{talk.turns[0].question}"
    named = [f"{name}: <image>" for name in talk.names] or ["<image>"] * len(talk.scenes)
    return f"{''.join(named)}{talk.turns[0].question}"


def picture(scene: Scene, rng: random.Random) -> tuple[bytes, str]:
    """The scene as the bytes of a PNG or JPEG, and which of them it is; noise makes PNGs large."""
    kind = "JPEG" if scene.noise else rng.choice(("PNG", "JPEG"))
    return image_bytes(scene, rng.randint(*SIZES), kind), kind


def records(count: int) -> list[tuple[dict[str, Any], Conversation]]:
    """The records of every data set, each with its conversation; the media have names, and are not drawn."""
    found = []
    for data_set in DATA_SETS:
        talks = [data_set.conversation(number) for number in range(count)]
        level = round(chance.level(data_set.question_type, [talk.turns[0].answer for talk in talks]), 4)
        for number, talk in enumerate(talks):
            fields = {
                "sample_id": f"{data_set.name}-{number}",
                "conversations": [
                    {"from": "human", "value": question(talk)},
                    {"from": "gpt", "value": talk.turns[0].answer},
                ],
                "metadata": {
                    "dataset": data_set.name,
                    "split": data_set.split,
                    "category": data_set.category,
                    "question_type": data_set.question_type,
                    "chance": level,
                },
            }
            found.append((fields, talk))
    return found


def write(folder: Path, count: int = RECORDS) -> None:
    """Writes the bench into a folder, in place of one that is there."""
    for old in ("images", "videos"):
        shutil.rmtree(folder / old, ignore_errors=True)
        (folder / old).mkdir(parents=True)
    written = []
    for fields, talk in records(count):
        name = fields["sample_id"]
        if talk.video:
            fields["video"] = [f"videos/{name}.mp4"]
            (folder / fields["video"][0]).write_bytes(video_bytes(talk.scenes, VIDEO_SIZE))
        else:
            fields["image"] = []
            rng = random.Random(f"pictures {name}")
            for at, scene in enumerate(talk.scenes):
                data, kind = picture(scene, rng)
                fields["image"].append(f"images/{name}-{at}.{kind.lower()}")
                (folder / fields["image"][at]).write_bytes(data)
        written.append(fields)
    (folder / FILE).write_text(json.dumps(written, indent=1) + "\n")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--records", type=int, default=RECORDS, help="records of each data set (%(default)s)")
    arguments = parser.parse_args()
    write(arguments.folder, arguments.records)


if __name__ == "__main__":
    main()
