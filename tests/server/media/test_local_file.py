"""Only regular files of one folder are read, and of each no more than its size said."""

import os
from pathlib import Path

import pytest

from llava_interleave_serve.server.errors import FetchError
from llava_interleave_serve.server.media import local_file


def test_a_file_that_has_grown_since_its_size_was_taken_is_read_up_to_that_size(tmp_path: Path) -> None:
    file = tmp_path / "a"
    file.write_bytes(b"abc")
    size = local_file.size_of(str(file), tmp_path)
    file.write_bytes(b"abc" * 1000)
    assert local_file.read(str(file), tmp_path, size) == b"abc"


def test_pipes_devices_sockets_and_folders_are_no_files(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "folder").mkdir()
    (tmp_path / "device").symlink_to("/dev/zero")
    (tmp_path / "circle").symlink_to(tmp_path / "circle")
    for name in ("pipe", "folder", "device", "circle", "absent", "nul\0l"):
        for take in (local_file.size_of, lambda path, folder: local_file.read(path, folder, 10)):
            with pytest.raises(FetchError, match="no such file"):
                take(str(tmp_path / name), tmp_path)


def test_a_file_that_becomes_a_pipe_behind_the_check_holds_nobody_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    os.mkfifo(tmp_path / "pipe")
    monkeypatch.setattr(Path, "is_file", lambda self: True)
    with pytest.raises(FetchError, match="no such file"):
        local_file.read(str(tmp_path / "pipe"), tmp_path, 10)
