"""The shipped dataset is what its generator writes, the evaluation reads it whole, and every answer is right."""

import json
import random
from collections import Counter
from pathlib import Path

import av
import numpy as np
import pytest
from PIL import Image

from llava_interleave_serve.benchmarks.evaluation import demo_dataset, prompts
from llava_interleave_serve.benchmarks.evaluation.dataset import loading
from llava_interleave_serve.benchmarks.evaluation.dataset.records import Record
from llava_interleave_serve.benchmarks.evaluation.scoring import metrics
from llava_interleave_serve.demo.scenes import comparisons, directions, questions
from llava_interleave_serve.demo.scenes.families import one_question
from llava_interleave_serve.demo.scenes.questions import Conversation
from llava_interleave_serve.demo.training import batches, stages

FOLDER = demo_dataset.SHIPPED_FOLDER
RECORDS = FOLDER / demo_dataset.RECORDS_FILE
SCENARIOS = {
    "Spot the Difference", "Image Edit Instruction", "Visual Story Telling", "Text-rich VQA", "Multi-image VQA",
    "Low-level Comparison", "Caption Matching", "Puzzle", "Video QA", "Video Captioning", "Scene VQA", "Embodied Steps",
    "Single Image",
}  # fmt: skip


@pytest.fixture(scope="module")
def shipped() -> list[Record]:
    return loading.load_records([RECORDS])


def test_the_evaluation_reads_the_whole_demo_dataset(shipped: list[Record]) -> None:
    assert {record.category for record in shipped} == SCENARIOS
    assert Counter(record.dataset for record in shipped) == {
        dataset.name: demo_dataset.SHIPPED_RECORDS for dataset in demo_dataset.DATASETS
    }
    for record in shipped:
        metrics.metric_for(record.dataset, record.question_type)
        assert record.chance is not None
        assert record.split is not None
        assert prompts.split_questions(record)
    choices = {record.dataset for record in shipped if record.turns[0].answer in set("ABCD")}
    assert len(choices) == 2
    assert all(record.question_type == metrics.MULTI_CHOICE for record in shipped if record.dataset in choices)


def test_the_demo_dataset_follows_from_its_seeds(shipped: list[Record], tmp_path: Path) -> None:
    demo_dataset.write_dataset(tmp_path)
    assert (tmp_path / demo_dataset.RECORDS_FILE).read_text() == (RECORDS).read_text()
    written = {path.relative_to(tmp_path) for path in tmp_path.rglob("*") if path.is_file()}
    assert written == {path.relative_to(FOLDER) for path in FOLDER.rglob("*") if path.is_file()}
    for record in shipped:
        for medium in record.media:
            if medium.kind == "image":
                with (
                    Image.open(tmp_path / medium.name) as new,
                    Image.open(FOLDER / medium.name) as old,
                ):
                    # Encoders of JPEG differ a little from one release to the next.
                    assert np.abs(np.asarray(new).astype(int) - np.asarray(old)).mean() < 1.0, medium.name


def test_the_demo_dataset_is_small() -> None:
    assert sum(path.stat().st_size for path in FOLDER.rglob("*") if path.is_file()) < 4 * 1024 * 1024


def test_a_video_of_the_demo_dataset_has_a_frame_for_each_scene() -> None:
    for dataset in demo_dataset.DATASETS:
        conversation = dataset.conversation(0)
        if conversation.video:
            with av.open(FOLDER / "videos" / f"{dataset.name}-0.mp4") as video:
                frames = [frame.to_ndarray(format="rgb24").astype(float) for frame in video.decode(video=0)]
            assert len(frames) == len(conversation.scenes) == demo_dataset.VIDEO_FRAMES
            for index in (0, len(frames) // 2, len(frames) - 1):
                assert np.abs(frames[index] - conversation.scenes[index].draw(demo_dataset.VIDEO_SIZE)).mean() < 6.0


@pytest.mark.parametrize("dataset", demo_dataset.DATASETS, ids=lambda dataset: dataset.name)
def test_a_record_of_the_demo_dataset_is_one_question_of_its_family(dataset: demo_dataset.DemoDataset) -> None:
    for number in range(10):
        conversation = dataset.conversation(number)
        (turn,) = conversation.turns
        assert turn.family == dataset.family
        assert turn.family in batches.FAMILIES
        assert turn.topic in questions.TOPICS
        assert turn.answer


def test_every_answer_of_the_demo_dataset_about_pictures_is_right() -> None:
    """Read off the scenes again, by other means than they were made with."""
    for number in range(60):
        conversations = {dataset.family: dataset.conversation(number) for dataset in demo_dataset.DATASETS}
        kinds = {
            family: [set(map(str, scene.kinds)) for scene in conversation.scenes]
            for family, conversation in conversations.items()
        }
        turns = {family: conversation.turns[0] for family, conversation in conversations.items()}
        thing = turns["both"].question.removeprefix("Do both images show a ").rstrip("?")
        assert turns["both"].answer == ("Yes." if all(thing in scene_kinds for scene_kinds in kinds["both"]) else "No.")
        caption = turns["caption"].question.split(": a ")[1].split("?")[0].split(" and a ")
        fitting = [
            letter for letter, scene_kinds in zip("ABCD", kinds["caption"], strict=True) if set(caption) <= scene_kinds
        ]
        assert turns["caption"].answer == fitting[0]
        assert len(fitting) == 1
        pictures = [scene.draw(64).astype(float) for scene in conversations["quality"].scenes]
        strengths = [-picture.mean() for picture in pictures]
        if "noisier" in turns["quality"].question:
            strengths = [np.abs(np.diff(picture, axis=0)).mean() for picture in pictures]
        assert turns["quality"].answer == "AB"[int(np.argmax(strengths))]
        edit, (before, after) = turns["edit"].answer.rstrip("."), kinds["edit"]
        match edit.split():
            case ["Add", "a", *added]:
                assert after - before == {" ".join(added)}
                assert before <= after
            case ["Remove", "the", *removed]:
                assert before - after == {" ".join(removed)}
                assert after <= before
            case ["Make", "the", colour, shape, "a", form]:
                assert before - after == {f"{colour} {shape}"}
                assert after - before == {f"{colour} {form}"}
            case ["Make", "the", colour, shape, other]:
                assert before - after == {f"{colour} {shape}"}
                assert after - before == {f"{other} {shape}"}
            case other:
                raise AssertionError(other)
        story = [f"a {kind}" for scene_kinds in kinds["story"] for kind in scene_kinds]
        assert turns["story"].answer == f"First {', then '.join(story)}."
        series = [kind for scene_kinds in kinds["puzzle"] for kind in scene_kinds]
        period = next(period for period in (2, 3) if all(a == b for a, b in zip(series, series[period:], strict=False)))
        assert turns["puzzle"].answer == f"A {series[len(series) - period]}."
        letters = sorted(conversations["sign"].scenes[0].things, key=lambda thing: thing.x)
        assert turns["sign"].answer == f"{''.join(thing.kind.shape for thing in letters)}."
        step, views = turns["face"], conversations["face"]
        (index,) = [index for index, scene_kinds in enumerate(kinds["face"]) if step.topic in scene_kinds]
        assert step.answer == directions.STEPS[views.names[index]]


def test_yes_is_as_frequent_as_no_among_the_answers_of_the_demo_dataset() -> None:
    answers = Counter(turn.answer for seed in range(400) for turn in comparisons.alike(random.Random(seed), 1).turns)
    assert 160 < answers["Yes."] < 240


def test_the_demo_dataset_shares_no_seed_with_training_or_the_other_evaluation() -> None:
    seeds = {dataset.seed(number) for dataset in demo_dataset.DATASETS for number in range(1000)}
    assert len(seeds) == 1000 * len(demo_dataset.DATASETS)
    assert not any(seed.startswith((*(f"{name}-" for name in stages.STAGE_NAMES), "held out ")) for seed in seeds)


def test_the_demo_dataset_shares_no_scene_with_training() -> None:
    """Both draw from one distribution: that the seeds differ must show in the scenes."""
    trained: set[object] = set()
    for kind in batches.KINDS:
        for step in range(20):
            rng = random.Random(f"further-{step}")
            trained |= set(batches.draw_conversation(rng, kind, batches.KINDS[kind].visuals[0], 2).scenes)
    tested = {
        scene
        for dataset in demo_dataset.DATASETS
        for number in range(demo_dataset.SHIPPED_RECORDS)
        for scene in dataset.conversation(number).scenes
    }
    assert not trained & tested


def test_a_question_of_the_demo_dataset_names_cameras_and_marks_every_visual() -> None:
    cameras = one_question(lambda rng: questions.cameras(rng, 2, 2), "camera", random.Random(1))
    assert demo_dataset.marked_question(cameras).startswith(
        f"{cameras.names[0]}: <image>{cameras.names[1]}: <image>Which camera"
    )
    video = Conversation(cameras.scenes, cameras.turns, video=True)
    assert demo_dataset.marked_question(video) == f"<video>{cameras.turns[0].question}"


def test_the_records_of_the_demo_dataset_name_exactly_its_media_files(shipped: list[Record]) -> None:
    named = {medium.name for record in shipped for medium in record.media}
    written = {path.relative_to(FOLDER).as_posix() for path in FOLDER.rglob("*.*") if path.suffix != ".json"}
    assert named == written
    assert json.loads((RECORDS).read_text())
