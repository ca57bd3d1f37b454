"""A dead engine, stuck threads, idle connections, checkpoints that bring code, and what the server opens to others."""

import contextlib
import os
import resource
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import httpx
import pytest
import yaml

from llava_interleave_serve.server import app, cli
from llava_interleave_serve.server.config import ServerConfig
from llava_interleave_serve.server.errors import Overloaded, Unavailable
from llava_interleave_serve.server.http import descriptors
from llava_interleave_serve.server.limits import Limits
from tests.support import app_server, attacked_server, checkpoints, demo_server, scene_parts, source_imports
from tests.support.app_server import ROOT
from tests.support.attacked_server import CHAT, assert_refused, chat_body, media_part

SERVER = Path(app.__file__).parent


class TestRequestsThatEndEngines:
    def test_only_a_503_of_a_request_that_was_not_begun_says_that_another_server_may_be_asked(
        self, tmp_path: Path
    ) -> None:
        with attacked_server.running(tmp_path) as target:
            target.engine.fails = Unavailable("the engine has died")
            begun = target.chat(scene_parts.text_part("x"))
            target.engine.alive = False
            refused = target.chat(scene_parts.text_part("x"))
            assert (begun.status_code, begun.headers.get("X-Should-Retry")) == (503, None)
            assert (refused.status_code, refused.headers.get("X-Should-Retry")) == (503, "true")
            assert len(target.engine.asked) == 1

    def test_the_proxy_of_the_repository_repeats_no_request_that_was_begun(self) -> None:
        resources = yaml.safe_load((ROOT / "deploy" / "envoy.yaml").read_text())["static_resources"]
        (chain,) = resources["listeners"][0]["filter_chains"]
        (host,) = chain["filters"][0]["typed_config"]["route_config"]["virtual_hosts"]
        policies = [route["route"]["retry_policy"] for route in host["routes"]]
        for policy in policies:
            assert set(policy["retry_on"].split(",")) == {
                "connect-failure", "refused-stream", "reset-before-request", "retriable-status-codes",
                "retriable-headers",
            }  # fmt: skip
            assert policy["retriable_status_codes"] == [Overloaded.status]
            assert policy["retriable_headers"] == [{"name": "x-should-retry", "string_match": {"exact": "true"}}]


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


class TestIdleConnections:
    @pytest.mark.parametrize(
        "data",
        [
            b"", b"GET /health HT", b"GET /health HTTP/1.1\r\nHost: x\r\n",
            b"GET /health HTTP/1.1\r\nHost: x\r\n\r\nGET /health HTTP/1.1\r\n",
            b"POST /health HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\n",
            b"POST /health HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n",
        ],
        ids=["nothing", "half a line", "half a head", "half a second head", "no body", "no piece of a body"],
    )  # fmt: skip
    @pytest.mark.parametrize("trickle", [b"", b"1"], ids=["silent", "byte by byte"])
    def test_a_connection_without_a_request_is_closed(self, tmp_path: Path, data: bytes, trickle: bytes) -> None:
        limits = Limits(head_timeout=1.0)
        with (
            attacked_server.running(tmp_path, limits=limits) as target,
            socket.create_connection(("127.0.0.1", target.server.port), timeout=0.2) as connection,
        ):
            connection.sendall(data)
            deadline, is_open = time.monotonic() + 10, True
            while is_open:
                assert time.monotonic() < deadline
                try:
                    connection.sendall(trickle)
                    is_open = connection.recv(1 << 16) != b""
                except TimeoutError:
                    pass
                except ConnectionError:
                    is_open = False
            target.assert_unharmed()

    def test_a_request_that_takes_longer_than_its_headers_may_is_served(self, tmp_path: Path) -> None:
        with attacked_server.running(tmp_path, limits=Limits(head_timeout=0.5)) as target:
            target.engine.events *= 10
            target.engine.seconds_between = 0.1
            for _ in range(2):  # over one connection
                response = target.chat(scene_parts.text_part("x"), stream=True)
                assert response.text.endswith("data: [DONE]\n\n")

    def test_more_idle_connections_than_descriptors_shut_nobody_out(self, tmp_path: Path) -> None:
        with (
            app_server.in_process(tmp_path, "--descriptors", "64", "--head-timeout", "1") as server,
            contextlib.ExitStack() as connections,
        ):
            address = ("127.0.0.1", int(server.url.rpartition(":")[2]))
            for _ in range(100):
                connections.enter_context(socket.create_connection(address))
            started = time.monotonic()
            while True:
                with contextlib.suppress(httpx.TransportError):
                    assert httpx.get(f"{server.url}/health", timeout=1).status_code == 200
                    break
                assert time.monotonic() < started + 15
            assert len(server.log.read_text().splitlines()) < 100

    def test_connections_leave_descriptors_to_the_media(self) -> None:
        soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
        assert 0 < descriptors.most_connections() + descriptors.backlog() < soft

    def test_the_soft_limit_of_open_files_is_raised_to_the_hard_one(self) -> None:
        code = (
            "import resource; from llava_interleave_serve.server.http import descriptors; "
            "resource.setrlimit(resource.RLIMIT_NOFILE, (64, 512)); descriptors.raise_limit(); "
            "print(resource.getrlimit(resource.RLIMIT_NOFILE), descriptors.most_connections() > 300)"
        )
        run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
        assert run.stdout.strip() == "(512, 512) True"


CHECKPOINT_CODE = "from pathlib import Path\nPath(__file__).with_name('was_run').touch()\nclass Config: pass\n"


class TestUntrustedCheckpoints:
    @pytest.fixture
    def checkpoint(self, tmp_path: Path) -> Path:
        """A checkpoint that asks for its own code to be run."""
        auto = {"AutoConfig": "evil.Config", "AutoProcessor": "evil.Config", "AutoTokenizer": ["evil.Config", None]}
        folder = checkpoints.copy_of_demo(tmp_path / "checkpoint", auto_map=auto, trust_remote_code=True)
        (folder / "evil.py").write_text(CHECKPOINT_CODE)
        return folder

    @pytest.mark.usefixtures("on_every_platform")
    def test_code_in_a_checkpoint_is_not_run_whatever_its_configuration_says(self, checkpoint: Path) -> None:
        args = cli.parse([str(checkpoint)]).engine_args
        assert args.trust_remote_code is False
        config = args.create_model_config()
        assert config.trust_remote_code is False
        assert not list(checkpoint.rglob("was_run"))

    @pytest.mark.usefixtures("on_every_platform")
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

    def test_an_adapter_without_safetensors_is_refused(
        self, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        (tmp_path / "adapter_config.json").write_text("{}")
        (tmp_path / "adapter_model.bin").write_bytes(b"\x80\4c__builtin__\nexit\n.")
        with pytest.raises(SystemExit):
            cli.parse(["--lora-modules", f"a={tmp_path}"])
        assert "has no adapter_model.safetensors" in capsys.readouterr().err.splitlines()[-1]


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

    def test_the_socket_of_a_decode_process_has_no_name(self) -> None:
        """A socket without a name can be used only by a process that was given its descriptor."""
        source = (SERVER / "media" / "decoding" / "worker.py").read_text()
        assert "socket.socketpair()" in source
        ours, theirs = socket.socketpair()
        with ours, theirs:
            assert ours.getsockname() == ""


# `llava-interleave serve --port PORT` over a fake engine; the function {stuck} waits for ever.
COMMAND = """
import sys, threading
from types import SimpleNamespace
from llava_interleave_serve.server import cli, run
from llava_interleave_serve.server.config import ServerConfig
from llava_interleave_serve.server.media.decoding import pool
from llava_interleave_serve.server.prompt import renderer
from tests.support.fakes.engine import FakeEngine

def wait(*args, **options):
    print("stuck", flush=True)
    threading.Event().wait()

{stuck} = wait
run.VllmEngine = lambda *args, **options: FakeEngine()
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
    @pytest.mark.parametrize("stuck", ["pool.DecodeWorker", "renderer.PromptWriter.write"])
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
