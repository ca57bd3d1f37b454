"""The task for lmms-eval asks what `llava-interleave eval` asks, as far as it can be seen without lmms-eval."""

import importlib.util
import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from PIL import Image

from llava_interleave_serve.benchmarks.evaluation import prompts
from llava_interleave_serve.benchmarks.evaluation.dataset.records import Medium, QuestionAnswer, Record
from llava_interleave_serve.benchmarks.evaluation.scoring import metrics

ROOT = Path(__file__).resolve().parents[3]
FOLDER = ROOT / "benchmarks" / "lmms_eval"
DOCS = (ROOT / "docs" / "evaluation.md").read_text()


def load_task() -> Any:
    """The module as lmms-eval loads it: from its file."""
    spec = importlib.util.spec_from_file_location("task", FOLDER / "task.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


task = load_task()


def doc(question: str, pictures: int) -> dict[str, Any]:
    """A row as `datasets` gives it: sixteen columns, most of them empty. The pictures differ in width."""
    images = {f"image_{index}": Image.new("L", (index + 1, 1)) if index < pictures else None for index in range(16)}
    return {"question": question, **images}


@pytest.mark.parametrize(
    ("question", "pictures"),
    [
        ("<image><image>\nWhich?", 2),
        ("Image 1: <image>\nImage 2: <image>\nWhich?", 2),
        ("Which?\n<image> <image>", 2),
        ("Which?", 3),
        ("Which?", 0),
        ("<image>" * 16, 16),
    ],
)
def test_the_lmms_eval_task_puts_texts_and_pictures_where_our_own_prompts_do(question: str, pictures: int) -> None:
    media = tuple(Medium("image", str(index + 1), lambda: b"") for index in range(pictures))
    (ours,) = prompts.split_questions(Record("f", 0, "1", "d", "open-ended", (QuestionAnswer(question, ""),), media))
    (message,) = task.doc_to_messages(doc(question, pictures))
    assert message["role"] == "user"
    theirs = [part["text"] if part["type"] == "text" else str(part["url"].width) for part in message["content"]]
    assert theirs == [piece if isinstance(piece, str) else piece.name for piece in ours]
    assert all(part["url"].mode == "RGB" for part in message["content"] if part["type"] == "image")


def test_the_lmms_eval_task_refuses_marks_without_a_picture() -> None:
    with pytest.raises(ValueError, match="zip"):
        task.doc_to_messages(doc("<image><image>", 1))


def test_each_dataset_counts_once_in_the_overall_score_of_lmms_eval() -> None:
    results = [{"sub_task": "a", "score": score} for score in (1, 1, 1, 0)] + [{"sub_task": "b", "score": 0.25}]
    assert task.overall_score(results) == 0.5


def test_the_lmms_eval_task_names_existing_functions_and_our_answer_length() -> None:
    tagged: dict[str, str] = {}

    class Loader(yaml.SafeLoader):  # type: ignore[misc]  # yaml has no types
        """Keeps the names after `!function`."""

    Loader.add_constructor("!function", lambda loader, node: tagged.setdefault(node.value, node.value))
    config = yaml.load((FOLDER / "llava_interleave_local.yaml").read_text(), Loader)
    own = [name.removeprefix("task.") for name in tagged if name.startswith("task.")]
    assert sorted(own) == ["doc_to_messages", "doc_to_visual", "overall_score"]
    assert all(callable(getattr(task, name)) for name in own)
    assert config["generation_kwargs"]["max_new_tokens"] == metrics.MAX_TOKENS["lmms-eval"]


def test_the_documentation_names_the_lmms_eval_tasks_and_the_required_version() -> None:
    tasks = [re.findall(r"^task: (\w+)$", file.read_text(), re.MULTILINE) for file in FOLDER.glob("*.yaml")]
    assert set(re.findall(r"llava_interleave_local\w*", DOCS)) == {name for (name,) in tasks}
    (version,) = re.findall(r"--no-deps (lmms-eval==[\d.]+)", DOCS)
    assert version in (FOLDER / "requirements.txt").read_text()
