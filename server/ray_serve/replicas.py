"""Replicas of the server on a Ray cluster (extra `ray`), as `serve run` starts them:

serve run llava_interleave_serve.server.ray_serve.replicas:app args="MODEL --max-model-len 8192" replicas=4 gpus=1
"""

import os
import re
import shlex
from collections.abc import Callable
from typing import Any

from fastapi import FastAPI
from ray import serve
from ray.serve.config import AutoscalingConfig, AutoscalingPolicy, RequestRouterConfig

from llava_interleave_serve.server.config import ServerConfig
from llava_interleave_serve.server.engine.base import Engine
from llava_interleave_serve.server.ray_serve import autoscaling

HASH_ROUTER = "ray.serve.experimental.consistent_hash_router:ConsistentHashRouter"
POLICY = "llava_interleave_serve.server.ray_serve.autoscaling:ByVisualTokens"
BEYOND_OUR_ROOM = 100_000  # Ray would queue requests of which the server itself says at once whether it has room
OPTIONS: dict[str, Callable[[Any], Any]] = {
    "args": str,
    "replicas": int,
    "max_replicas": int,
    "visual_tokens_per_replica": int,
    "scale_down_seconds": float,
    "gpus": float,
    "cpus": float,
    "drain_seconds": float,
}
# Options of `llava-interleave serve` in whose place stands what Ray does.
OF_RAY = re.compile(r"--(host|port|drain[-_]delay|drain[-_]timeout|address[-_]file|dry[-_]run|card)(=|$)")


class Replica:
    """One server and its engine, in one of Ray's processes."""

    async def __init__(  # type: ignore[misc]  # Ray awaits it: an engine is made in a running event loop
        self, argv: list[str], make_engine: Callable[[ServerConfig], Engine]
    ) -> None:
        # Imported here: what deploys the replicas has no need of it.
        from llava_interleave_serve.server.app import create_app  # noqa: PLC0415
        from llava_interleave_serve.server.cli import parse  # noqa: PLC0415

        config = parse(argv)
        self._engine = make_engine(config)
        self._app = create_app(self._engine, config)
        await self._engine.warm_up()  # Ray sends requests from here on

    def __serve_build_asgi_app__(self) -> FastAPI:
        """Ray's hook: the application, whose lifespan Ray runs; at its end the engine is closed."""
        return self._app

    def check_health(self) -> None:
        """Ray's hook: a replica that raises is replaced."""
        if not self._engine.alive:
            raise RuntimeError("the engine has died")

    def record_autoscaling_stats(self) -> dict[str, float]:
        """Ray's hook: what the autoscaling policy looks at."""
        from llava_interleave_serve.server.errors import Overloaded  # noqa: PLC0415
        from llava_interleave_serve.server.observability import metrics  # noqa: PLC0415

        load = self._app.state.server.admission.load
        refusals = sum(
            sample.value
            for metric in metrics.REFUSALS.collect()
            for sample in metric.samples
            if sample.name.endswith("_total") and sample.labels["code"] == Overloaded.code
        )
        return {autoscaling.VISUAL_TOKENS: float(load.visual_tokens), autoscaling.REFUSALS: refusals}


def vllm_engine(config: ServerConfig) -> Engine:
    """The engine of a replica, made inside the replica's event loop."""
    from llava_interleave_serve.server.engine import log_filter  # noqa: PLC0415
    from llava_interleave_serve.server.engine.defaults import prepare_environment  # noqa: PLC0415
    from llava_interleave_serve.server.engine.vllm_engine import VllmEngine  # noqa: PLC0415

    prepare_environment(config.engine_args.enforce_eager)
    engine = VllmEngine(
        config.engine_args, config.model_name, sizes_memory=config.sizes_memory, adapters=config.adapters
    )
    log_filter.install()
    return engine


def application(options: dict[str, Any], make_engine: Callable[[ServerConfig], Engine]) -> serve.Application:
    """The application of these options, as `app` takes them. Raises ValueError for an unknown or a wrong one."""
    if unknown := sorted(set(options) - set(OPTIONS)):
        raise ValueError(f"no option {unknown[0]}: there are {', '.join(OPTIONS)}")
    given = {name: OPTIONS[name](value) for name, value in options.items()}
    argv = shlex.split(given.get("args", ""))
    for argument in argv:
        if OF_RAY.match(argument):
            raise ValueError(f"args has {argument}: Ray listens and drains (`serve start --http-port`, drain_seconds)")
    least, most = given.get("replicas", 1), given.get("max_replicas")
    for name in ("visual_tokens_per_replica", "scale_down_seconds"):
        if most is None and name in given:
            raise ValueError(f"{name} is for autoscaling: give max_replicas too")
    if most is not None and most < least:
        raise ValueError(f"max_replicas is {most}, less than replicas, which is {least}")
    scaling: dict[str, Any] = {"num_replicas": least}
    if most is not None:
        bounds = {
            "per_replica": given.get("visual_tokens_per_replica", 60_000),
            "patience": given.get("scale_down_seconds", 600.0),
        }
        policy = AutoscalingPolicy(policy_function=POLICY, policy_kwargs=bounds)
        # Ray does what a policy says once it has said so for as long as these; ours waits by itself, and says it once.
        at_once = {"upscale_delay_s": 0, "downscale_delay_s": 0}
        config = AutoscalingConfig(min_replicas=least, max_replicas=most, policy=policy, **at_once)
        scaling = {"autoscaling_config": config}
    deployment = serve.deployment(
        serve.ingress()(Replica),
        name="Replica",
        max_ongoing_requests=BEYOND_OUR_ROOM,
        health_check_period_s=1,
        health_check_timeout_s=30,
        graceful_shutdown_wait_loop_s=0.5,
        graceful_shutdown_timeout_s=given.get("drain_seconds", 45.0),
        ray_actor_options={"num_cpus": given.get("cpus", 1.0), "num_gpus": given.get("gpus", 0.0)},
        **_router(),
        **scaling,
    )
    return deployment.bind(argv, make_engine)


def _router() -> dict[str, Any]:
    """Ray's consistent hash of the session; none in HAProxy mode, in which HAProxy chooses and Ray refuses a router."""
    if os.environ.get("RAY_SERVE_ENABLE_HA_PROXY") == "1":
        return {}
    return {"request_router_config": RequestRouterConfig(request_router_class=HASH_ROUTER)}


def app(options: dict[str, Any]) -> serve.Application:
    """What `serve run`, `serve build` and `serve deploy` build.

    options: `args`, the options of `llava-interleave serve`; `replicas` (1), with `max_replicas` the fewest of as many
    as there is load for, `visual_tokens_per_replica` (60,000) in flight each, and one less after `scale_down_seconds`
    (600) of less load; `gpus` (0) and `cpus` (1) of a replica; `drain_seconds` (45) that running requests have when a
    replica is replaced. Raises ValueError for any other.
    """
    return application(options, vllm_engine)
