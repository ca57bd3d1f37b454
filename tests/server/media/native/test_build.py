"""Whatever $CC is, pictures are read: by the C code, or else by Pillow."""

import logging
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from llava_interleave_serve.server.limits import Limits
from llava_interleave_serve.server.media.image.decode import decode_image
from llava_interleave_serve.server.media.image.resize import SquareResize
from llava_interleave_serve.server.media.native import build
from llava_interleave_serve.server.observability.timing import RequestTiming
from tests.support import attacked_server

SCRIPTS = {
    "fails silently": "exit 1",
    "fails with one message": "echo a.c:1: error: no >&2; exit 1",
    "fails with many messages": "seq 10000 >&2; exit 1",
    "fails in another encoding": r"printf '\344\377 nicht gefunden\n' >&2; exit 1",
    "prints another encoding": r"printf '\344\377'; exit 1",
    "is killed": "kill -9 $$",
    "writes nothing": "exit 0",
    "writes no library": 'while [ "$1" != -o ]; do shift; done; echo x > "$2"',
    "writes an empty file": 'while [ "$1" != -o ]; do shift; done; : > "$2"',
    "writes another library": 'while [ "$1" != -o ]; do shift; done; echo "int other(void){return 0;}" > "$2.c"; '
    'exec gcc -shared -fPIC -o "$2" "$2.c"',
    "never ends": "sleep 60",
}


@pytest.fixture(autouse=True)
def _fresh() -> Iterator[None]:
    build.compile_once.cache_clear()
    yield
    build.compile_once.cache_clear()


def assert_pillow_reads(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        assert build.library() is None
        for number in (1, 2):
            picture = attacked_server.picture_bytes(number)
            (view,) = decode_image(picture, SquareResize(16), Limits(), RequestTiming()).views
            assert np.asarray(view).shape == (16, 16, 3)
    (record,) = caplog.records
    assert len(record.getMessage().splitlines()) == 1
    assert len(record.getMessage()) < 1000


@pytest.mark.parametrize("name", SCRIPTS)
def test_a_compiler_that_makes_no_library_of_ours_leaves_pictures_to_pillow(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    script = tmp_path / "cc"
    script.write_text(f"#!/bin/sh\n{SCRIPTS[name]}\n")
    script.chmod(0o755)
    monkeypatch.setenv("CC", str(script))
    monkeypatch.setattr(build, "COMPILE_SECONDS", 5.0 if name != "never ends" else 0.2)
    assert_pillow_reads(caplog)


@pytest.mark.parametrize(
    "compiler", ["gcc 'x", 'gcc "', "gcc \\", "/", "no-such-compiler", "gcc --no-such-option", "''"]
)
def test_a_compiler_that_cannot_be_run_leaves_pictures_to_pillow(
    compiler: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("CC", compiler)
    assert_pillow_reads(caplog)


def test_a_compiler_with_options_compiles(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CC", "gcc -O1 -DX='a b'")
    assert build.library() is not None
