"""The authors' own results on tiny checkpoints: for each case its prompt, its visuals, and what their code computed.

The records were made by running the authors' code (LLaVA-VL/LLaVA-NeXT, main and branch inference) in float32.
"""

import json
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from transformers import AutoConfig

from llava_interleave_serve.model_executor import plugin
from llava_interleave_serve.model_executor.original import pictures
from llava_interleave_serve.model_executor.visual import Visual

FOLDER = Path(__file__).parent
PLACEHOLDER = -200  # of the records
SIZE, GRID, ROWS = 76, 5, 391


@dataclass(frozen=True)
class Case:
    """One prompt that the authors' code answered.

    record: as in the vectors. signatures: float32 [L, 8] of the model's input. logits: float32 [5, ROWS] of the
    prompt's last positions.
    """

    record: dict[str, Any]
    signatures: np.ndarray
    logits: np.ndarray

    @property
    def name(self) -> str:
        name: str = self.record["name"]
        return name

    @property
    def checkpoint(self) -> Path:
        return FOLDER / str(self.record["checkpoint"])

    def config(self) -> Any:
        """The checkpoint's configuration with the case's overwrites."""
        plugin.register()
        config = AutoConfig.from_pretrained(self.checkpoint)
        config.update(self.record["config_overwrites"])
        return config

    def token_ids(self, image_token: int) -> list[int]:
        return [image_token if token == PLACEHOLDER else token for token in self.record["input_ids"]]

    def visuals(self) -> list[list[Visual]]:
        """The visuals of each placeholder: one of an image, or a video's frames."""
        visual_format = self.config().visual_format
        made = []
        for visual in self.record["visuals"]:
            images = [Image.open(FOLDER / name).convert("RGB") for name in visual["images"]]
            if visual["modality"] == "video":
                made.append(pictures.video(images, SIZE, visual_format))
            elif visual["preprocess"] == "anyres":
                made.append([pictures.visual(images[0], SIZE, visual_format)])
            else:
                made.append([self._one_view(images[0], visual["preprocess"])])
        return made

    def _one_view(self, image: Image.Image, preprocess: str) -> Visual:
        """One view as the record's preprocessing has it; with a newline where the authors' code was given a list."""
        visual_format = self.config().visual_format
        view = pictures.one_view(image, SIZE, "pad" if preprocess == "pad" else "squash")
        is_list = self.record["images_argument"]["type"] == "list of tensors"
        return Visual(view[None], newline="end" if is_list and visual_format.has_newline else "none")


@cache
def all_cases() -> tuple[Case, ...]:
    """Every model case of the vectors, in the order of its files."""
    cases = []
    for file in sorted((FOLDER / "vectors").glob("*.json")):
        with np.load(file.with_suffix(".npz")) as arrays:
            for record in json.loads(file.read_text()):
                name = record["name"]
                cases.append(Case(record, arrays[f"{name}.embed_signature"], arrays[f"{name}.logits_last5"]))
    return tuple(cases)


def signature(embeddings: np.ndarray) -> np.ndarray:
    """What the records keep of input embeddings [L, H]: float [L, 8]."""
    middle = embeddings.shape[1] // 2
    signs = 1 - 2 * (np.arange(embeddings.shape[1]) % 2)
    columns = [embeddings[:, index] for index in (0, 1, middle, -1)]
    columns += [
        embeddings.sum(1),
        np.abs(embeddings).sum(1),
        np.sqrt((embeddings**2).sum(1)),
        (embeddings * signs).sum(1),
    ]
    return np.stack(columns, 1)
