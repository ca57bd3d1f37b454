"""The one table of what requests may ask for and take. Each field is an option of `llava-interleave serve`."""

import sys
from dataclasses import dataclass, field, fields

from llava_interleave_serve.server.cpus import available_cpus
from llava_interleave_serve.server.errors import LimitExceeded

MIB = 1 << 20


@dataclass(frozen=True, slots=True)
class Limits:
    """What a request may ask for, what all together may take, and the defaults.

    Sizes are in bytes, times in seconds. Raises ValueError for one that is not positive, or room that one request could
    not have.
    """

    max_body_bytes: int = field(default=64 * MIB, metadata={"help": "Largest HTTP body, in bytes."})
    max_json_values: int = field(
        default=400_000, metadata={"help": "Most JSON values in a body, by its commas and opening brackets."}
    )
    max_text_bytes: int = field(default=4 * MIB, metadata={"help": "Most bytes of a body outside of its data URLs."})
    max_messages: int = field(default=1024, metadata={"help": "Most messages in a request."})
    max_text_parts: int = field(default=4096, metadata={"help": "Most text parts in a request."})
    max_tools: int = field(default=128, metadata={"help": "Most tools in a request."})
    max_media_parts: int = field(
        default=64, metadata={"help": "Most images, videos, frame lists and view sets in a request."}
    )
    max_visuals: int = field(
        default=256, metadata={"help": "Most visuals (images, video frames and views together) in a request."}
    )
    max_frames: int = field(default=128, metadata={"help": "Most frames sampled from one video."})
    max_media_bytes: int = field(default=64 * MIB, metadata={"help": "Largest image or video file, in bytes."})
    max_request_media_bytes: int = field(
        default=256 * MIB, metadata={"help": "Most bytes of the files that are fetched for one request, together."}
    )
    max_pixels: int = field(default=50_000_000, metadata={"help": "Most pixels of one image or video frame."})
    max_side: int = field(
        default=65_535, metadata={"help": "Most pixels along a side of one image or video frame; as a JPEG can have."}
    )
    max_video_seconds: float = field(default=4 * 3600.0, metadata={"help": "Longest video, in seconds."})
    decode_workers: int = field(
        default=available_cpus(), metadata={"help": "Images and videos that are decoded at once, each in a process."}
    )
    decoder_memory_bytes: int = field(
        default=4096 * MIB, metadata={"help": "Most memory (address space) of a process that decodes, in bytes."}
    )
    max_decoding_pixels: int = field(
        default=200_000_000,
        metadata={"help": "Most pixels of large images and frames decoded at once; each takes 4 to 24 bytes."},
    )
    max_request_pixels: int = field(
        default=2_000_000_000, metadata={"help": "Most pixels of large images and frames in a request."}
    )
    max_choices: int = field(default=16, metadata={"help": "Largest n of a request."})
    max_answer_logprobs: int = field(
        default=65_536,
        metadata={
            "help": "Most log probabilities of an answer: the tokens of its choices times top_logprobs + 1. "
            "0 serves none.",
            "may_be_zero": True,
        },
    )
    max_prompt_logprobs: int = field(
        default=0,
        metadata={
            "help": "Most log probabilities of a prompt: its tokens times prompt_logprobs + 1. 0 serves none.",
            "may_be_zero": True,
        },
    )
    max_requests: int = field(default=256, metadata={"help": "Most requests in the server at once."})
    max_inflight_bytes: int = field(
        default=1024 * MIB, metadata={"help": "Most bytes of request bodies and fetched files in the server at once."}
    )
    max_inflight_visuals: int = field(default=8192, metadata={"help": "Most visuals in the server at once."})
    max_inflight_visual_tokens: int = field(
        default=2_000_000, metadata={"help": "Most visual tokens in the server at once."}
    )
    max_key_share: float = field(
        default=1.0, metadata={"help": "Largest share of the four above that the requests of one API key may take."}
    )
    max_media_at_once: int = field(
        default=32, metadata={"help": "Most images and videos that are fetched or wait, fetched, to be decoded."}
    )
    max_fetches_per_host: int = field(default=8, metadata={"help": "Most fetches from one host at once."})
    max_fetches_per_request: int = field(default=8, metadata={"help": "Most fetches for one request at once."})
    max_redirects: int = field(default=3, metadata={"help": "Most redirects followed for one URL."})
    head_timeout: float = field(
        default=10.0, metadata={"help": "Seconds that a connection may be without the whole headers of a request."}
    )
    keep_alive_timeout: float = field(
        default=75.0, metadata={"help": "Seconds that a connection is kept for the next request after an answer."}
    )
    connect_timeout: float = field(
        default=5.0, metadata={"help": "Seconds to connect to a media host, whichever of its addresses."}
    )
    read_timeout: float = field(
        default=10.0, metadata={"help": "Seconds without a byte from a media host, or of a request."}
    )
    write_timeout: float = field(
        default=10.0,
        metadata={"help": "Seconds in which a client must read 16 KiB of its answer while more than 64 KiB wait."},
    )
    min_body_rate: int = field(
        default=128 * 1024,
        metadata={"help": "Bytes a second that a request's body must come at, --read-timeout aside."},
    )
    fetch_timeout: float = field(
        default=30.0, metadata={"help": "Seconds for one URL from start to end, without the wait for its turn."}
    )
    decode_timeout: float = field(default=30.0, metadata={"help": "Seconds to decode one image or video."})
    request_timeout: float = field(
        default=600.0, metadata={"help": "Seconds for one request, from its arrival to the end of its answer."}
    )

    def __post_init__(self) -> None:
        for each in fields(self):
            smallest = 0 if each.metadata.get("may_be_zero") else sys.float_info.min
            if not getattr(self, each.name) >= smallest:
                raise ValueError(f"{each.name} must be more than 0, not {getattr(self, each.name)}")
        if self.max_key_share > 1:
            raise ValueError(f"max_key_share is a share, at most 1, not {self.max_key_share}")
        for room, most in (("max_inflight_bytes", "max_body_bytes"), ("max_inflight_visuals", "max_visuals")):
            if getattr(self, room) < getattr(self, most):
                raise ValueError(f"{room} must be at least {most}, {getattr(self, most)}")

    def check_size(self, what: str, width: int, height: int) -> None:
        """Raises LimitExceeded, of the option `url`, for a picture of too many pixels."""
        most = None
        if width * height > self.max_pixels:
            most = f"pixels, more than the {self.max_pixels} allowed"
        elif max(width, height) > self.max_side:
            most = f"pixels, more than the {self.max_side} allowed along a side"
        if most is not None:
            raise LimitExceeded(f"{what} {width}x{height} {most}", param="url")
