"""A fake engine of a checkpoint in the authors' format, with tokeniser and sizes of the vectors' checkpoints."""

from pathlib import Path

from llava_interleave_serve.model_executor.any_resolution import AnyResolution
from llava_interleave_serve.model_executor.visual import VisualFormat
from llava_interleave_serve.server.engine.base import ModelFacts
from tests.support.fakes.engine import FakeEngine

FOLDER = Path(__file__).parent
IMAGE_TOKEN = 448  # behind the vocabulary
TINY = AnyResolution(((76, 152), (152, 76), (152, 152), (228, 76), (76, 228)), 76, 5)
ANYRES = VisualFormat("anyres", TINY, has_newline=True, video_newline="one_token")
DPO = VisualFormat("pad")


def engine(visual_format: VisualFormat = ANYRES) -> FakeEngine:
    fake = FakeEngine()
    tokenizer = (FOLDER / "checkpoint-anyres" / "tokenizer.json").read_text()
    fake.facts = ModelFacts("original", 4096, 76, 5, IMAGE_TOKEN, tokenizer, visual_format, "bench", "drop")
    return fake
