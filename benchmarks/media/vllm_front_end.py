"""vLLM's own front end, to be measured: its OnlineRenderer with LlavaForConditionalGeneration and the hub's processor.

`python -m llava_interleave_serve.benchmarks.media.vllm_front_end`, started by `pictures`. The model class imports a
torchvision.
"""

import argparse
from pathlib import Path

from vllm.entrypoints.openai.chat_completion.protocol import ChatCompletionRequest
from vllm.renderers.online_renderer import OnlineRenderer

from llava_interleave_serve.benchmarks.media import front_end

CHAT_TEMPLATE = Path(__file__).resolve().parents[2] / "model_executor" / "chat_template.jinja"


def start(checkpoint: Path, _: argparse.Namespace) -> front_end.Render:
    """Returns vLLM's way from a body to the engine's input."""
    renderer, config = front_end.vllm_renderer(checkpoint, "LlavaForConditionalGeneration")
    online = OnlineRenderer(
        model_config=config,
        renderer=renderer,
        request_logger=None,
        chat_template=CHAT_TEMPLATE.read_text(),
        chat_template_content_format="auto",
    )

    async def render(body: bytes) -> int:
        _, (prompt,) = await online.render_chat(ChatCompletionRequest.model_validate_json(body))
        return len(prompt["prompt_token_ids"])

    return render


def main() -> None:
    front_end.run(start, argparse.ArgumentParser(description=__doc__))


if __name__ == "__main__":
    main()
