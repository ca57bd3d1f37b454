"""The server's configuration: built once from the command line and the environment, and passed down."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from llava_interleave_serve.server.engine.base import PromptStyle, Transparency
from llava_interleave_serve.server.limits import Limits
from llava_interleave_serve.server.media.access import Access
from llava_interleave_serve.server.observability.tracing import GRPC
from llava_interleave_serve.server.prompt.token_budget import SHIPPED, Step

DEMO_CHECKPOINT = Path(__file__).resolve().parent.parent / "demo" / "checkpoint"


@dataclass(frozen=True, slots=True)
class ServerConfig:
    """Everything that the operator can choose.

    Attributes:
        model: a folder, or a name on the hub.
        served_model_name: the name that clients ask for; None for `model` itself.
        host: address to listen on.
        port: port to listen on.
        address_file: where the server writes its URL, for the health check of its container; None for nowhere.
        api_keys: keys of which clients must send one; empty if anybody may ask.
        metrics_without_key: True if `/metrics` needs no key.
        allowed_origins: origins whose pages may send requests; ("*",) for all, empty for none.
        playground: True to serve the page at `/`.
        isolates_keys: True if requests of different keys share no cached prompts and visuals.
        media_separator: text after each visual in the style `chat`.
        prompt_style: of a prompt whose request does not say; None for the checkpoint's.
        transparency: what is seen where a picture is transparent; None for what the checkpoint was evaluated with.
        low_detail: what is made of an image's `detail: low`: it is pooled, or the field is ignored.
        tools: True if tools may be called.
        auto_tools: what becomes of tools that the model may call and need not: their definitions are written to the
            prompt, or they are left out. None for `write`, and for the demo `omit`.
        adapters: names and folders of LoRA adapters of the language model.
        access: where media may come from.
        limits: what requests may ask for and take.
        scale_jpegs: True to decode JPEGs at a half of their size or less where that leaves enough pixels for a view.
        video_reader: what reads videos, one of VIDEO_READERS.
        visual_budget: steps by which `max_visual_tokens` is met.
        drain_delay: seconds after SIGTERM in which requests are still taken, while `/ready` is red.
        drain_timeout: seconds that running requests have to finish after SIGTERM and the delay.
        traces_endpoint: where OpenTelemetry spans go; None for nowhere.
        traces_protocol: how they go there, one of observability.tracing.PROTOCOLS.
        engine_args: vLLM's AsyncEngineArgs.
        sizes_memory: True if the operator has not said how much of the device's memory is taken.

    """

    model: str = str(DEMO_CHECKPOINT)
    served_model_name: str | None = None
    host: str = "127.0.0.1"
    port: int = 8000
    address_file: Path | None = None
    api_keys: tuple[str, ...] = field(default=(), repr=False)
    metrics_without_key: bool = False
    allowed_origins: tuple[str, ...] = ()
    playground: bool = True
    isolates_keys: bool = False
    media_separator: str = "\n"
    prompt_style: PromptStyle | None = None
    transparency: Transparency | None = None
    low_detail: Literal["pool", "ignore"] = "ignore"
    tools: bool = True
    auto_tools: Literal["write", "omit"] | None = None
    adapters: tuple[tuple[str, str], ...] = ()
    access: Access = Access()
    limits: Limits = Limits()
    scale_jpegs: bool = False
    video_reader: str = "pyav"
    visual_budget: tuple[Step, ...] = SHIPPED
    drain_delay: float = 0.0
    drain_timeout: float = 30.0
    traces_endpoint: str | None = None
    traces_protocol: str = GRPC
    engine_args: Any = field(default=None, repr=False)
    sizes_memory: bool = False

    @property
    def is_demo(self) -> bool:
        """True if the bundled demo checkpoint is served."""
        return self.model == str(DEMO_CHECKPOINT)

    @property
    def omits_auto_tools(self) -> bool:
        """True if tools that need not be called are left out. The demo knows no texts but its own questions."""
        return (self.auto_tools or ("omit" if self.is_demo else "write")) == "omit"

    @property
    def model_name(self) -> str:
        """The name under which the model is listed and asked for; the demo has a short one."""
        if self.served_model_name is not None:
            return self.served_model_name
        return "llava-interleave-demo" if self.is_demo else self.model
