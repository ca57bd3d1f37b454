"""Writes the demo checkpoint in the hub's format: `python -m llava_interleave_serve.demo.training.export WORK`."""

import argparse
import json
from pathlib import Path

import torch
from transformers import GenerationConfig, LlavaForConditionalGeneration, PreTrainedTokenizerFast

from llava_interleave_serve.demo import tokenizer
from llava_interleave_serve.demo.training import train, trainee

PREPROCESSOR = {
    "image_processor_type": "SiglipImageProcessor",
    "do_resize": True,
    "do_rescale": True,
    "do_normalize": True,
    "image_mean": [0.5, 0.5, 0.5],
    "image_std": [0.5, 0.5, 0.5],
    "resample": 3,
    "rescale_factor": 1 / 255,
}


def write(model: LlavaForConditionalGeneration, tokeniser: PreTrainedTokenizerFast, folder: Path) -> None:
    """Saves a checkpoint in the hub's format: weights in float16, and a configuration that runs them in float32."""
    model.generation_config = GenerationConfig(
        bos_token_id=tokeniser.pad_token_id, eos_token_id=tokeniser.eos_token_id, pad_token_id=tokeniser.pad_token_id
    )
    model.half().save_pretrained(folder)
    tokeniser.model_max_length = model.config.text_config.max_position_embeddings
    tokeniser.save_pretrained(folder)
    config = json.loads((folder / "config.json").read_text())
    for part in (config, config["text_config"], config["vision_config"]):
        part["dtype"] = "float32"
    (folder / "config.json").write_text(json.dumps(config, indent=2, sort_keys=True) + "\n")
    side = model.config.vision_config.image_size
    preprocessor = PREPROCESSOR | {"size": {"height": side, "width": side}}
    (folder / "preprocessor_config.json").write_text(json.dumps(preprocessor, indent=2, sort_keys=True) + "\n")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("work", type=Path, help="folder of the training's state")
    parser.add_argument("--to", type=Path, default=train.CHECKPOINT)
    arguments = parser.parse_args()
    tokeniser = tokenizer.load_or_train(arguments.work)
    trained = trainee.new_trainee(tokeniser)
    trained.load_state_dict(torch.load(arguments.work / "state.pt", weights_only=True)["trainee"])
    write(trained.model, tokeniser, arguments.to)


if __name__ == "__main__":
    main()
