"""The texts by which a model is told of tools, calls them, and learns the results: Hermes' format as Qwen2.5 has it.

The definitions end the system message, one JSON object a line between `<tools>` tags. A call is a JSON object of `name`
and `arguments` between `<tool_call>` tags, and a result stands between `<tool_response>` tags in a turn of the user
(https://huggingface.co/Qwen/Qwen2.5-7B-Instruct, chat_template; vLLM's parser `hermes` reads the same calls).
"""

import json
from collections.abc import Iterable, Sequence
from typing import Any

CALL_START, CALL_END = "<tool_call>", "</tool_call>"
RESULT_START, RESULT_END = "<tool_response>\n", "\n</tool_response>"
WRITTEN_FIELDS = ("name", "description", "parameters")  # of a function; `strict` is no matter of the model's
BEFORE_DEFINITIONS = """

# Tools

You may call one or more functions to assist with the user query.

You are provided with function signatures within <tools></tools> XML tags:
<tools>
"""
AFTER_DEFINITIONS = """
</tools>

For each function call, return a json object with function name and arguments within <tool_call></tool_call> XML tags:
<tool_call>
{"name": <function-name>, "arguments": <args-json-object>}
</tool_call>"""


def definitions_text(tools: Iterable[dict[str, Any]]) -> str:
    """What the system message ends in. tools: OpenAI's, `{"type": "function", "function": {...}}`."""
    lines = []
    for tool in tools:
        function = tool["function"]
        written = {name: function[name] for name in WRITTEN_FIELDS if name in function}
        lines.append(json.dumps({"type": "function", "function": written}, ensure_ascii=False))
    return BEFORE_DEFINITIONS + "\n".join(lines) + AFTER_DEFINITIONS


def forced_call_beginning(names: Sequence[str]) -> str:
    """The beginning of the answer that must be a call of one of these tools: what is certain of it.

    A call of one tool goes on with its arguments, another with the JSON object of name and arguments.
    """
    if len(names) > 1:
        return f"{CALL_START}\n"
    return f'{CALL_START}\n{{"name": {json.dumps(names[0], ensure_ascii=False)}, "arguments":'


def call_text(name: str, arguments: str) -> str:
    """A call that was made. arguments: JSON text, which is written as it is; empty for no arguments."""
    written = f'{{"name": {json.dumps(name, ensure_ascii=False)}, "arguments": {arguments.strip() or "{}"}}}'
    return f"{CALL_START}\n{written}\n{CALL_END}"
