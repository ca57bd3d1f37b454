"""Every response has the id of its request; HEAD is GET without a body; pages of allowed origins read the answers."""

import contextlib
import logging
import uuid

import pytest

from llava_interleave_serve.server.limits import Limits
from llava_interleave_serve.server.observability.request_log import REQUEST_ID, RequestFormatter
from tests.support.app_client import CHAT, HELLO, serving
from tests.support.fakes.engine import FakeEngine

pytestmark = pytest.mark.anyio
ORIGIN = "https://page.example"
GETS = (
    "/health",
    "/ready",
    "/v1/models",
    "/v1/models/",
    "/v1/models/fake",
    "/metrics",
    "/docs",
    "/redoc",
    "/openapi.json",
)
PREFLIGHT = {
    "Origin": ORIGIN,
    "Access-Control-Request-Method": "POST",
    "Access-Control-Request-Headers": "authorization,content-type,x-stainless-lang",
}


class TestRequestIds:
    @pytest.mark.parametrize("given", ["a", "2f1e3b6c-1111-4222-8333-944445555666", "Root=1-67-a.b:c+d", "x" * 128])
    @pytest.mark.parametrize("path", ["/health", "/absent", CHAT, "/v1/models"])
    async def test_the_id_of_the_client_comes_back(self, given: str, path: str) -> None:
        async with serving(api_keys=("right",)) as client:
            answer = await client.get(path, headers={"X-Request-Id": given})
        assert answer.headers["x-request-id"] == given

    @pytest.mark.parametrize("given", [None, "", "x" * 129, "a b", "a/b", "a\tb", "\u00e9", "<script>", "a,b"])
    async def test_another_id_is_replaced(self, given: str | None) -> None:
        headers = {} if given is None else {b"X-Request-Id": given.encode()}
        async with serving() as client:
            first = (await client.get("/health", headers=headers)).headers["x-request-id"]
            second = (await client.get("/health", headers=headers)).headers["x-request-id"]
        assert uuid.UUID(first).hex == first != second

    async def test_the_lines_that_a_request_logs_have_its_id(self, caplog: pytest.LogCaptureFixture) -> None:
        caplog.handler.setFormatter(RequestFormatter())
        async with serving(FakeEngine(fails=RuntimeError("no"))) as client:
            caplog.clear()
            await client.post(CHAT, json=HELLO, headers={"X-Request-Id": "abc"})
        assert "llava_interleave_serve: [abc] a request failed\n" in caplog.text

    async def test_lines_of_no_request_are_as_before(self) -> None:
        assert REQUEST_ID.get() == ""
        line = RequestFormatter().format(logging.LogRecord("x", logging.INFO, "", 0, "ready", (), None))
        assert line.endswith(" x: ready")


class TestHead:
    @pytest.mark.parametrize("path", [*GETS, "/absent"])
    async def test_head_has_the_status_and_headers_of_get_and_no_body(self, path: str) -> None:
        async with serving() as client:
            client.server.warm = path != "/ready"
            got, head = await client.get(path), await client.head(path)
        assert head.status_code == got.status_code == {"/ready": 503, "/absent": 404}.get(path, 200)
        assert head.content == b""
        changing = {"x-request-id", *(["content-length"] if path == "/metrics" else [])}
        assert {*head.headers.items()} - {*got.headers.items()} <= {(name, head.headers[name]) for name in changing}
        assert head.headers.keys() == got.headers.keys()

    async def test_head_of_a_route_for_posts_is_a_405(self) -> None:
        async with serving() as client:
            answer = await client.head(CHAT)
        assert (answer.status_code, answer.headers["allow"]) == (405, "POST")

    async def test_head_needs_a_key_where_get_does(self) -> None:
        async with serving(api_keys=("right",)) as client:
            assert [(await client.head(path)).status_code for path in ("/health", "/metrics")] == [200, 401]


class TestOrigins:
    @pytest.mark.parametrize("keys", [(), ("right",)])
    @pytest.mark.parametrize("allowed", [(ORIGIN, "http://localhost:3000"), ("*",)])
    async def test_a_preflight_of_an_allowed_origin_needs_no_key(
        self, allowed: tuple[str, ...], keys: tuple[str, ...]
    ) -> None:
        async with serving(allowed_origins=allowed, api_keys=keys) as client:
            answer = await client.options(CHAT, headers=PREFLIGHT)
        assert answer.status_code == 200
        assert answer.headers["access-control-allow-origin"] in (ORIGIN, "*")
        assert "POST" in answer.headers["access-control-allow-methods"]
        assert "authorization" in answer.headers["access-control-allow-headers"]
        assert "access-control-allow-credentials" not in answer.headers

    @pytest.mark.parametrize(
        "origin",
        ["https://other.example", "http://page.example", "https://page.example:8443", "null", f"{ORIGIN}.evil"],
    )
    async def test_a_preflight_of_another_origin_is_refused(self, origin: str) -> None:
        async with serving(allowed_origins=(ORIGIN,)) as client:
            preflight = await client.options(CHAT, headers=PREFLIGHT | {"Origin": origin})
            answer = await client.get("/health", headers={"Origin": origin})
        assert preflight.status_code == 400
        for each in (preflight, answer):
            assert "access-control-allow-origin" not in each.headers

    async def test_without_the_option_no_page_of_another_origin_is_served(self) -> None:
        async with serving() as client:
            preflight = await client.options(CHAT, headers=PREFLIGHT)
            answer = await client.get("/health", headers={"Origin": ORIGIN})
        assert preflight.status_code == 405
        for each in (preflight, answer):
            assert not [name for name in each.headers if name.startswith("access-control")]

    @pytest.mark.parametrize("status", [200, 400, 401, 404, 405, 415, 429, 500])
    async def test_pages_can_read_every_answer_and_its_headers(self, status: int) -> None:
        engine = FakeEngine(fails=RuntimeError("no") if status == 500 else None)
        headers = {"Origin": ORIGIN, "Authorization": "Bearer right"}
        changes = {401: {"Authorization": "Bearer wrong"}, 415: {"Content-Encoding": "gzip"}}
        method, path = {404: ("GET", "/absent"), 405: ("DELETE", CHAT)}.get(status, ("POST", CHAT))
        limits = Limits(max_requests=1)
        async with serving(engine, allowed_origins=(ORIGIN,), api_keys=("right",), limits=limits) as client:
            with client.server.admission.reserve("another", 0) if status == 429 else contextlib.nullcontext():
                answer = await client.request(
                    method, path, json={} if status == 400 else HELLO, headers=headers | changes.get(status, {})
                )
        assert answer.status_code == status
        assert answer.headers["access-control-allow-origin"] == ORIGIN
        exposed = {name.strip() for name in answer.headers["access-control-expose-headers"].lower().split(",")}
        assert exposed == {"x-request-id", "retry-after", "server-timing"}
        assert answer.headers["x-request-id"]


class TestUnexpectedErrors:
    async def test_an_unexpected_error_is_logged_once(self, caplog: pytest.LogCaptureFixture) -> None:
        async with serving(FakeEngine(fails=RuntimeError("secret"))) as client:
            answer = await client.post(CHAT, json=HELLO)
        assert answer.status_code == 500
        assert "secret" not in answer.text
        assert [record.message for record in caplog.records if record.levelno > logging.INFO] == ["a request failed"]
        assert caplog.text.count("Traceback") == 1
