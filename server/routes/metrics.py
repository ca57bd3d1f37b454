"""GET /metrics, in Prometheus' text format: vLLM's metrics and ours."""

import prometheus_client
from fastapi import APIRouter
from fastapi.responses import Response

PATH = "/metrics"
router = APIRouter(tags=["operations"])


@router.get(
    PATH,
    summary="Metrics for Prometheus",
    response_class=Response,
    responses={
        200: {"description": "Prometheus' text format", "content": {"text/plain": {"schema": {"type": "string"}}}}
    },
)
async def metrics() -> Response:
    """Every metric of this process."""
    return Response(prometheus_client.generate_latest(), media_type=prometheus_client.CONTENT_TYPE_LATEST)
