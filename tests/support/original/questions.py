"""The vectors' prompts as chat requests: what a client sends to be shown what the authors' code was given."""

import base64
import json
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).parent
FILES = ("a_anyres", "b_bench", "c_demo", "d_video", "e_dpo")
# Its first answer is no text: it begins in the middle of a character.
NOT_ASKED = ("b_turn2",)
QUESTION_START, QUESTION_END = "<|im_start|>user\n", "<|im_end|>"
ANSWER_START = "<|im_start|>assistant\n"


def records(checkpoint: str) -> list[dict[str, Any]]:
    """The records of a checkpoint that can be asked over HTTP, with a server's defaults and options of parts."""
    every = [record for file in FILES for record in json.loads((FOLDER / "vectors" / f"{file}.json").read_text())]
    return [record for record in every if record["checkpoint"] == checkpoint and record["name"] not in NOT_ASKED]


def request(record: dict[str, Any]) -> dict[str, Any]:
    """The chat request of a record, for 16 greedy tokens."""
    is_bench = record["prompt"].find(QUESTION_START) < 0
    turns = [(record["prompt"], "")] if is_bench else _turns(record["prompt"])
    parts = iter([_part(record, index) for index in range(len(record["visuals"]))])
    messages: list[dict[str, Any]] = []
    for question, answer in turns:
        messages.append({"role": "user", "content": _content(question, parts)})
        if answer:
            messages.append({"role": "assistant", "content": answer})
    return {
        "messages": messages,
        "prompt_style": "preprocess_qwen" if is_bench else "demo",
        "temperature": 0,
        "max_tokens": 16,
        "ignore_eos": True,
        "return_token_ids": True,
    }


def _turns(prompt: str) -> list[tuple[str, str]]:
    turns = []
    for turn in prompt.split(QUESTION_START)[1:]:
        question, _, rest = turn.partition(QUESTION_END)
        turns.append((question, rest.partition(ANSWER_START)[2].partition(QUESTION_END)[0]))
    return turns


def _content(question: str, parts: Any) -> list[dict[str, Any]]:
    first, *rest = question.split("<image>")
    content = [_text(first)]
    for text in rest:
        content += [next(parts), _text(text)]
    return [part for part in content if part.get("text") != ""]


def _text(text: str) -> dict[str, Any]:
    return {"type": "text", "text": text}


def _part(record: dict[str, Any], index: int) -> dict[str, Any]:
    visual, overwrites = record["visuals"][index], record["config_overwrites"]
    urls = [{"url": _data_url(name)} for name in visual["images"]]
    has_newline = record["checkpoint"] == "checkpoint-anyres"
    if visual["modality"] == "video":
        options: dict[str, Any] = {"frames": urls, "modality": "video", "pooling": overwrites["mm_spatial_pool_mode"]}
        if has_newline and "mm_newline_position" in overwrites:
            options["newline"] = overwrites["mm_newline_position"]
        return {"type": "video_frames", "video_frames": options}
    options = {**urls[0], "resizing": visual["preprocess"]}
    if has_newline and visual["preprocess"] != "anyres":
        is_list = record["images_argument"]["type"] == "list of tensors"
        options["newline"] = "frame" if is_list else "no_token"
    return {"type": "image_url", "image_url": options}


def _data_url(name: str) -> str:
    return "data:image/png;base64," + base64.b64encode((FOLDER / name).read_bytes()).decode()
