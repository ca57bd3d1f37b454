"""Held-out conversations as the content parts of a chat message."""

import base64
from typing import Any

from llava_interleave_serve.demo.held_out.conversations import HeldOutConversation
from llava_interleave_serve.demo.scenes.mp4 import write_mp4

FPS = 4


def message_parts(conversation: HeldOutConversation, pooling: dict[str, Any]) -> list[dict[str, Any]]:
    """The visuals, then the question.

    pooling: fields that go into every visual part, such as {"pooling": "bilinear", "pool_stride": 2}.
    """
    return [*_visual_parts(conversation, pooling), {"type": "text", "text": conversation.question}]


def _visual_parts(conversation: HeldOutConversation, pooling: dict[str, Any]) -> list[dict[str, Any]]:
    if conversation.mp4:
        content = base64.b64encode(write_mp4(conversation.pictures, FPS)).decode()
        # As many as it has: the server's choice of frames is not what is asked about.
        video = {"url": f"data:video/mp4;base64,{content}", "num_frames": len(conversation.files), **pooling}
        return [{"type": "video_url", "video_url": video}]
    images = [{"url": file.url} for file in conversation.files]
    if conversation.video:
        return [{"type": "video_frames", "video_frames": {"frames": images, **pooling}}]
    if conversation.names:
        views = [{**image, "name": name} for image, name in zip(images, conversation.names, strict=True)]
        return [{"type": "multi_view", "multi_view": {"views": views, **pooling}}]
    return [{"type": "image_url", "image_url": {**image, **pooling}} for image in images]
