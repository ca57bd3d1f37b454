"""A dead engine, stuck threads, checkpoints that bring code, and what the server's processes open to others."""

import contextlib
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import httpx
import pytest

from llava_interleave_serve.server import app, cli
from llava_interleave_serve.server.config import ServerConfig
from tests.support import attacked_server, checkpoints, demo_server, scene_parts, source_imports
from tests.support.app_server import ROOT
from tests.support.attacked_server import CHAT, assert_refused, chat_body, media_part

SERVER = Path(app.__file__).parent


class TestEngineFailure:
    def test_a_server_whose_engine_is_dead_is_not_ready_and_refuses_requests(self, tmp_path: Path) -> None:
        with attacked_server.running(tmp_path) as target:
            target.assert_unharmed()
            target.engine.alive = False
            assert_refused(target.client.get("/ready"), 503)
            for body in (
                chat_body(scene_parts.text_part("x")),
                chat_body(media_part("image_url", target.media_url("content/picture"))),
            ):
                response = target.client.post(CHAT, json=body | {"stream": True})
                assert_refused(response, 503)
                assert int(response.headers["retry-after"]) > 0
            assert target.client.get("/health").status_code == 200
            assert target.media_host.requested_paths == []


CHECKPOINT_CODE = "from pathlib import Path\nPath(__file__).with_name('was_run').touch()\nclass Config: pass\n"


class TestUntrustedCheckpoints:
    @pytest.fixture
    def checkpoint(self, tmp_path: Path) -> Path:
        """A checkpoint that asks for its own code to be run."""
        auto = {"AutoConfig": "evil.Config", "AutoProcessor": "evil.Config", "AutoTokenizer": ["evil.Config", None]}
        folder = checkpoints.copy_of_demo(tmp_path / "checkpoint", auto_map=auto, trust_remote_code=True)
        (folder / "evil.py").write_text(CHECKPOINT_CODE)
        return folder

    def test_code_in_a_checkpoint_is_not_run_whatever_its_configuration_says(self, checkpoint: Path) -> None:
        args = cli.parse([str(checkpoint)]).engine_args
        assert args.trust_remote_code is False
        config = args.create_model_config()
        assert config.trust_remote_code is False
        assert not list(checkpoint.rglob("was_run"))

    def test_weights_are_read_from_safetensors_alone(self, checkpoint: Path) -> None:
        from vllm.config.load import LoadConfig
        from vllm.model_executor.model_loader import get_model_loader

        args = cli.parse([str(checkpoint)]).engine_args
        assert args.load_format == "safetensors"
        (checkpoint / "model.safetensors").unlink()
        (checkpoint / "pytorch_model.bin").write_bytes(b"\x80\4c__builtin__\nexit\n.")
        loader = get_model_loader(LoadConfig(load_format=args.load_format))
        with pytest.raises(RuntimeError, match="any model weights"):
            loader._prepare_weights(str(checkpoint), None, None, fall_back_to_pt=True, allow_patterns_overrides=None)


class TestLocalInterfaces:
    def test_the_server_listens_on_loopback_unless_told_otherwise(self) -> None:
        assert ServerConfig().host == "127.0.0.1"
        assert cli.parse([]).host == "127.0.0.1"
        assert cli.parse(["--host", "0.0.0.0"]).host == "0.0.0.0"

    def test_no_module_of_the_server_imports_a_module_that_unpickles(self) -> None:
        unsafe = {"pickle", "cloudpickle", "dill", "marshal", "shelve", "multiprocessing", "joblib"}
        for file in SERVER.rglob("*.py"):
            assert not unsafe & source_imports.top_level_packages(file), file

    def test_vllm_is_told_to_unpickle_nothing(self) -> None:
        code = (
            "from llava_interleave_serve.server.engine.defaults import prepare_environment; "
            "prepare_environment(True); "
            "from vllm import envs; print(envs.VLLM_ALLOW_INSECURE_SERIALIZATION)"
        )
        environment = {name: value for name, value in os.environ.items() if not name.startswith("VLLM_")}
        run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=environment)
        assert run.stdout.splitlines()[-1] == "False"

    def test_the_socket_of_a_video_worker_has_no_name(self) -> None:
        """A socket without a name can be used only by a process that was given its descriptor."""
        source = (SERVER / "media" / "video" / "worker_pool.py").read_text()
        assert "socketpair(socket.AF_UNIX" in source
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with ours, theirs:
            assert ours.getsockname() == ""


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
