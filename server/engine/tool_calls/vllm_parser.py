"""The calls in an answer as vLLM's chat serving takes them from a parser."""

from collections.abc import Iterable, Sequence
from typing import Any

from llava_interleave_serve.server.engine import vllm_compat
from llava_interleave_serve.server.engine.tool_calls.call_reader import Arguments, CallReader, CallStart, Event, Text


class HermesParser(vllm_compat.Parser):
    """vLLM's parser of one choice. Without tools that may be called, all is text.

    vLLM's own `hermes` loses the text behind a `<tool_call>` that begins no call, takes names that no tool has, and
    searches the whole answer again for each token.
    """

    tool_parser_cls = vllm_compat.ToolParser  # tells vLLM's chat serving that there is a parser of tools

    def __init__(self, tokenizer: Any, tools: Iterable[Any] | None = None, **_: Any) -> None:
        self.model_tokenizer = tokenizer
        self._reasoning_parser = self._tool_parser = None
        self._names = frozenset(tool.function.name for tool in tools or ())
        self._reader: CallReader | None = None
        self._calls = 0

    def is_reasoning_end(self, input_ids: list[int]) -> bool:
        """vLLM's hook: False, since no answer has reasoning before it."""
        return False

    def parse(
        self,
        model_output: str,
        request: Any,
        enable_auto_tools: bool = False,
        model_output_token_ids: Sequence[int] = (),
    ) -> tuple[str | None, str | None, list[Any] | None]:
        """vLLM's hook: no reasoning, the text, and the calls of a whole answer."""
        reader = self._reader_for(request)
        if reader is None:
            return None, model_output, []
        texts: list[str] = []
        calls: list[Any] = []
        for event in (*reader.feed(model_output), *reader.end()):
            match event:
                case Text(text):
                    texts.append(text)
                case CallStart(name):
                    calls.append(vllm_compat.FunctionCall(name=name, arguments=""))
                case Arguments(text):
                    calls[-1].arguments += text
        return None, "".join(texts), calls

    def parse_delta(
        self,
        delta_text: str,
        delta_token_ids: list[int],
        request: Any,
        prompt_token_ids: list[int] | None = None,
        *,
        finished: bool,
    ) -> Any:
        """vLLM's hook: the delta of a stream for the next piece of the answer; None if there is nothing to send yet."""
        reader = self._reader_for(request)
        if reader is None:
            return vllm_compat.DeltaMessage(content=delta_text)
        events = [*reader.feed(delta_text), *(reader.end() if finished else ())]
        text = "".join(event.text for event in events if isinstance(event, Text))
        calls = self._call_deltas(events)
        if not text and not calls:
            return None
        return vllm_compat.DeltaMessage(
            **({"content": text} if text else {}), **({"tool_calls": calls} if calls else {})
        )

    def _reader_for(self, request: Any) -> CallReader | None:
        """What reads the answer; None if there are no tools to call."""
        if self._reader is None and self._names and request.tool_choice not in (None, "none"):
            self._reader = CallReader(self._names, is_forced=request.is_forced_call)
        return self._reader

    def _call_deltas(self, events: Iterable[Event]) -> list[Any]:
        """OpenAI's: the first of a call with its index, id, type and name, and then pieces of the arguments."""
        deltas: list[Any] = []
        for event in events:
            match event:
                case CallStart(name):
                    function = vllm_compat.DeltaFunctionCall(name=name, arguments="")
                    deltas.append(
                        vllm_compat.DeltaToolCall(
                            index=self._calls, id=vllm_compat.make_tool_call_id(), type="function", function=function
                        )
                    )
                    self._calls += 1
                case Arguments(text) if deltas and deltas[-1].index == self._calls - 1:
                    deltas[-1].function.arguments += text  # two deltas of a call in one event confuse some clients
                case Arguments(text):
                    function = vllm_compat.DeltaFunctionCall(arguments=text)
                    deltas.append(vllm_compat.DeltaToolCall(index=self._calls - 1, function=function))
        return deltas
