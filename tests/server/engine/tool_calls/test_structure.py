"""Structures that keep a model to calls of tools, and what xgrammar makes of them."""

import json
from typing import Any

import pytest
import xgrammar
from transformers import AutoTokenizer

from llava_interleave_serve.server.config import DEMO_CHECKPOINT
from llava_interleave_serve.server.engine.tool_calls import structure

NODE = {
    "type": "object",
    "properties": {"x": {"$ref": "#/$defs/X"}, "y": {"type": "array", "items": {"$ref": "#"}}},
    "required": ["x"],
    "$defs": {"X": {"enum": ["a", "b"]}},
}


def tool(name: str, parameters: dict[str, Any] | None = None, **fields: Any) -> dict[str, Any]:
    function = {"name": name, **fields} | ({} if parameters is None else {"parameters": parameters})
    return {"type": "function", "function": function}


@pytest.fixture(scope="module")
def compiler() -> xgrammar.GrammarCompiler:
    tokenizer = AutoTokenizer.from_pretrained(DEMO_CHECKPOINT)
    return xgrammar.GrammarCompiler(xgrammar.TokenizerInfo.from_huggingface(tokenizer))


def accepts(compiler: xgrammar.GrammarCompiler, held: dict[str, Any], text: str) -> bool:
    """True if the structure allows the text, as vLLM compiles it, and that it ends there."""
    if "json" in held:
        grammar = compiler.compile_json_schema(json.dumps(held["json"]), any_whitespace=False, separators=(",", ":"))
    else:
        grammar = compiler.compile_structural_tag(held["structural_tag"])
    matcher = xgrammar.GrammarMatcher(grammar, terminate_without_stop_token=True)
    return bool(matcher.accept_string(text)) and bool(matcher.is_completed())


def held(tools: list[dict[str, Any]], choice: Any) -> dict[str, Any]:
    found = structure.call_structure(tools, choice)
    assert found is not None
    return found


OTHER_NODE = NODE | {"$defs": {"X": {"enum": ["c"]}}}
FORCED: list[tuple[list[dict[str, Any]], str, bool]] = [
    ([tool("f", NODE)], '{"x":"a","y":[{"x":"b"}]}', True), ([tool("f", NODE)], '{"x":"c"}', False),
    ([tool("f")], "{}", True), ([tool("f")], '{"a":1}', False),
    ([tool("f", {})], '{"a":1}', True), ([tool("f", {"type": "object"})], '{"a":1}', True),
    ([tool("f", {"properties": {"a": {"type": "integer"}}})], '{"a":1}', True),
    ([tool("f", {"properties": {"a": {"type": "integer"}}})], '{"a":"1"}', False),
    ([tool("f", NODE), tool("g")], '{"name":"f","arguments":{"x":"a","y":[{"x":"b"}]}}', True),
    ([tool("f", NODE), tool("g")], '{"name":"f","arguments":{"x":"a","y":[{"x":"c"}]}}', False),
    ([tool("f", NODE), tool("g")], '{"name":"g","arguments":{}}', True),
    ([tool("f", NODE), tool("g")], '{"name":"h","arguments":{}}', False),
    ([tool("f", NODE), tool("g", OTHER_NODE)], '{"name":"g","arguments":{"x":"c"}}', True),
    ([tool("f", NODE), tool("g", OTHER_NODE)], '{"name":"f","arguments":{"x":"c"}}', False),
    ([tool("f", NODE), tool("g", {"type": "object"})], '{"name":"g","arguments":{"q":1}}', True),
]  # fmt: skip


@pytest.mark.parametrize(("tools", "text", "allowed"), FORCED, ids=lambda value: str(value)[:60])
def test_a_forced_call_keeps_the_schema_of_its_tool(
    compiler: xgrammar.GrammarCompiler, tools: list[dict[str, Any]], text: str, allowed: bool
) -> None:
    assert accepts(compiler, held(tools, "required"), text) == allowed


def test_a_named_tool_is_forced() -> None:
    named = {"type": "function", "function": {"name": "f"}}
    assert held([tool("f", NODE)], named) == held([tool("f", NODE)], "required")
    assert structure.is_forced(named)
    assert not any(map(structure.is_forced, ("auto", "none", None)))


def test_without_strict_tools_the_model_is_free() -> None:
    assert structure.call_structure([tool("f", NODE), tool("g", NODE, strict=False)], "auto") is None


@pytest.mark.parametrize(
    ("text", "allowed"),
    [
        ("A red star.", True),
        ('Wait. <tool_call>\n{"name": "f", "arguments": {"x": "a"}}\n</tool_call>', True),
        ('<tool_call>\n{"name": "f", "arguments": {"x": "c"}}\n</tool_call>', False),
        ('<tool_call>\n{"name": "g", "arguments": {"x": "c"}}\n</tool_call>', True),
        ('<tool_call>\n{"name": "f", "arguments": {"x":     "a"}}\n</tool_call>', False),
        ("<tool_call> begins a call", False),
    ],
)
def test_a_call_of_a_strict_tool_in_text_keeps_its_schema(
    compiler: xgrammar.GrammarCompiler, text: str, allowed: bool
) -> None:
    tools = [tool("f", NODE | {"properties": {"x": {"$ref": "#/$defs/X"}}}, strict=True), tool("g", NODE)]
    assert accepts(compiler, held(tools, "auto"), text) == allowed
