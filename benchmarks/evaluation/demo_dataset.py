"""Writes an evaluation dataset for the demo checkpoint.

`python -m llava_interleave_serve.benchmarks.evaluation.demo_dataset FOLDER`

It has a counterpart of every scenario of M4-Instruct, in the format of LLaVA-Interleave Bench (docs/evaluation.md):
FOLDER/records.json with its pictures and videos. Every record follows from the name of its dataset and its number. Its
scenes are none of those that the demo was trained on, since their seeds differ.
"""

import argparse
import json
import random
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from llava_interleave_serve.benchmarks.evaluation.scoring.chance import chance_level
from llava_interleave_serve.benchmarks.evaluation.scoring.metrics import MULTI_CHOICE, OPEN_ENDED
from llava_interleave_serve.demo.scenes import comparisons, directions, questions, signs, stories
from llava_interleave_serve.demo.scenes.drawing import Scene
from llava_interleave_serve.demo.scenes.families import one_question
from llava_interleave_serve.demo.scenes.picture_file import image_bytes
from llava_interleave_serve.demo.scenes.questions import Conversation
from llava_interleave_serve.demo.scenes.video_file import video_bytes

SHIPPED_FOLDER = Path(__file__).resolve().parents[2] / "demo" / "dataset"
RECORDS_FILE = "records.json"
SHIPPED_RECORDS = 20  # of each dataset
VIDEO_FRAMES = 64  # as many as the ablation asks for at most
VIDEO_SIZE = 112  # pixels of a video's side
PICTURE_SIZES = (112, 144)  # the smallest and largest side of a picture, in pixels
IMAGES, VIDEOS, VIEWS, ONE_IMAGE = "Multi-image", "Multi-frame (video)", "Multi-view (3D)", "Single image"


@dataclass(frozen=True)
class DemoDataset:
    """One dataset, whose records ask questions of one family.

    Attributes:
        name: Its name.
        split: The heading under which it is reported.
        category: The row to which it belongs.
        family: The family of its questions.
        make: Makes a conversation that asks such a question, among others, from a random generator.
        question_type: `open-ended` or `multi-choice`, which decides the metric.

    """

    name: str
    split: str
    category: str
    family: str
    make: Callable[[random.Random], Conversation]
    question_type: str = OPEN_ENDED

    def conversation(self, number: int) -> Conversation:
        """Returns the conversation of a record; it has one question."""
        return one_question(self.make, self.family, random.Random(self.seed(number)))

    def seed(self, number: int) -> str:
        """Returns the seed of a record. Another spelling would make other records than the shipped ones."""
        return f"bench {self.name} {number}"


class DemoRecord(NamedTuple):
    """A record without its media: its fields in records.json, and the conversation whose scenes are to be drawn."""

    fields: dict[str, Any]
    conversation: Conversation


class PictureFile(NamedTuple):
    """A picture's bytes, and their format: `PNG` or `JPEG`."""

    content: bytes
    file_format: str


def _images(rng: random.Random) -> Conversation:
    return questions.images(rng, rng.randint(2, 6), 3)


def _video(rng: random.Random) -> Conversation:
    return stories.video(rng, VIDEO_FRAMES, 2)


def _views(rng: random.Random) -> Conversation:
    return directions.cameras(rng, rng.randint(3, 6), 6)


DATASETS = (
    DemoDataset("Demo-Change", IMAGES, "Spot the Difference", "change", lambda rng: comparisons.edited(rng, 1)),
    DemoDataset("Demo-Edit", IMAGES, "Image Edit Instruction", "edit", lambda rng: comparisons.edited(rng, 1)),
    DemoDataset(
        "Demo-Story", IMAGES, "Visual Story Telling", "story", lambda rng: stories.story(rng, rng.randint(2, 4), 1)
    ),
    DemoDataset("Demo-Sign", IMAGES, "Text-rich VQA", "sign", signs.reading),
    DemoDataset("Demo-Which", IMAGES, "Multi-image VQA", "which", _images),
    DemoDataset("Demo-Count", IMAGES, "Multi-image VQA", "count", _images),
    DemoDataset("Demo-Both", IMAGES, "Multi-image VQA", "both", lambda rng: comparisons.alike(rng, 1), MULTI_CHOICE),
    DemoDataset(
        "Demo-Quality",
        IMAGES,
        "Low-level Comparison",
        "quality",
        lambda rng: comparisons.compared(rng, 1),
        MULTI_CHOICE,
    ),
    DemoDataset(
        "Demo-Caption", IMAGES, "Caption Matching", "caption", lambda rng: comparisons.captioned(rng, 1), MULTI_CHOICE
    ),
    DemoDataset("Demo-Puzzle", IMAGES, "Puzzle", "puzzle", lambda rng: stories.puzzle(rng, rng.randint(3, 5))),
    DemoDataset("Demo-Motion", VIDEOS, "Video QA", "motion", _video),
    DemoDataset("Demo-First", VIDEOS, "Video QA", "first", _video),
    DemoDataset("Demo-Last", VIDEOS, "Video QA", "last", _video),
    DemoDataset("Demo-Film", VIDEOS, "Video Captioning", "video caption", _video),
    DemoDataset("Demo-Camera", VIEWS, "Scene VQA", "camera", _views),
    DemoDataset("Demo-View", VIEWS, "Scene VQA", "shown", _views),
    DemoDataset("Demo-Step", VIEWS, "Embodied Steps", "face", _views),
    DemoDataset("Demo-Describe", ONE_IMAGE, "Single Image", "describe", lambda rng: questions.single_image(rng, 1)),
)


def marked_question(conversation: Conversation) -> str:
    """Returns the first question behind a mark for each visual; a camera's mark follows its name."""
    question = conversation.turns[0].question
    if conversation.video:
        return f"<video>{question}"
    marks = [f"{name}: <image>" for name in conversation.names] or ["<image>"] * len(conversation.scenes)
    return f"{''.join(marks)}{question}"


def picture_file(scene: Scene, rng: random.Random) -> PictureFile:
    """Draws a scene into a PNG or JPEG file; one with noise into a JPEG, since its PNG would be large."""
    file_format = "JPEG" if scene.noise else rng.choice(("PNG", "JPEG"))
    return PictureFile(image_bytes(scene, rng.randint(*PICTURE_SIZES), file_format), file_format)


def make_records(count: int) -> list[DemoRecord]:
    """Returns the first `count` records of every dataset; nothing is drawn."""
    records = []
    for dataset in DATASETS:
        conversations = [dataset.conversation(number) for number in range(count)]
        answers = [conversation.turns[0].answer for conversation in conversations]
        chance = round(chance_level(dataset.question_type, answers), 4)
        for number, conversation in enumerate(conversations):
            fields = {
                "sample_id": f"{dataset.name}-{number}",
                "conversations": [
                    {"from": "human", "value": marked_question(conversation)},
                    {"from": "gpt", "value": conversation.turns[0].answer},
                ],
                "metadata": {
                    "dataset": dataset.name,
                    "split": dataset.split,
                    "category": dataset.category,
                    "question_type": dataset.question_type,
                    "chance": chance,
                },
            }
            records.append(DemoRecord(fields, conversation))
    return records


def write_dataset(folder: Path, count: int = SHIPPED_RECORDS) -> None:
    """Writes `count` records of every dataset into a folder, in place of those that it has."""
    for name in ("images", "videos"):
        shutil.rmtree(folder / name, ignore_errors=True)
        (folder / name).mkdir(parents=True)
    records = [_with_media(record, folder) for record in make_records(count)]
    (folder / RECORDS_FILE).write_text(json.dumps(records, indent=1) + "\n")


def _with_media(record: DemoRecord, folder: Path) -> dict[str, Any]:
    """Writes a record's pictures or video into the folder, and returns its fields with their names."""
    fields, conversation = record
    sample_id = fields["sample_id"]
    if conversation.video:
        name = f"videos/{sample_id}.mp4"
        (folder / name).write_bytes(video_bytes(conversation.scenes, VIDEO_SIZE))
        return fields | {"video": [name]}
    rng = random.Random(f"pictures {sample_id}")
    names = []
    for index, scene in enumerate(conversation.scenes):
        picture = picture_file(scene, rng)
        names.append(f"images/{sample_id}-{index}.{picture.file_format.lower()}")
        (folder / names[-1]).write_bytes(picture.content)
    return fields | {"image": names}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, allow_abbrev=False)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--records", type=int, default=SHIPPED_RECORDS, help="records of each dataset (%(default)s)")
    arguments = parser.parse_args()
    write_dataset(arguments.folder, arguments.records)


if __name__ == "__main__":
    main()
