"""Examples of requests and answers in the OpenAPI document. The requests are answered as they stand, by any model."""

from typing import Any

# A red circle, 56x56.
PNG = (
    "iVBORw0KGgoAAAANSUhEUgAAADgAAAA4AQMAAACSSKldAAAABlBMVEX18OHIHh53PYIhAAAAYUlEQVR42r3PsQ3CQABD0XdOinQw"
    "QkZhtIx2I2QERkhBQYFyNKeAREUTN9aXbFnmfDWEQQWXthGuJsJsJNyEQqNI70bB8sXRo53/9R314N89i0aodsLdi7B5Eh7Wz6+z"
    "9QaGKRK0ge/SHgAAAABJRU5ErkJggg=="
)
IMAGE = f"data:image/png;base64,{PNG}"
Example = dict[str, Any]


def _asked(*parts: Any, **fields: Any) -> Example:
    return {"messages": [{"role": "user", "content": list(parts)}], "max_tokens": 64, "temperature": 0, **fields}


def _text(text: str) -> Example:
    return {"type": "text", "text": text}


def _image(**options: Any) -> Example:
    return {"type": "image_url", "image_url": {"url": IMAGE, **options}}


REQUESTS: dict[str, Example] = {
    "image": {
        "summary": "A question about an image",
        "value": _asked(_image(), _text("What is in the image?")),
    },
    "interleaved": {
        "summary": "Images and texts in any order, streamed",
        "value": _asked(
            _text("Image 1: "), _image(), _text("Image 2: "), _image(detail="auto"), _text("What changed?"),
            stream=True, stream_options={"include_usage": True},
        ),
    },
    "turns": {
        "summary": "The next turn of a conversation",
        "value": {
            "messages": [
                {"role": "system", "content": "Answer in a few words."},
                {"role": "user", "content": [_image(), _text("What is in the image?")]},
                {"role": "assistant", "content": "A red circle."},
                {"role": "user", "content": "And which colour is it?"},
            ],
            "max_tokens": 64,
        },
    },
    "schema": {
        "summary": "An answer of a JSON schema",
        "value": _asked(
            _image(), _text("What is in the image?"),
            response_format={
                "type": "json_schema",
                "json_schema": {
                    "name": "thing",
                    "schema": {
                        "type": "object",
                        "properties": {"colour": {"enum": ["red", "green", "blue"]}},
                        "required": ["colour"],
                        "additionalProperties": False,
                    },
                },
            },
        ),
    },
    "frames": {
        "summary": "Frames of a video, pooled",
        "value": _asked(
            {
                "type": "video_frames",
                "video_frames": {"frames": [{"url": IMAGE}, {"url": IMAGE}], "pooling": "bilinear", "pool_stride": 2},
            },
            _text("What does the video show first?"),
        ),
    },
    "cameras": {
        "summary": "Views of several cameras",
        "value": _asked(
            {
                "type": "multi_view",
                "multi_view": {
                    "views": [{"url": IMAGE, "name": "CAM_FRONT"}, {"url": IMAGE, "name": "CAM_BACK"}],
                },
            },
            _text("Which camera sees a red circle?"),
        ),
    },
}  # fmt: skip
# Nothing is fetched for a plan, so that one may ask about a file that is not there.
PLANNED: dict[str, Example] = {
    **REQUESTS,
    "video": {
        "summary": "A video within a budget of visual tokens",
        "value": _asked(
            {"type": "video_url", "video_url": {"url": "https://example.org/video.mp4", "start": 2.5}},
            _text("Describe the video."),
            max_visual_tokens=16_000,
        ),
    },
}
_HEAD = {"id": "chatcmpl-3f0c", "created": 1764000000, "model": "llava-interleave-demo"}
_PART = {
    "param": "messages[0].content[0].image_url", "type": "image_url", "visuals": 1, "tokens": 169, "pooling": "none",
    "pool_stride": 1,
}  # fmt: skip
_MEDIA = {"visuals": 1, "visual_tokens": 169, "parts": [_PART]}
_USAGE = {"prompt_tokens": 192, "completion_tokens": 5, "total_tokens": 197}
ANSWER: Example = {
    **_HEAD,
    "object": "chat.completion",
    "choices": [
        {"index": 0, "message": {"role": "assistant", "content": "A red circle."}, "finish_reason": "stop"},
    ],
    "usage": _USAGE,
    "media_usage": _MEDIA,
}
_CHUNK = {**_HEAD, "object": "chat.completion.chunk"}
EVENTS: dict[str, Example] = {
    "first": {
        **_CHUNK, "choices": [{"index": 0, "delta": {"role": "assistant", "content": ""}}], "media_usage": _MEDIA,
    },
    "text": {**_CHUNK, "choices": [{"index": 0, "delta": {"content": "A red circle."}}]},
    "finish": {**_CHUNK, "choices": [{"index": 0, "delta": {"content": ""}, "finish_reason": "stop"}]},
    "usage": {
        **_CHUNK,
        "choices": [],
        "usage": _USAGE,
        "server_timing": {"admission": 0.9, "decode": 3.1, "prefill": 21.7, "decode_tokens": 14.2, "total": 40.6},
    },
}  # fmt: skip
COMPLETIONS: dict[str, Example] = {
    "text": {"summary": "What follows a text", "value": {"prompt": "A red", "max_tokens": 8, "temperature": 0}},
    "prompts": {
        "summary": "Several prompts, streamed",
        "value": {"prompt": ["A red", "A green"], "max_tokens": 8, "stream": True},
    },
}
_COMPLETION = {**_HEAD, "id": "cmpl-3f0c", "object": "text_completion"}
COMPLETION: Example = {
    **_COMPLETION,
    "choices": [{"index": 0, "text": " circle.", "finish_reason": "stop"}],
    "usage": {"prompt_tokens": 2, "completion_tokens": 3, "total_tokens": 5},
}
COMPLETION_EVENTS: dict[str, Example] = {
    "text": {**_COMPLETION, "choices": [{"index": 0, "text": " circle", "finish_reason": None}]},
    "finish": {
        **_COMPLETION,
        "choices": [{"index": 0, "text": ".", "finish_reason": "stop"}],
        "server_timing": {"admission": 0.4, "prefill": 6.2, "decode_tokens": 9.7, "total": 17.1},
    },
}
TOKENIZED: dict[str, Example] = {
    "text": {"summary": "A text", "value": {"prompt": "A red circle."}},
    "conversation": {"summary": "A conversation", "value": {"messages": REQUESTS["turns"]["value"]["messages"]}},
}
DETOKENIZED: dict[str, Example] = {"tokens": {"summary": "Token ids", "value": {"tokens": [32, 2518]}}}
PLAN: Example = {
    "object": "chat.completion.plan", "model": "llava-interleave-demo", "prompt_tokens": 192, "max_tokens": 64,
    "max_model_len": 16384, "fits": True, "exact": True, **_MEDIA,
}  # fmt: skip
