"""The one table of what a request may ask for. Each field is an option of `llava-interleave serve`."""

from dataclasses import dataclass, field

MIB = 1 << 20


@dataclass(frozen=True, slots=True)
class Limits:
    """What a request may ask for, and the defaults. Sizes are in bytes, times in seconds."""

    max_body_bytes: int = field(default=64 * MIB, metadata={"help": "Largest HTTP body, in bytes."})
    max_messages: int = field(default=1024, metadata={"help": "Most messages in a request."})
    max_text_parts: int = field(default=4096, metadata={"help": "Most text parts in a request."})
    max_media_parts: int = field(
        default=64, metadata={"help": "Most images, videos, frame lists and view sets in a request."}
    )
    max_visuals: int = field(
        default=256, metadata={"help": "Most visuals (images, video frames and views together) in a request."}
    )
    max_frames: int = field(default=128, metadata={"help": "Most frames sampled from one video."})
    max_media_bytes: int = field(default=64 * MIB, metadata={"help": "Largest image or video file, in bytes."})
    max_pixels: int = field(default=50_000_000, metadata={"help": "Most pixels of one image or video frame."})
    max_video_seconds: float = field(default=4 * 3600.0, metadata={"help": "Longest video, in seconds."})
    video_memory_bytes: int = field(
        default=4096 * MIB, metadata={"help": "Most memory (address space) of a process that decodes video, in bytes."}
    )
    max_choices: int = field(default=16, metadata={"help": "Largest n of a request."})
    max_redirects: int = field(default=3, metadata={"help": "Most redirects followed for one URL."})
    connect_timeout: float = field(default=5.0, metadata={"help": "Seconds to connect to a media host."})
    read_timeout: float = field(default=10.0, metadata={"help": "Seconds without a byte from a media host."})
    fetch_timeout: float = field(default=30.0, metadata={"help": "Seconds for one URL from start to end."})
    decode_timeout: float = field(default=30.0, metadata={"help": "Seconds to decode one image or video."})
