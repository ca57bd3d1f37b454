"""A server whose context does not fit its KV blocks, and the log of its memory."""

import re
from collections.abc import Iterator

import httpx
import openai
import pytest

from llava_interleave_serve.server.config import DEMO_CHECKPOINT
from tests.support import demo_server
from tests.support.checkpoints import CONFIG
from tests.support.demo_server import RunningServer

pytestmark = pytest.mark.engine
TEXT = CONFIG["text_config"]
TOKENS = 2080  # of the demo's own context, half or less
KV_BYTES = TOKENS * 2 * TEXT["num_hidden_layers"] * TEXT["num_key_value_heads"] * 32 * 4  # heads of 32 float32


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    folder = tmp_path_factory.mktemp("server")
    with demo_server.start(folder, str(DEMO_CHECKPOINT), "--kv-cache-memory-bytes", str(KV_BYTES)) as server:
        yield server


def context_of(server: RunningServer) -> int:
    body = {"model": server.model, "messages": [{"role": "user", "content": "Hello!"}]}
    length: int = httpx.post(f"{server.url}/v1/chat/completions/plan", json=body).json()["max_model_len"]
    return length


def test_the_front_end_knows_the_fitted_context(server: RunningServer) -> None:
    fitted = context_of(server)
    assert 1024 < fitted < 2200
    text = "red " * fitted
    with pytest.raises(openai.BadRequestError, match=f"more than the {fitted} tokens of this model's context"):
        server.client.chat.completions.create(model=server.model, messages=[{"role": "user", "content": text}])


def test_the_log_says_what_the_kv_blocks_hold(server: RunningServer) -> None:
    (line,) = [line for line in server.log.read_text().splitlines() if "memory: " in line]
    found = re.search(
        r"up to 0\.01 GiB for kept encoder outputs; ([\d,]+) KV blocks hold ([\d,]+) tokens or [\d,]+ unpooled visuals",
        line,
    )
    assert found is not None, line
    _, tokens = (int(number.replace(",", "")) for number in found.groups())
    assert context_of(server) <= tokens < 2200
    assert line.endswith(f"a context has {context_of(server):,}")
