"""Pictures and videos of the media benchmark: made, seeded, and as large as photographs and films are."""

import io
import subprocess
from pathlib import Path

import numpy as np
from PIL import Image, ImageFilter

PICTURE_SIZES = {"640x480": (640, 480), "1280x720": (1280, 720), "1920x1080": (1920, 1080), "12 Mpx": (4000, 3000)}
FORMATS = {"JPEG": {"quality": 90}, "PNG": {"compress_level": 6}, "WEBP": {"quality": 90}}
# H.264 as cameras and sites write it: a key frame every two seconds. Under the server's 64 MiB for a file.
FILMS = {
    "60 s of 720p": ("1280x720", 60, ["-b:v", "4M"]),
    "10 min of 1080p": ("1920x1080", 600, ["-b:v", "800k"]),
}
FPS = 30
MINUTE = 60


def picture(width: int, height: int, seed: int) -> Image.Image:
    """Like a photograph to an encoder: soft shapes of every size, and a little grain."""
    rng = np.random.default_rng(seed)
    layers = np.zeros((height, width, 3), np.float32)
    for cells in (4, 16, 64, 256):
        coarse = rng.integers(0, 256, (cells * height // width + 1, cells, 3), dtype=np.uint8)
        soft = Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC)
        layers += np.asarray(soft, np.float32) * (cells**-0.35)
    layers *= 255.0 / layers.max()
    layers += rng.normal(0.0, 2.0, layers.shape)
    return Image.fromarray(layers.clip(0, 255).astype(np.uint8)).filter(ImageFilter.GaussianBlur(0.6))


def encoded(image: Image.Image, kind: str) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **FORMATS[kind])
    return buffer.getvalue()


def film(folder: Path, name: str) -> Path:
    """The path of a film in `folder`, written by ffmpeg if it is not there: a minute of it, as often as it lasts."""
    size, seconds, options = FILMS[name]
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
