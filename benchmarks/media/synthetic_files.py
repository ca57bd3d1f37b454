"""Pictures and videos of the media benchmarks, synthesised from a seed, and as large as photographs and videos are.

The load test has a synthesiser of its own (`load.requests.images.Noise`), made to be fast: several can be drawn within
the time of a request. The encoded files of its grainier pictures are 1.2 to 4 times as large as of the ones made here,
which are blurred as a camera's picture is; the dated figures in benchmarks/README.md are of the files made here.
"""

import functools
import io
import subprocess
from pathlib import Path

import numpy as np
from PIL import Image, ImageFilter

PICTURE_SIZES = {"640x480": (640, 480), "1280x720": (1280, 720), "1920x1080": (1920, 1080), "12 Mpx": (4000, 3000)}
FORMATS = {"JPEG": {"quality": 90}, "PNG": {"compress_level": 6}, "WEBP": {"quality": 90}}
# Size, seconds and encoder options. H.264 as cameras and sites write it: a key frame every two seconds. Each is under
# the server's 64 MiB for a file.
VIDEOS = {
    "60 s of 720p": ("1280x720", 60, ["-b:v", "4M"]),
    "10 min of 1080p": ("1920x1080", 600, ["-b:v", "800k"]),
}
FPS = 30
MINUTE = 60


def picture(width: int, height: int, seed: int) -> Image.Image:
    """Draws what is like a photograph to an encoder: soft shapes of every size, and a little grain."""
    rng = np.random.default_rng(seed)
    layers = np.zeros((height, width, 3), np.float32)
    for cells in (4, 16, 64, 256):
        coarse = rng.integers(0, 256, (cells * height // width + 1, cells, 3), dtype=np.uint8)
        soft = Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC)
        layers += np.asarray(soft, np.float32) * (cells**-0.35)
    layers *= 255.0 / layers.max()
    layers += rng.normal(0.0, 2.0, layers.shape)
    return Image.fromarray(layers.clip(0, 255).astype(np.uint8)).filter(ImageFilter.GaussianBlur(0.6))


def encoded(image: Image.Image, file_format: str) -> bytes:
    """Encodes an image in one of FORMATS."""
    buffer = io.BytesIO()
    image.save(buffer, file_format, **FORMATS[file_format])
    return buffer.getvalue()


@functools.lru_cache(maxsize=1)
def picture_file(size: str, file_format: str) -> bytes:
    """The file of the picture of one of PICTURE_SIZES in one of FORMATS."""
    return encoded(picture(*PICTURE_SIZES[size], seed=0), file_format)


def video_file(folder: Path, name: str) -> Path:
    """The path in `folder` of one of VIDEOS, which ffmpeg writes if it is not there: one minute, repeated."""
    size, seconds, options = VIDEOS[name]
    path = folder / f"{size}-{seconds}.mp4"
    if not path.exists():
        source = f"testsrc2=size={size}:rate={FPS}:duration={MINUTE},noise=alls=6:allf=t"
        minute, new = path.with_suffix(".minute.mp4"), path.with_suffix(".new.mp4")
        encode = ["-f", "lavfi", "-i", source, "-pix_fmt", "yuv420p", "-c:v", "libx264", "-preset", "veryfast"]
        repeat = ["-stream_loop", str(seconds // MINUTE - 1), "-i", str(minute), "-c", "copy", str(new)]
        for arguments in ([*encode, "-g", str(2 * FPS), *options, str(minute)], repeat):
            subprocess.run(["ffmpeg", "-y", "-loglevel", "error", *arguments], check=True)
        minute.unlink()
        new.rename(path)
    return path
