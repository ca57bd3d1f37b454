"""Fields of other servers and clients that this server does not have, and the values at which they ask for nothing.

Clients spell out defaults, and send hints that only another server could follow. A field is refused where its value
asks for what this server does not do; the error names the value that would do.
"""

import json
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

from llava_interleave_serve.server.errors import RequestError

# Who the client is, or hints for the speed of another server: whatever they say, the answer is the same.
HINTS = frozenset({
    "user", "metadata", "store", "safety_identifier", "prompt_cache_key", "prompt_cache_retention", "prediction",
    "include_reasoning", "separate_reasoning", "stream_reasoning",
})  # fmt: skip
# Fields of a message that say who wrote it, or how the message came about, and change nothing in the prompt.
MESSAGE_HINTS = frozenset({
    "name", "cache_control", "reasoning", "reasoning_content", "refusal", "annotations", "provider_specific_fields",
})  # fmt: skip
PART_HINTS = frozenset({"cache_control"})

OLDER_TOOLS = "this is an older form of tools: send the functions as tools, and function_call as tool_choice"
NO_REASONING = "these checkpoints do not reason before they answer"
NO_TEMPLATE = "the prompt is written as these checkpoints were trained, not by a template"
STRUCTURED = "this is an older name: send structured_outputs with 'json', 'regex', 'choice' or 'grammar'"


class Neutral(NamedTuple):
    """What a field may say although this server does not have it.

    Attributes:
        values: the values at which the field asks for nothing.
        reason: why every other value is refused.

    """

    values: tuple[Any, ...] = ()
    reason: str = ""


OFF = (False,)
FIELDS: Mapping[str, Neutral] = {
    "functions": Neutral(([],), OLDER_TOOLS),
    "function_call": Neutral(("none",), OLDER_TOOLS),
    "service_tier": Neutral(("auto", "default")),
    "modalities": Neutral((["text"],), "this server answers in text"),
    "audio": Neutral((), "this server answers in text"),
    "web_search_options": Neutral((), "this server searches nothing"),
    "verbosity": Neutral(("medium",), "say in a message how long the answer should be"),
    "reasoning_effort": Neutral(("none",), NO_REASONING),
    "reasoning": Neutral(({}, {"effort": "none"}, {"enabled": False}), NO_REASONING),
    "thinking": Neutral(({"type": "disabled"}, False), NO_REASONING),
    "think": Neutral(OFF, NO_REASONING),
    "enable_thinking": Neutral(OFF, NO_REASONING),
    "chat_template_kwargs": Neutral(({}, {"enable_thinking": False}, {"thinking": False}), NO_TEMPLATE),
    "chat_template": Neutral((), NO_TEMPLATE),
    "documents": Neutral(([],), "write documents as text parts"),
    "add_generation_prompt": Neutral((True,), NO_TEMPLATE),
    "continue_final_message": Neutral(OFF, NO_TEMPLATE),
    "add_special_tokens": Neutral(OFF, NO_TEMPLATE),
    "echo": Neutral(OFF),
    "no_stop_trim": Neutral(OFF, "say include_stop_str_in_output"),
    "return_hidden_states": Neutral(OFF),
    "best_of": Neutral((1,), "ask for several answers by n"),
    "priority": Neutral((0,), "all requests have the same priority"),
    "mm_processor_kwargs": Neutral(({},), "say pooling, pool_stride, num_frames or fps in the part itself"),
    "media_io_kwargs": Neutral(({},), "say num_frames or fps in video_url itself"),
    "mm_payload": Neutral(("tensors",)),
    "routed_experts_prompt_start": Neutral((0,)),
    "return_token_offsets": Neutral(OFF),
    "return_prompt_text": Neutral(OFF),
    "guided_json": Neutral((), STRUCTURED),
    "guided_regex": Neutral((), STRUCTURED),
    "guided_choice": Neutral((), STRUCTURED),
    "guided_grammar": Neutral((), STRUCTURED),
}

COMPLETION_FIELDS: Mapping[str, Neutral] = {
    **FIELDS,
    "suffix": Neutral(("",), "text is only written behind a prompt"),
    "use_beam_search": Neutral(OFF, "chats are searched by beams, completions are not"),
    "length_penalty": Neutral((1,), "it needs use_beam_search, which is for chats"),
}


def is_neutral(name: str, value: Any, body: Mapping[str, Any], fields: Mapping[str, Neutral]) -> bool:
    """True if the field asks for nothing that this server would have to do.

    body: the request's other fields. fields: FIELDS, or those of another kind of request.
    """
    if name in HINTS:
        return True
    if name == "functions" and body.get("function_call") == "none":
        return True
    return name in fields and is_one_of(value, fields[name].values)


def refusal(name: str, fields: Mapping[str, Neutral]) -> RequestError:
    """The error of a field that this server does not have, or that asks for what it does not do."""
    neutral = fields.get(name)
    if neutral is None:
        return RequestError(f"this server has no field {name[:80]!r}", param=name[:80])
    values = " or ".join(map(json.dumps, neutral.values))
    way_out = f"it may be {values}, or be left out" if values else "leave it out"
    return RequestError(f"{name}: {neutral.reason or 'this server does not do that'}; {way_out}", param=name)


def is_one_of(value: Any, values: Iterable[Any]) -> bool:
    """True if one of the JSON values is this one; false is not 0, and true is not 1."""
    return any(value == other and isinstance(value, bool) == isinstance(other, bool) for other in values)
