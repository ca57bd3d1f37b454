"""A reader of videos is one that the server knows and that is installed."""

import argparse
import importlib.util

import pytest

from llava_interleave_serve.server import cli
from llava_interleave_serve.server.media.video.video_readers import VIDEO_READERS, installed_reader


def test_pyav_is_installed_and_the_default() -> None:
    assert installed_reader("pyav") == "pyav"
    assert cli.parse([]).video_reader == "pyav"


def test_a_reader_that_is_not_known_is_refused() -> None:
    with pytest.raises(argparse.ArgumentTypeError, match="must be pyav or decord, not opencv"):
        installed_reader("opencv")


@pytest.mark.parametrize("is_installed", [True, False])
def test_decord_is_taken_if_it_is_installed_and_refused_in_one_sentence_otherwise(
    is_installed: bool, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert "decord" in VIDEO_READERS
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: object() if is_installed else None)
    if is_installed:
        assert installed_reader("decord") == "decord"
        return
    with pytest.raises(SystemExit):
        cli.parse(["--video-reader", "decord"])
    last = capsys.readouterr().err.splitlines()[-1]
    assert last.endswith("--video-reader: decord is not installed: in a checkout, pip install -e '.[decord]'")
