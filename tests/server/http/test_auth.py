"""Routes other than health need an API key."""

from collections.abc import AsyncIterator

import pytest

from tests.support.app_client import CHAT, HELLO, serving

pytestmark = pytest.mark.anyio
OPEN = ("/health", "/ready")
CLOSED = (
    "/v1/models",
    "/metrics",
    "/playground/absent.js",
    "/docs/oauth2-redirect",
    "//v1/models",
    "/V1/models",
    "/v1%2fmodels",
    "/health/",
)


@pytest.mark.parametrize("path", CLOSED)
@pytest.mark.parametrize("header", [None, "Bearer wrong", "Bearer ", "Basic right", "right", "Bearer righ"])
async def test_routes_other_than_health_need_a_valid_api_key(path: str, header: str | None) -> None:
    headers = {"Authorization": header} if header is not None else {}
    async with serving(api_keys=("right", "other")) as client:
        answer = await client.get(path, headers=headers)
    assert answer.status_code == 401
    assert answer.json()["error"]["code"] == "invalid_api_key"


@pytest.mark.parametrize("key", ["right", "other"])
async def test_each_of_several_api_keys_is_accepted(key: str) -> None:
    async with serving(api_keys=("right", "other")) as client:
        answer = await client.post(CHAT, json=HELLO, headers={"Authorization": f"Bearer {key}"})
    assert answer.status_code == 200


async def test_a_body_is_not_read_before_the_api_key_is_checked() -> None:
    async def never() -> AsyncIterator[bytes]:
        raise AssertionError("the body was read")
        yield b""

    async with serving(api_keys=("right",)) as client:
        assert (await client.post(CHAT, content=never())).status_code == 401


@pytest.mark.parametrize(
    "path", ["/", "/playground/main.js", "/docs", "/docs/swagger-ui.css", "/redoc", "/openapi.json"]
)
async def test_pages_that_hold_no_secret_need_no_api_key_to_be_read(path: str) -> None:
    async with serving(api_keys=("right",)) as client:
        assert (await client.get(path)).status_code == 200
        assert (await client.head(path)).status_code == 200
        assert (await client.post(path)).status_code == 401
    async with serving(api_keys=("right",), playground=False) as client:
        closed = path == "/" or path.startswith("/playground")
        assert (await client.get(path)).status_code == (401 if closed else 200)


@pytest.mark.parametrize("path", OPEN)
async def test_health_routes_need_no_api_key(path: str) -> None:
    async with serving(api_keys=("right",)) as client:
        assert (await client.get(path)).status_code in (200, 503)


@pytest.mark.parametrize(
    ("header", "says"),
    [
        ("", "needs an API key"),
        ("Basic right", "needs an API key"),
        ("Bearer ", "needs an API key"),
        ("Bearer wrong", "is none"),
    ],
)
async def test_a_client_is_told_whether_its_key_is_missing_or_wrong(header: str, says: str) -> None:
    async with serving(api_keys=("right",)) as client:
        answer = await client.get("/v1/models", headers={"Authorization": header})
    assert says in answer.json()["error"]["message"]


async def test_metrics_alone_need_no_key_where_the_operator_says_so() -> None:
    async with serving(api_keys=("right",), metrics_without_key=True) as client:
        assert (await client.get("/metrics")).status_code == 200
        for path in (*CLOSED, "/metrics/", "/Metrics"):
            if path != "/metrics":
                assert (await client.get(path)).status_code == 401, path
        assert (await client.post(CHAT, json=HELLO)).status_code == 401
