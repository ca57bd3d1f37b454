"""This server's front end, to be measured: the renderer of `server/`, and vLLM's last step to the engine's input.

`python -m llava_interleave_serve.benchmarks.media.own_front_end`, started by `pictures`.
"""

import argparse
import time
from pathlib import Path

from llava_interleave_serve.benchmarks.media import front_end
from llava_interleave_serve.server.admission import Admission
from llava_interleave_serve.server.body import parse_json
from llava_interleave_serve.server.engine.base import ModelFacts
from llava_interleave_serve.server.limits import Limits
from llava_interleave_serve.server.media.access import Access
from llava_interleave_serve.server.media.image.resize import SquareResize
from llava_interleave_serve.server.media.loader import MediaLoader
from llava_interleave_serve.server.media.requester import Requester
from llava_interleave_serve.server.prompt import chat_request
from llava_interleave_serve.server.prompt.plan.media_plan import PlanRules
from llava_interleave_serve.server.prompt.renderer import Renderer


def start(checkpoint: Path, arguments: argparse.Namespace) -> front_end.Render:
    """Returns this server's way from a body to the engine's input."""
    renderer, _ = front_end.vllm_renderer(checkpoint, "LlavaInterleaveForConditionalGeneration")
    tokenizer = renderer.get_tokenizer()
    image_token = tokenizer.convert_tokens_to_ids("<image>")
    rules = tokenizer.backend_tokenizer.to_str()
    facts = ModelFacts("ours", front_end.CONTEXT, front_end.IMAGE_SIZE, front_end.GRID, image_token, rules)
    limits = Limits()
    loader = MediaLoader(limits, SquareResize(front_end.IMAGE_SIZE, arguments.scale_jpegs), Access(), Admission(limits))
    own = Renderer(facts, loader, "\n", PlanRules(front_end.GRID, limits))

    async def render(body: bytes) -> int:
        request = chat_request.parse(parse_json(body))
        requester = Requester()
        rendered = await own.render(request, await own.plan_media(request, requester), requester)
        prompt = {"prompt_token_ids": rendered.token_ids, "multi_modal_data": {"image": rendered.visuals}}
        engine_input = await renderer.process_for_engine_async(prompt, time.time())
        return len(engine_input["prompt_token_ids"])

    return render


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--scale-jpegs", action="store_true", help="the server's option")
    front_end.run(start, parser)


if __name__ == "__main__":
    main()
