"""The bench that is shipped: what the evaluator reads, made anew from its seeds, with every answer right."""

import json
import random
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from llava_interleave_serve.benchmarks.evaluation import demo_dataset, prompts
from llava_interleave_serve.benchmarks.evaluation.dataset import json_format
from llava_interleave_serve.benchmarks.evaluation.dataset.records import Record
from llava_interleave_serve.benchmarks.evaluation.scoring import metrics
from llava_interleave_serve.demo.scenes import comparisons, directions, questions
from llava_interleave_serve.demo.scenes.families import one_question
from llava_interleave_serve.demo.scenes.questions import Conversation
from llava_interleave_serve.demo.training import batches, stages

SCENARIOS = {
    "Spot the Difference", "Image Edit Instruction", "Visual Story Telling", "Text-rich VQA", "Multi-image VQA",
    "Low-level Comparison", "Caption Matching", "Puzzle", "Video QA", "Video Captioning", "Scene VQA", "Embodied Steps",
    "Single Image",
}  # fmt: skip


@pytest.fixture(scope="module")
def shipped() -> list[Record]:
    return json_format.read([demo_dataset.FOLDER / demo_dataset.FILE])


def test_the_evaluator_reads_it_whole(shipped: list[Record]) -> None:
    assert {record.category for record in shipped} == SCENARIOS
    assert Counter(record.data_set for record in shipped) == {
        one.name: demo_dataset.RECORDS for one in demo_dataset.DATA_SETS
    }
    for record in shipped:
        metrics.metric_of(record.data_set, record.question_type)
        assert record.chance is not None
        assert record.split is not None
        assert prompts.pieces(record)
    choices = {record.data_set for record in shipped if record.turns[0].answer in set("ABCD")}
    assert len(choices) == 2
    assert all(record.question_type == metrics.MULTI_CHOICE for record in shipped if record.data_set in choices)


def test_it_follows_from_its_seeds(shipped: list[Record], tmp_path: Path) -> None:
    demo_dataset.write(tmp_path)
    assert (tmp_path / demo_dataset.FILE).read_text() == (demo_dataset.FOLDER / demo_dataset.FILE).read_text()
    written = {path.relative_to(tmp_path) for path in tmp_path.rglob("*") if path.is_file()}
    assert written == {
        path.relative_to(demo_dataset.FOLDER) for path in demo_dataset.FOLDER.rglob("*") if path.is_file()
    }
    for record in shipped:
        for medium in record.media:
            if medium.kind == "image":
                with Image.open(tmp_path / medium.name) as new, Image.open(demo_dataset.FOLDER / medium.name) as old:
                    # Encoders of JPEG differ a little from one release to the next.
                    assert np.abs(np.asarray(new).astype(int) - np.asarray(old)).mean() < 1.0, medium.name


def test_it_is_small() -> None:
    assert sum(path.stat().st_size for path in demo_dataset.FOLDER.rglob("*") if path.is_file()) < 4 * 1024 * 1024


def test_a_video_has_a_frame_for_each_scene(tmp_path: Path) -> None:
    cv2 = pytest.importorskip("cv2")
    for data_set in demo_dataset.DATA_SETS:
        talk = data_set.conversation(0)
        if talk.video:
            video = cv2.VideoCapture(str(demo_dataset.FOLDER / "videos" / f"{data_set.name}-0.mp4"))
            frames = []
            while (read := video.read())[0]:
                frames.append(read[1][..., ::-1].astype(float))
            assert len(frames) == len(talk.scenes) == demo_dataset.VIDEO_FRAMES
            for at in (0, len(frames) // 2, len(frames) - 1):
                assert np.abs(frames[at] - talk.scenes[at].draw(demo_dataset.VIDEO_SIZE)).mean() < 6.0


@pytest.mark.parametrize("data_set", demo_dataset.DATA_SETS, ids=lambda one: one.name)
def test_a_record_is_one_question_of_its_family(data_set: demo_dataset.DataSet) -> None:
    for number in range(10):
        talk = data_set.conversation(number)
        (turn,) = talk.turns
        assert turn.family == data_set.family
        assert turn.family in batches.FAMILIES
        assert turn.topic in questions.TOPICS
        assert turn.answer


def test_every_answer_about_pictures_is_right() -> None:
    """Read off the scenes again, by other means than they were made with."""
    for number in range(60):
        talks = {one.family: one.conversation(number) for one in demo_dataset.DATA_SETS}
        kinds = {family: [set(map(str, scene.kinds)) for scene in talk.scenes] for family, talk in talks.items()}
        said = {family: talk.turns[0] for family, talk in talks.items()}
        thing = said["both"].question.removeprefix("Do both images show a ").rstrip("?")
        assert said["both"].answer == ("Yes." if all(thing in one for one in kinds["both"]) else "No.")
        caption = said["caption"].question.split(": a ")[1].split("?")[0].split(" and a ")
        fitting = [letter for letter, one in zip("ABCD", kinds["caption"], strict=True) if set(caption) <= one]
        assert said["caption"].answer == fitting[0]
        assert len(fitting) == 1
        darkness = [scene.draw(64).astype(float) for scene in talks["quality"].scenes]
        of = [-picture.mean() for picture in darkness]
        if "noisier" in said["quality"].question:
            of = [np.abs(np.diff(picture, axis=0)).mean() for picture in darkness]
        assert said["quality"].answer == "AB"[int(np.argmax(of))]
        edit, (before, after) = said["edit"].answer.rstrip("."), kinds["edit"]
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
        story = [f"a {one}" for scene in kinds["story"] for one in scene]
        assert said["story"].answer == f"First {', then '.join(story)}."
        series = [one for scene in kinds["puzzle"] for one in scene]
        period = next(period for period in (2, 3) if all(a == b for a, b in zip(series, series[period:], strict=False)))
        assert said["puzzle"].answer == f"A {series[len(series) - period]}."
        letters = sorted(talks["sign"].scenes[0].things, key=lambda thing: thing.x)
        assert said["sign"].answer == f"{''.join(thing.kind.shape for thing in letters)}."
        step, views = said["face"], talks["face"]
        (at,) = [at for at, one in enumerate(kinds["face"]) if step.topic in one]
        assert step.answer == directions.STEPS[views.names[at]]


def test_yes_is_as_frequent_as_no() -> None:
    answers = Counter(turn.answer for seed in range(400) for turn in comparisons.alike(random.Random(seed), 1).turns)
    assert 160 < answers["Yes."] < 240


def test_its_seeds_are_not_those_of_training_nor_of_the_other_evaluation() -> None:
    seeds = {data_set.seed(number) for data_set in demo_dataset.DATA_SETS for number in range(1000)}
    assert len(seeds) == 1000 * len(demo_dataset.DATA_SETS)
    assert not any(seed.startswith((*(f"{name}-" for name in stages.STAGE_NAMES), "held out ")) for seed in seeds)


def test_its_scenes_are_not_those_of_training() -> None:
    """Both draw from one distribution: that the seeds differ must show in the scenes."""
    trained: set[object] = set()
    for kind in batches.KINDS:
        for step in range(20):
            rng = random.Random(f"further-{step}")
            trained |= set(batches.draw_conversation(rng, kind, batches.KINDS[kind].visuals[0], 2).scenes)
    tested = {
        scene
        for one in demo_dataset.DATA_SETS
        for number in range(demo_dataset.RECORDS)
        for scene in one.conversation(number).scenes
    }
    assert not trained & tested


def test_a_question_names_cameras_and_marks_every_visual() -> None:
    one = one_question(lambda rng: questions.cameras(rng, 2, 2), "camera", random.Random(1))
    assert demo_dataset.question(one).startswith(f"{one.names[0]}: <image>{one.names[1]}: <image>Which camera")
    film = Conversation(one.scenes, one.turns, video=True)
    assert demo_dataset.question(film) == f"<video>{one.turns[0].question}"


def test_the_records_name_only_what_was_written(shipped: list[Record]) -> None:
    named = {medium.name for record in shipped for medium in record.media}
    written = {
        path.relative_to(demo_dataset.FOLDER).as_posix()
        for path in demo_dataset.FOLDER.rglob("*.*")
        if path.suffix != ".json"
    }
    assert named == written
    assert json.loads((demo_dataset.FOLDER / demo_dataset.FILE).read_text())
