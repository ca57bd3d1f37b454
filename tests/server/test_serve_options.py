"""Hosts, origins and the protocol of traces: what is given at the start is honoured, made right or refused."""

import os
from pathlib import Path

import pytest

from llava_interleave_serve.server import cli
from llava_interleave_serve.server.config import ServerConfig
from llava_interleave_serve.server.observability import tracing

pytestmark = pytest.mark.usefixtures("on_every_platform")


def parse(*argv: str) -> ServerConfig:
    return cli.parse(list(argv))


def test_the_options_of_media_access_name_hosts_and_a_folder(tmp_path: Path) -> None:
    hosts = ("--allowed-media-hosts", "Media.Example., 10.0.0.0/8", "--allowed-media-hosts", "[::1],my_host,192.0.2.7")
    config = parse("--allowed-local-media-path", str(tmp_path), *hosts)
    assert config.access.allowed_local_media_path == tmp_path
    assert config.access.allowed_hosts == {"media.example", "10.0.0.0/8", "::1", "my_host", "192.0.2.7"}


@pytest.mark.parametrize("option", ["--allowed-media-hosts", "--allowed-origins"])
def test_an_option_of_several_values_does_not_take_the_model_behind_it(option: str) -> None:
    value = {"--allowed-media-hosts": "cdn.example.com", "--allowed-origins": "https://a.example"}[option]
    assert parse(option, value, "my/model").model == "my/model"


@pytest.mark.parametrize("option", ["--served-model-name", "--ignore-patterns", "--logits-processors"])
def test_an_option_of_vllm_that_seems_to_have_taken_the_model_is_refused(
    option: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        parse(option, "x", "my/model")
    assert "MODEL" in capsys.readouterr().err.splitlines()[-1]
    assert parse("my/model", "--ignore-patterns", "original/*").model == "my/model"


@pytest.mark.parametrize(
    ("entry", "says"),
    [
        ("https://cdn.example.com", "no host name"),
        ("cdn.example.com/path", "no host name"),
        ("host:8080", "no host name"),
        ("[::1]:80", "no host name"),
        ("*.example.com", "no host name"),
        ("user@host", "no host name"),
        ("b\u00fccher.example", "ASCII"),
        ("127.1", "no host name"),
        ("10.0.0.256", "no host name"),
        ("a..b", "no host name"),
        ("-a", "expected one argument"),
        ("a b", "no host name"),
        ("", "no host name"),
        ("a,", "no host name"),
        ("10.0.0.1/8", "10.0.0.0/8"),
        ("fe80::1/64", "fe80::/64"),
        ("10.0.0.0/33", "no host name"),
    ],
)
def test_an_allowed_media_host_that_no_url_can_have_is_refused(
    entry: str, says: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        parse("--allowed-media-hosts", entry)
    assert says in capsys.readouterr().err.splitlines()[-1]


def test_an_option_of_vllm_for_media_that_is_not_honoured_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        parse("my/model", "--allowed-media-domains", "a.example")
    assert "--allowed-media-hosts" in capsys.readouterr().err.splitlines()[-1]


def test_allowed_origins_are_as_browsers_write_them() -> None:
    assert parse().allowed_origins == ()
    given = ("--allowed-origins", "HTTPS://Page.Example/,http://localhost:3000", "--allowed-origins", "http://a:80")
    assert parse(*given).allowed_origins == ("https://page.example", "http://localhost:3000", "http://a")
    assert parse("--allowed-origins", "*").allowed_origins == ("*",)
    assert parse("--allowed-origins", "chrome-extension://abc").allowed_origins == ("chrome-extension://abc",)


@pytest.mark.parametrize(
    "entry", ["page.example", "https://a.example/path", "https://*.a.example", "null", '["*"]', "", "https://a b", "*,"]
)
def test_an_origin_that_no_browser_sends_is_refused(entry: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        parse("--allowed-origins", entry)
    assert "no origin" in capsys.readouterr().err.splitlines()[-1]


ENDPOINT = ("--otlp-traces-endpoint", "http://127.0.0.1:4318/v1/traces")
SPECIFIC, GENERAL = tracing.PROTOCOL_VARIABLES


@pytest.mark.parametrize(
    ("environment", "protocol"),
    [
        ({}, "grpc"),
        ({SPECIFIC: "http/protobuf"}, "http/protobuf"),
        ({GENERAL: "http/protobuf"}, "http/protobuf"),
        ({SPECIFIC: "grpc", GENERAL: "http/protobuf"}, "grpc"),
        ({SPECIFIC: ""}, "grpc"),
    ],
)
def test_the_protocol_of_traces_is_that_of_opentelemetrys_variables_and_vllm_has_the_same(
    environment: dict[str, str], protocol: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for variable in (SPECIFIC, GENERAL):
        monkeypatch.setenv(variable, environment.get(variable, ""))
    assert parse(*ENDPOINT).traces_protocol == protocol
    assert (os.environ[SPECIFIC] or "grpc") == protocol


@pytest.mark.parametrize(
    ("protocol", "endpoint", "says"),
    [
        ("http/json", ENDPOINT[1], SPECIFIC),
        ("HTTP", ENDPOINT[1], SPECIFIC),
        ("http/protobuf", "http://127.0.0.1:4318", "http://127.0.0.1:4318/v1/traces"),
        ("http/protobuf", "http://127.0.0.1:4318/", "http://127.0.0.1:4318/v1/traces"),
    ],
)
def test_a_protocol_of_traces_that_cannot_be_spoken_is_refused(
    protocol: str, endpoint: str, says: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv(SPECIFIC, protocol)
    with pytest.raises(SystemExit):
        parse("--otlp-traces-endpoint", endpoint)
    assert says in capsys.readouterr().err.splitlines()[-1]
    assert parse().traces_endpoint is None


def test_metrics_need_the_key_unless_the_option_opens_them() -> None:
    assert not parse().metrics_without_key
    assert parse("--metrics-without-key", "--api-key", "right").metrics_without_key
