"""JSON schemas of the request's fields that steer the answer, as vLLM reads them."""

from typing import Any

from llava_interleave_serve.server.prompt.field_limits import MOST_BY_FIELD, MOST_INTEGER, MOST_OF_REPETITION

Schema = dict[str, Any]


def _field(description: str, **schema: Any) -> Schema:
    return {"description": description, **schema}


def _number(description: str, low: float, high: float, default: float, **bounds: Any) -> Schema:
    return _field(description, type="number", minimum=low, maximum=high, default=default, **bounds)


def _count(description: str, low: int = 0, **schema: Any) -> Schema:
    return _field(description, type="integer", minimum=low, **schema)


def _switch(description: str, *, default: bool = False) -> Schema:
    return _field(description, type="boolean", default=default)


def _tokens(description: str, name: str) -> Schema:
    return _field(description, type="array", items={"type": "integer", "minimum": 0}, maxItems=MOST_BY_FIELD[name])


JSON_SCHEMA_FORMAT: Schema = {
    "type": "object",
    "title": "json_schema",
    "properties": {
        "type": {"const": "json_schema"},
        "json_schema": {
            "type": "object",
            "properties": {
                "name": {"type": "string"},
                "description": {"type": ["string", "null"]},
                "schema": {"type": "object", "description": "The JSON schema that the answer keeps."},
                "strict": {"type": ["boolean", "null"]},
            },
            "required": ["name"],
        },
    },
    "required": ["type", "json_schema"],
}
REPETITION: Schema = {
    name: {"type": "integer", "minimum": 0, "maximum": most} for name, most in MOST_OF_REPETITION.items()
}
STRUCTURES: Schema = {
    "json": {"description": "A JSON schema, or its text.", "type": ["object", "string"]},
    "regex": {"type": "string"},
    "choice": {"type": "array", "items": {"type": "string"}},
    "grammar": {"description": "A context-free grammar in EBNF.", "type": "string"},
    "json_object": {"type": "boolean"},
    "structural_tag": {"type": "string"},
}

SCHEMAS: dict[str, Schema] = {
    "model": _field(
        "The served model or one of its adapters; another name is a 404. Without it, the model answers.", type="string"
    ),
    "stream": _switch("Answer by server-sent events, as the tokens come."),
    "stream_options": _field("What a stream also tells."),
    "max_tokens": _count(
        "The most tokens of the answer, lowered to what the prompt leaves of the context. Without it, all of that.",
        1,
    ),
    "max_completion_tokens": _count("The same, and counts before it.", 1),
    "min_tokens": _count("So many tokens before the answer may end.", default=0),
    "n": _count("Number of choices; equal ones at temperature 0.", 1, default=1),
    "temperature": _number("0 takes the likeliest token each time.", 0, 2, 1),
    "top_p": _field(
        "Sample from the likeliest tokens of this probability together.",
        type="number",
        exclusiveMinimum=0,
        maximum=1,
        default=1,
    ),
    "top_k": _field("Sample from this many likeliest tokens; 0 for all.", type="integer", minimum=-1, default=0),
    "min_p": _number("Leave out tokens below this share of the likeliest one's probability.", 0, 1, 0),
    "frequency_penalty": _number("Make a token less likely with each time that it was written.", -2, 2, 0),
    "presence_penalty": _number("Make tokens less likely that were written at all.", -2, 2, 0),
    "repetition_penalty": _field(
        "Above 1, make tokens of the prompt and the answer less likely.", type="number", exclusiveMinimum=0, default=1
    ),
    "logit_bias": _field(
        "Added to the logits, by token id.",
        type="object",
        additionalProperties={"type": "number", "minimum": -100, "maximum": 100},
        maxProperties=MOST_BY_FIELD["logit_bias"],
    ),
    "seed": _field(
        "Equal seeds give equal samples on the same server.",
        type="integer",
        minimum=-MOST_INTEGER,
        maximum=MOST_INTEGER - 1,
    ),
    "stop": _field(
        "Texts at which the answer ends, which are not part of it.",
        oneOf=[{"type": "string"}, {"type": "array", "items": {"type": "string"}, "maxItems": MOST_BY_FIELD["stop"]}],
    ),
    "stop_token_ids": _tokens("Tokens at which the answer ends.", "stop_token_ids"),
    "include_stop_str_in_output": _switch("Keep the text of `stop` in the answer."),
    "ignore_eos": _switch("Go on after the end token, to `max_tokens`."),
    "bad_words": _field("Texts that the answer may not hold.", type="array", items={"type": "string"}),
    "allowed_token_ids": _tokens("The only tokens that the answer may have.", "allowed_token_ids"),
    "logprobs": _switch("Tell the log probability of each token of the answer."),
    "top_logprobs": _count("And of so many likeliest tokens in its place. Needs `logprobs`.", maximum=20, default=0),
    "logprob_token_ids": _tokens("And of these tokens. Needs `logprobs`.", "logprob_token_ids"),
    "prompt_logprobs": _count(
        "Log probabilities of so many tokens at each place of the prompt, with `--max-prompt-logprobs`; not in streams."
    ),
    "return_token_ids": _switch("Give the token ids of the prompt and of the answer."),
    "return_tokens_as_token_ids": _switch("Write tokens of `logprobs` as `token_id:ID`."),
    "skip_special_tokens": _switch("Leave control tokens out of the answer's text.", default=True),
    "spaces_between_special_tokens": _switch("Put spaces between control tokens.", default=True),
    "response_format": _field(
        "The form of the answer: text, any JSON object, or JSON of a schema.",
        oneOf=[
            {"type": "object", "title": kind, "properties": {"type": {"const": kind}}, "required": ["type"]}
            for kind in ("text", "json_object")
        ]
        + [
            JSON_SCHEMA_FORMAT,
            {
                "type": "object",
                "title": "structural_tag",
                "required": ["type"],
                "properties": {"type": {"const": "structural_tag"}},
            },
        ],
    ),
    "structured_outputs": _field("vLLM's own structures: one of these.", type="object", properties=STRUCTURES),
    "repetition_detection": _field(
        "End the answer when a pattern of tokens repeats.", type="object", properties=REPETITION
    ),
    "use_beam_search": _switch("Search for the likeliest `n` answers instead of sampling."),
    "length_penalty": _number("Of beam search: above 1, prefer longer answers.", -10, 10, 1),
}
