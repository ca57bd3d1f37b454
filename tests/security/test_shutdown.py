"""A thread that never ends does not keep the process from ending after SIGTERM."""

import contextlib
import signal
import sys
import threading
import time
from pathlib import Path

import httpx
import pytest

from tests.support import demo_server, scene_parts
from tests.support.app_server import ROOT

# `llava-interleave serve --port PORT` over a fake engine; the function {stuck} waits for ever.
COMMAND = """
import sys, threading
from types import SimpleNamespace
from llava_interleave_serve.server import cli, run
from llava_interleave_serve.server.config import ServerConfig
from llava_interleave_serve.server.media import loader
from llava_interleave_serve.server.prompt import renderer
from tests.support.fakes.engine import FakeEngine

def wait(*args, **options):
    print("stuck", flush=True)
    threading.Event().wait()

{stuck} = wait
run.VllmEngine = lambda args, name: FakeEngine()
engine_args = SimpleNamespace(enforce_eager=True)
cli.parse = lambda argv: ServerConfig(port=int(argv[1]), drain_timeout=1, engine_args=engine_args)
sys.argv[:1] = ["llava-interleave", "serve"]
cli.main()
"""
ONE_IMAGE = {"messages": [{"role": "user", "content": [scene_parts.image_part(1)]}]}


def ask(url: str) -> None:
    with contextlib.suppress(httpx.TransportError):
        httpx.post(f"{url}/v1/chat/completions", json=ONE_IMAGE, timeout=60)


class TestStuckDecoders:
    @pytest.mark.parametrize("stuck", ["loader.decode_image", "renderer.PromptWriter.write"])
    def test_the_process_ends_after_sigterm_while_a_thread_is_stuck(self, tmp_path: Path, stuck: str) -> None:
        command = [sys.executable, "-c", COMMAND.format(stuck=stuck)]
        with demo_server.running(command, tmp_path, PYTHONPATH=f"{ROOT}:{ROOT / 'src'}") as server:
            asking = threading.Thread(target=ask, args=[server.url], daemon=True)
            asking.start()
            deadline = time.monotonic() + 30
            while "stuck" not in server.log.read_text():
                assert time.monotonic() < deadline
                time.sleep(0.05)
            server.process.send_signal(signal.SIGTERM)
            assert server.process.wait(10) == 0
