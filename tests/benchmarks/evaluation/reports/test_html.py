"""The page shows every answer with its pictures, needs no other file, and runs nothing that a model wrote."""

import base64
import io
import re
from html.parser import HTMLParser
from pathlib import Path

from PIL import Image

from llava_interleave_serve.benchmarks.evaluation.dataset import loading
from llava_interleave_serve.benchmarks.evaluation.dataset.records import Medium
from llava_interleave_serve.benchmarks.evaluation.reports import html
from llava_interleave_serve.benchmarks.evaluation.scoring import aggregate
from llava_interleave_serve.benchmarks.evaluation.scoring.aggregate import DatasetResult, ScoredAnswer
from tests.support import datasets

HOSTILE = "</dd><script>alert(\"said\")</script> & 'quoted'"


class Page(HTMLParser):
    """The tags of a page, with their attributes."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attributes)))

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.tags if name == tag]


def dataset_result(folder: Path, count: int = 3) -> DatasetResult:
    datasets.video(folder / "v.mp4")
    records = [
        datasets.record(
            number, "RAVEN", "multi-choice", ("<image><image>Q", "A"), ("Again", "A"), image=["a.png", "b.png"]
        )
        for number in range(count)
    ]
    records.append(datasets.record(9, "RAVEN", "multi-choice", (HOSTILE, "A"), video="v.mp4"))
    read = loading.load_records([datasets.write_json(folder, records)])
    answers = [
        ScoredAnswer(record, turn, HOSTILE, None, float(turn == 0))
        for record in read
        for turn in range(len(record.turns))
    ]
    return DatasetResult("RAVEN", "multi-choice", answers=answers)


def written(folder: Path, limit: int = 99) -> str:
    result = dataset_result(folder)
    result.unanswered = 3
    splits = aggregate.group_into_splits([result], [answer.record for answer in result.answers], "reference")
    html.write(folder / "report.html", [result], splits, limit)
    return (folder / "report.html").read_text()


def test_every_answer_in_the_evaluation_page_is_an_article_with_its_verdict(tmp_path: Path) -> None:
    page = Page(written(tmp_path))
    assert [article["class"] for article in page.all("article")] == ["right", "wrong"] * 3 + ["right"]
    assert {article["data-set"] for article in page.all("article")} == {"RAVEN"}


def test_a_score_in_the_evaluation_page_is_a_bar_beside_that_of_the_paper(tmp_path: Path) -> None:
    page = Page(written(tmp_path))
    (width,) = [bar["style"] for bar in page.all("i")]
    assert width == "width: 57.1%"  # of seven answers the first of each of four conversations
    assert [mark["title"] for mark in page.all("u") if "title" in mark][:3] == [
        "GPT-4V: 17.1",
        "0.5B: 35.4",
        "7B: 48.7",
    ]


def test_the_evaluation_page_counts_unanswered_questions(tmp_path: Path) -> None:
    text = written(tmp_path)
    assert '<div class="tile bad"><b>3</b><span>not answered yet</span></div>' in text
    assert "<li>RAVEN: 3 questions are not answered yet.</li>" in text


def test_the_evaluation_page_embeds_small_pictures_and_frames(tmp_path: Path) -> None:
    sources = [str(image["src"]) for image in Page(written(tmp_path)).all("img")]
    assert len(sources) == 3 * 2 + html.FRAMES  # with the first turn alone
    for source in sources:
        head, _, data = source.partition(",")
        assert head == "data:image/jpeg;base64"
        with Image.open(io.BytesIO(base64.b64decode(data))) as picture:
            assert max(picture.size) <= html.SIDE


def test_the_evaluation_page_loads_nothing_from_elsewhere(tmp_path: Path) -> None:
    text = written(tmp_path)
    assert not re.findall(r"https?://|@import|<link", text)
    (policy,) = [meta["content"] for meta in Page(text).all("meta") if meta.get("http-equiv")]
    assert str(policy).startswith("default-src 'none'")


def test_an_answer_in_the_evaluation_page_cannot_become_markup(tmp_path: Path) -> None:
    text = written(tmp_path)
    assert len(Page(text).all("script")) == 1
    assert HOSTILE not in text
    assert "alert(&#34;said&#34;)" in text


def test_a_limited_evaluation_page_has_the_first_answers_of_each_dataset_and_says_so(tmp_path: Path) -> None:
    text = written(tmp_path, limit=2)
    assert len(Page(text).all("article")) == 2
    assert "RAVEN (2 of 7)" in text


def test_a_medium_that_cannot_be_read_has_no_picture_in_the_evaluation_page() -> None:
    assert html.thumbnails(Medium("image", "x", lambda: b"none")) == []
    assert html.thumbnails(Medium("video", "x", lambda: b"none")) == []
