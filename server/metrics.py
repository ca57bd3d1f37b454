"""Our metrics beside vLLM's, in the same registry; no label's value comes from a client."""

from prometheus_client import Counter, Histogram

SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)
TOKENS = (0, 64, 128, 256, 512, 1024, 2048, 4096, 8192, 16384, 32768)

FETCH = Histogram("lis_fetch_seconds", "Fetching one image or video, or unpacking its data URL.", buckets=SECONDS)
DECODE = Histogram(
    "lis_decode_seconds", "Decoding and resizing one image or video, with its wait for a thread.", ["kind"],
    buckets=SECONDS,
)  # fmt: skip
RENDER = Histogram("lis_render_seconds", "From a request's arrival to its prompt, media included.", buckets=SECONDS)
MEDIA_BYTES = Counter("lis_media_bytes", "Bytes of media fetched.", ["kind"])
VIDEO_WORKER_DEATHS = Counter("lis_video_worker_deaths", "Processes that decode video which crashed or hung.")
VISUALS = Counter("lis_visuals", "Visuals (images, video frames and views) put into prompts.")
VISUAL_TOKENS = Histogram("lis_visual_tokens", "Visual tokens of a request.", buckets=TOKENS)
REFUSALS = Counter("lis_refusals", "Requests refused, by the error's code.", ["code"])
