"""The bundled checkpoint has the architecture that training makes."""

from typing import Any

from transformers import LlavaConfig

from llava_interleave_serve.demo import architecture
from llava_interleave_serve.server.config import DEMO_CHECKPOINT

WRITTEN_BY_THE_HUB = ("transformers_version", "dtype", "_name_or_path", "architectures")


def fields(config: LlavaConfig) -> dict[str, Any]:
    """The fields of a configuration and of its parts, without those in which its file is said to be written."""

    def kept(values: dict[str, Any]) -> dict[str, Any]:
        return {
            name: kept(value) if isinstance(value, dict) else value
            for name, value in values.items()
            if name not in WRITTEN_BY_THE_HUB
        }

    return kept(config.to_dict())


def test_the_bundled_checkpoint_has_the_architecture_that_training_makes() -> None:
    bundled = LlavaConfig.from_pretrained(DEMO_CHECKPOINT)
    text = bundled.text_config
    made = architecture.config(text.vocab_size, bundled.image_token_id, text.eos_token_id, text.pad_token_id)
    assert fields(bundled) == fields(made)
