"""Prometheus metrics of this server, in the same registry as vLLM's. No label has a value that a client chose."""

from prometheus_client import REGISTRY, Counter, Gauge, Histogram

from llava_interleave_serve.server.observability.visual_cache_metrics import VisualCacheMetrics

SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)
TOKENS = (0, 64, 128, 256, 512, 1024, 2048, 4096, 8192, 16384, 32768)

PHASE = Histogram(
    "lis_phase_seconds",
    "Duration of each phase of a request (server/observability/timing.py).",
    ["phase"],
    buckets=SECONDS,
)
INFLIGHT = Gauge("lis_inflight", "Capacity that the requests in the server hold, by measure.", ["of"])
MEDIA_BYTES = Counter("lis_media_bytes", "Bytes of media fetched.", ["kind"])
MEDIA_PIXELS = Counter("lis_media_pixels", "Pixels decoded, as the files hold them.", ["kind"])
VIDEO_FRAMES = Counter("lis_video_frames", "Frames sampled from videos.")
DECODE_WORKER_DEATHS = Counter("lis_decode_worker_deaths", "Processes that decode media which crashed or hung.")
VISUALS = Counter("lis_visuals", "Visuals (images, video frames and views) put into prompts.")
VISUAL_TOKENS = Histogram("lis_visual_tokens", "Visual tokens of a request.", buckets=TOKENS)
REFUSALS = Counter("lis_refusals", "Requests refused, by the error's code.", ["code"])
VISUAL_CACHE = VisualCacheMetrics()
REGISTRY.register(VISUAL_CACHE)
