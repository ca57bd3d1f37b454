"""The clients that are run against the server, and where their scripts and locked packages are."""

from dataclasses import dataclass
from pathlib import Path

CLIENTS = Path(__file__).resolve().parents[2] / "clients"
SCRIPTS, REQUIREMENTS, NODE, JAVA = (CLIENTS / name for name in ("scripts", "requirements", "node", "java"))


@dataclass(frozen=True)
class Client:
    """A client.

    Attributes:
        title: its name in the table of docs/clients.md.
        packages: the packages, in their registry's spelling, whose versions are the client's.
        environment: the name of its lock in `requirements`, and of its environment; None for this project's own.
        script: the name of its script, in `scripts` or `node`; None if its test needs none.
    """

    title: str
    packages: tuple[str, ...]
    environment: str | None
    script: str | None = None

    @property
    def source(self) -> Path:
        """The file in which the client's steps are."""
        assert self.script is not None
        return (NODE if self.script.endswith(".mjs") else SCRIPTS) / self.script


OPENAI_PYTHON = Client("openai-python", ("openai",), None, "ask_openai.py")
PYTHON_CLIENTS = (
    Client("LangChain", ("langchain", "langchain-openai"), "langchain", "ask_langchain.py"),
    Client("LlamaIndex", ("llama-index-core", "llama-index-llms-openai-like"), "llama-index", "ask_llama_index.py"),
    Client("LiteLLM SDK", ("litellm",), "litellm", "ask_litellm.py"),
    Client("LiteLLM proxy", ("litellm",), "litellm", "ask_litellm_proxy.py"),
    Client("instructor", ("instructor", "openai"), "instructor", "ask_instructor.py"),
    Client("pydantic-ai", ("pydantic-ai-slim",), "pydantic-ai", "ask_pydantic_ai.py"),
    Client("OpenAI Agents SDK", ("openai-agents",), "agents", "ask_agents.py"),
    Client("AutoGen", ("autogen-agentchat", "autogen-ext"), "autogen", "ask_autogen.py"),
    Client("Semantic Kernel", ("semantic-kernel",), "semantic-kernel", "ask_semantic_kernel.py"),
    Client("Open WebUI", ("open-webui",), "open-webui", "ask_open_webui.py"),
)
NODE_CLIENTS = (
    Client("openai-node", ("openai",), "node", "ask_openai.mjs"),
    Client("Vercel AI SDK", ("ai", "@ai-sdk/openai", "@ai-sdk/openai-compatible"), "node", "ask_ai_sdk.mjs"),
)
JDK = Client("JDK HttpClient", ("java",), None)
GUIDELLM = Client("guidellm", ("guidellm",), "guidellm")
AIPERF = Client("AIPerf", ("aiperf",), "aiperf")
VLLM_BENCH = Client("vllm bench serve", ("vllm",), None)
ALL = (OPENAI_PYTHON, *NODE_CLIENTS, *PYTHON_CLIENTS, JDK, VLLM_BENCH, GUIDELLM, AIPERF)
