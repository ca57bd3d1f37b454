"""Conversations of one question as the content parts of a chat message."""

import random
from typing import Any

from llava_interleave_serve.demo.scenes.picture_file import image_url
from llava_interleave_serve.demo.scenes.questions import Conversation
from llava_interleave_serve.demo.scenes.video_file import video_url

SAMPLED_FRAMES = 8  # the server reads this many of a video's frames


def message_parts(conversation: Conversation, rng: random.Random, pooling: dict[str, Any]) -> list[dict[str, Any]]:
    """The visuals, then the conversation's first question.

    rng: chooses sizes and formats of the image files. pooling: fields that go into every visual part, such as
    {"pooling": "bilinear", "pool_stride": 2}.
    """
    question = {"type": "text", "text": conversation.turns[0].question}
    if conversation.video:
        video = {"url": video_url(conversation.scenes), "num_frames": SAMPLED_FRAMES, **pooling}
        return [{"type": "video_url", "video_url": video}, question]
    urls = [image_url(scene, rng) for scene in conversation.scenes]
    if conversation.names:
        views = [{"url": url, "name": name} for url, name in zip(urls, conversation.names, strict=True)]
        return [{"type": "multi_view", "multi_view": {"views": views, **pooling}}, question]
    return [*({"type": "image_url", "image_url": {"url": url, **pooling}} for url in urls), question]
