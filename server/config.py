"""The server's configuration: built once, from the command line and the environment, and passed down."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from llava_interleave_serve.server.limits import Limits
from llava_interleave_serve.server.media.fetch import Access
from llava_interleave_serve.server.prompt.token_budget import SHIPPED, Step

DEMO_CHECKPOINT = Path(__file__).resolve().parent.parent / "demo" / "checkpoint"


@dataclass(frozen=True, slots=True)
class ServerConfig:
    """Everything the server is told.

    model: a folder or a name on the hub. engine_args: vLLM's AsyncEngineArgs. scale_jpegs: decodes JPEGs at a
    half of their size or less where that leaves enough.
    drain_timeout: how many seconds running requests have to finish after SIGTERM. visual_budget: how
    `max_visual_tokens` is met. traces_endpoint: where OpenTelemetry spans go (OTLP over gRPC), if anywhere.
    """

    model: str = str(DEMO_CHECKPOINT)
    served_model_name: str | None = None
    host: str = "127.0.0.1"
    port: int = 8000
    api_keys: tuple[str, ...] = field(default=(), repr=False)
    media_separator: str = "\n"
    access: Access = Access()
    limits: Limits = Limits()
    scale_jpegs: bool = False
    visual_budget: tuple[Step, ...] = SHIPPED
    drain_timeout: float = 30.0
    traces_endpoint: str | None = None
    engine_args: Any = field(default=None, repr=False)

    @property
    def model_name(self) -> str:
        """The name under which the model is listed and asked for; the demo's is short."""
        if self.served_model_name is not None:
            return self.served_model_name
        return "llava-interleave-demo" if self.model == str(DEMO_CHECKPOINT) else self.model
