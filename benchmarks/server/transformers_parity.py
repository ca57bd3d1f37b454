"""Compares the server's answers with those of transformers' own `generate`.

`python -m llava_interleave_serve.benchmarks.server.transformers_parity DATASET RESULTS [--records N]`

RESULTS is the folder of `llava-interleave eval DATASET --out RESULTS` with the bundled demo, unpooled. A random sample
of its questions (the seed is fixed) is answered again by transformers' LlavaForConditionalGeneration in float32, alone
and greedily, from the prompt's tokens and the pictures that the server would give its engine. Prints each difference,
and one JSON line last.
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
from llava_interleave_serve.demo import tokenizer
from llava_interleave_serve.server.admission import Admission
from llava_interleave_serve.server.config import DEMO_CHECKPOINT
from llava_interleave_serve.server.engine.base import ModelFacts
from llava_interleave_serve.server.limits import Limits
from llava_interleave_serve.server.media.access import Access
from llava_interleave_serve.server.media.image.resize import SquareResize
from llava_interleave_serve.server.media.loader import MediaLoader
from llava_interleave_serve.server.media.requester import Requester
from llava_interleave_serve.server.prompt import chat_request
from llava_interleave_serve.server.prompt.plan.media_plan import PlanRules
from llava_interleave_serve.server.prompt.renderer import RenderedPrompt, Renderer

TOKENS = 64  # the longest answer


class TransformersModel:
    """The demo in transformers, behind the server's renderer."""

    def __init__(self) -> None:
        tokeniser = tokenizer.load_or_train(DEMO_CHECKPOINT)
        self._image: int = tokeniser.convert_tokens_to_ids("<image>")
        self._decode = tokeniser.decode
        self._model = LlavaForConditionalGeneration.from_pretrained(DEMO_CHECKPOINT, dtype=torch.float32).eval()
        rules = tokeniser.backend_tokenizer.to_str()
        tower, context = self._model.config.vision_config, self._model.config.text_config.max_position_embeddings
        self._grid = tower.image_size // tower.patch_size
        facts = ModelFacts("demo", context, tower.image_size, self._grid, self._image, rules)
        loader = MediaLoader(Limits(), SquareResize(tower.image_size), Access(), Admission(Limits()))
        self._renderer = Renderer(facts, loader, "\n", PlanRules(self._grid, Limits()))

    async def answer(self, content: list[dict[str, Any]]) -> str:
        """The answer to one message of these content parts."""
        request = chat_request.parse({"messages": [{"role": "user", "content": content}]})
        requester = Requester()
        plans = await self._renderer.plan_media(request, requester)
        rendered = await self._renderer.render(request, plans, requester)
        return await asyncio.to_thread(self._generate, rendered)

    def _generate(self, rendered: RenderedPrompt) -> str:
        repeats = {self._image: self._grid**2}
        tokens = [token for token in rendered.token_ids for _ in range(repeats.get(token, 1))]
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


async def compare(dataset: Path, results: Path, number: int) -> dict[str, int]:
    """Compares so many answers, or all if there are fewer; prints each difference and returns the counts."""
    answers = {}
    for line in (results / ANSWERS_FILE).read_bytes().splitlines():
        answer = json.loads(line)
        answers[answer["row"], answer["turn"]] = answer["pred_response"].strip()
    records = [record for record in loading.load_records([dataset]) if (record.row, 0) in answers]
    sample = random.Random(0).sample(records, min(number, len(records)))
    model, equal = TransformersModel(), 0
    for record in sample:
        question = prompts.split_questions(record)[0]
        expected = await model.answer(prompts.message_content(question, prompts.VisualOptions()))
        answer = answers[record.row, 0]
        equal += expected == answer
        if expected != answer:
            print(f"{record.location}: transformers {expected!r}, the server {answer!r}")
    return {"asked": len(sample), "equal": equal}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("dataset", type=Path, help="the data set's file")
    parser.add_argument("results", type=Path, help="the evaluation's folder")
    parser.add_argument("--records", type=int, default=200, help="to compare (%(default)s)")
    arguments = parser.parse_args()
    print(json.dumps(asyncio.run(compare(arguments.dataset, arguments.results, arguments.records))))


if __name__ == "__main__":
    main()
