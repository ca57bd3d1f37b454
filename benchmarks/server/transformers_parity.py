"""Answers through the server beside transformers' own.

`python -m llava_interleave_serve.benchmarks.server.transformers_parity BENCH RESULTS [--records N]`

RESULTS: the folder of `llava-interleave eval BENCH --out RESULTS`, asked of the bundled demo, unpooled. So many of its
questions, drawn with a seed, are asked anew of transformers' LlavaForConditionalGeneration in float32, alone and
greedily, with the prompt's tokens and the pictures that the server would give its engine. Prints each difference, and
one JSON line last.
"""

import argparse
import asyncio
import json
import random
from pathlib import Path
from typing import Any

import numpy as np
import torch
from transformers import LlavaForConditionalGeneration

from llava_interleave_serve.benchmarks.evaluation import prompts
from llava_interleave_serve.benchmarks.evaluation.answer_store import ANSWERS_FILE
from llava_interleave_serve.benchmarks.evaluation.dataset import loading
from llava_interleave_serve.demo import architecture, tokenizer
from llava_interleave_serve.server.config import DEMO_CHECKPOINT
from llava_interleave_serve.server.engine.vllm_engine import ModelFacts
from llava_interleave_serve.server.limits import Limits
from llava_interleave_serve.server.media.fetch import Access
from llava_interleave_serve.server.media.image.squash import Squash
from llava_interleave_serve.server.media.loader import MediaLoader
from llava_interleave_serve.server.observability.timing import Phases
from llava_interleave_serve.server.prompt import chat_request
from llava_interleave_serve.server.prompt.renderer import Rendered, Renderer

TOKENS = 64


class Peer:
    """transformers' model of the demo, given what the server renders."""

    def __init__(self) -> None:
        tokeniser = tokenizer.load_or_train(DEMO_CHECKPOINT)
        self._image: int = tokeniser.convert_tokens_to_ids("<image>")
        self._decode = tokeniser.decode
        self._model = LlavaForConditionalGeneration.from_pretrained(DEMO_CHECKPOINT, dtype=torch.float32).eval()
        rules = tokeniser.backend_tokenizer.to_str()
        facts = ModelFacts("demo", tokenizer.CONTEXT, architecture.IMAGE_SIZE, architecture.GRID, self._image, rules)
        loader = MediaLoader(Limits(), Squash(architecture.IMAGE_SIZE), Access())
        self._renderer = Renderer(facts, Limits(), loader, "\n")

    async def answer(self, content: list[dict[str, Any]]) -> str:
        request = chat_request.parse({"messages": [{"role": "user", "content": content}]})
        rendered = await self._renderer.render(request, self._renderer.parts(request), Phases())
        return await asyncio.to_thread(self._generate, rendered)

    def _generate(self, rendered: Rendered) -> str:
        repeats = {self._image: architecture.PATCHES}
        tokens = [one for one in rendered.token_ids for _ in range(repeats.get(one, 1))]
        views = torch.from_numpy(np.concatenate([visual.views for visual in rendered.visuals]))
        with torch.inference_mode():
            generated = self._model.generate(
                input_ids=torch.tensor([tokens]),
                attention_mask=torch.ones(1, len(tokens), dtype=torch.long),
                pixel_values=views.permute(0, 3, 1, 2).float() / 127.5 - 1.0,
                max_new_tokens=TOKENS,
                do_sample=False,
            )
        return str(self._decode(generated[0, len(tokens) :], skip_special_tokens=True)).strip()


async def compare(bench: Path, results: Path, wanted: int) -> dict[str, int]:
    answers = {}
    for line in (results / ANSWERS_FILE).read_text().splitlines():
        answer = json.loads(line)
        answers[answer["row"], answer["turn"]] = answer["pred_response"].strip()
    records = [record for record in loading.load_records([bench]) if (record.row, 0) in answers]
    sample = random.Random(0).sample(records, min(wanted, len(records)))
    peer, equal = Peer(), 0
    for record in sample:
        question = prompts.split_questions(record)[0]
        mine = await peer.answer(prompts.message_content(question, prompts.VisualOptions()))
        theirs = answers[record.row, 0]
        equal += mine == theirs
        if mine != theirs:
            print(f"{record.location}: transformers {mine!r}, the server {theirs!r}")
    return {"asked": len(sample), "equal": equal}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("bench", type=Path)
    parser.add_argument("results", type=Path)
    parser.add_argument("--records", type=int, default=200)
    arguments = parser.parse_args()
    print(json.dumps(asyncio.run(compare(arguments.bench, arguments.results, arguments.records))))


if __name__ == "__main__":
    main()
