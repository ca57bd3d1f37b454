"""Names of layers in a checkpoint's quantisation configuration: maps what vLLM's mapper of names leaves as it is."""

import re
from typing import Any

# A dot in the text of a regular expression.
_DOT = r"(?:\\?\.|\[\.\])"
# The hub's spellings in regular expressions (`weight_names.MAPPER` has those of names), and ours.
_SPELLINGS = {
    re.compile(rf"(?<!\w)(?:model{_DOT})?vision_tower(?!\w|\(\?:)"): r"vision_tower(?:\.vision_model)?",
    re.compile(rf"(?<!\w)model{_DOT}multi_modal_projector(?!\w)"): "multi_modal_projector",
    re.compile(rf"(?<!\w)model{_DOT}language_model(?!\w)"): r"language_model\.model",
    re.compile(r"(?<![\w.])lm_head(?!\w)"): r"language_model\.lm_head",
}
# compressed-tensors marks regular expressions; the rules of GPTQ are all expressions, some with a sign before them.
_IS_EXPRESSION = {"ignore": r"re:", "target_scheme_map": r"re:", "dynamic": ""}
_ENCODER = r"-:(?:vision_tower|multi_modal_projector)\."


def rename(quant_config: Any) -> None:
    """Maps the regular expressions of vLLM's quantisation configuration to our names.

    GPTQ's names of modules that are quantised are those within a layer of the language model, which vLLM finds in the
    tower too: a rule leaves out tower and projector, unless one of them is named.
    """
    for field, mark in _IS_EXPRESSION.items():
        names = getattr(quant_config, field, None)
        if isinstance(names, list):
            setattr(quant_config, field, [_renamed(name, mark) for name in names])
        elif isinstance(names, dict):
            setattr(quant_config, field, {_renamed(name, mark): value for name, value in names.items()})
    quantised = str(getattr(quant_config, "modules_in_block_to_quantize", None) or "")
    if (
        quantised
        and hasattr(quant_config, "dynamic")
        and not re.search("vision_tower|multi_modal_projector", quantised)
    ):
        quant_config.dynamic = {**quant_config.dynamic, _ENCODER: {}}


def _renamed(name: str, mark: str) -> str:
    if name.startswith(mark):
        for spelling, ours in _SPELLINGS.items():
            name = spelling.sub(lambda _, ours=ours: ours, name)  # type: ignore[misc]  # the default is its type
    return name
