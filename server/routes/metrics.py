"""GET /metrics, in Prometheus' text format: vLLM's metrics and ours."""

import prometheus_client
from fastapi import APIRouter
from fastapi.responses import Response

router = APIRouter()


@router.get("/metrics", response_class=Response, responses={200: {"content": {"text/plain": {}}}})
async def metrics() -> Response:
    """Every metric of this process."""
    return Response(prometheus_client.generate_latest(), media_type=prometheus_client.CONTENT_TYPE_LATEST)
