"""The playground's files refer to each other and to nothing else, and its examples are what the demo's scenes give."""

import base64
import io
import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from llava_interleave_serve.demo import playground_examples
from llava_interleave_serve.server.prompt import chat_request
from llava_interleave_serve.server.routes.playground import FOLDER
from tests.support.app_client import CHAT, serving

pytestmark = pytest.mark.anyio
TEXTS = sorted(file for suffix in ("html", "js", "css") for file in FOLDER.glob(f"*.{suffix}"))
EXAMPLES: list[dict[str, Any]] = json.loads((FOLDER / "examples" / "examples.json").read_text())


@pytest.mark.parametrize(
    ("path", "kind"),
    [("/", "text/html"), ("/playground/main.js", "text/javascript"), ("/playground/page.css", "text/css")],
)
async def test_a_file_is_sent_again_only_when_it_has_changed(path: str, kind: str) -> None:
    async with serving() as client:
        first = await client.get(path)
        again = await client.get(path, headers={"If-None-Match": first.headers["etag"]})
        other = await client.get(path, headers={"If-None-Match": '"other"'})
    assert first.headers["content-type"].startswith(kind)
    assert first.headers["cache-control"] == "no-cache"
    assert (again.status_code, again.content) == (304, b"")
    assert other.content == first.content


async def test_without_the_playground_only_the_api_is_served() -> None:
    async with serving(playground=False) as client:
        for path in ("/", "/playground/main.js"):
            assert (await client.get(path)).json()["error"]["code"] == "not_found"
        assert (await client.get("/docs")).status_code == 200


def references(file: Path) -> list[str]:
    """The paths that a module imports, or a page links to."""
    text = file.read_text()
    if file.suffix == ".html":
        return [f"/{path}" for path in re.findall(r'(?:href|src)="([^"#]+)"', text)]
    pattern = r'from "\./([^"]+)"' if file.suffix == ".js" else r"url\(([^)]+)\)"
    return [f"/playground/{name}" for name in re.findall(pattern, text)]


@pytest.mark.parametrize("file", TEXTS, ids=lambda file: file.name)
async def test_everything_that_a_file_refers_to_is_served(file: Path) -> None:
    async with serving() as client:
        for path in references(file):
            assert (await client.get(path)).status_code == 200, path


@pytest.mark.parametrize("file", TEXTS, ids=lambda file: file.name)
def test_nothing_is_of_other_servers_or_inline_or_markup_from_text(file: Path) -> None:
    text = file.read_text()
    assert not re.findall(r"https?://\w", text)
    assert not re.findall(r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\(|new Function", text)
    if file.suffix == ".html":
        assert not re.findall(r"<style|\sstyle=|\son\w+=|<script(?![^>]*\bsrc=)", text)


def test_every_module_of_the_page_is_imported() -> None:
    texts = "".join(file.read_text() for file in TEXTS)
    for file in TEXTS:
        assert file.name == "index.html" or f'{file.name}"' in texts, file.name


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda example: example["title"])
async def test_an_example_is_a_request_that_is_answered(example: dict[str, Any]) -> None:
    def as_data(match: "re.Match[str]") -> str:
        content = base64.b64encode((FOLDER / "examples" / match[1]).read_bytes()).decode()
        return f'"url": "data:application/octet-stream;base64,{content}"'

    content = json.loads(re.sub(r'"url": "([^"]+)"', as_data, json.dumps(example["content"])))
    request = {"messages": [{"role": "user", "content": content}]}
    chat_request.parse(request)
    async with serving() as client:
        assert (await client.post(CHAT, json=request)).status_code == 200
        assert (await client.get(f"/playground/examples/{example['thumbnail']}")).status_code == 200


def test_the_examples_are_those_that_the_demo_draws(tmp_path: Path) -> None:
    playground_examples.write(tmp_path)
    names = {file.name for file in tmp_path.iterdir()}
    assert names == {file.name for file in (FOLDER / "examples").iterdir()}
    assert json.loads((tmp_path / "examples.json").read_text()) == EXAMPLES
    for name in names:
        if name.endswith(".png"):  # the same pixels; encoders differ in bytes
            drawn, kept = (
                Image.open(io.BytesIO((folder / name).read_bytes())) for folder in (tmp_path, FOLDER / "examples")
            )
            assert np.array_equal(np.asarray(drawn), np.asarray(kept)), name
