"""The compose file starts what Envoy's configuration and the server's options expect."""

import re
from typing import Any

import pytest
import yaml

from llava_interleave_serve.benchmarks.fleet import envoy
from llava_interleave_serve.server import cli
from tests.support.app_server import ROOT

COMPOSE: dict[str, Any] = yaml.safe_load((ROOT / "deploy" / "compose.yaml").read_text())
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]
REPLICAS = [name for name in SERVICES if name.startswith("replica")]
ENVOY: dict[str, Any] = yaml.safe_load(envoy.CONFIGURATION.read_text())


def seconds(text: str) -> float:
    match = re.fullmatch(r"(\d+)s", text)
    assert match is not None
    return float(match[1])


def test_envoy_looks_up_the_name_and_port_of_the_replicas() -> None:
    (locality,) = ENVOY["static_resources"]["clusters"][0]["load_assignment"]["endpoints"]
    (endpoint,) = locality["lb_endpoints"]
    address = endpoint["endpoint"]["address"]["socket_address"]
    assert address == {"address": "replicas", "port_value": cli.parse([]).port}
    for name in REPLICAS:
        assert SERVICES[name]["networks"]["fleet"]["aliases"] == [address["address"]]


def test_the_published_port_is_envoys_and_its_file_is_mounted() -> None:
    router = SERVICES["router"]
    listener = ENVOY["static_resources"]["listeners"][0]["address"]["socket_address"]
    assert router["ports"] == [f"8000:{listener['port_value']}"]
    source, target, mode = router["volumes"][0].split(":")
    assert (ROOT / "deploy" / source).resolve() == envoy.CONFIGURATION.resolve()
    assert (["-c", target], mode) == (router["command"], "ro")
    assert not [name for name in REPLICAS if "ports" in SERVICES[name]]


@pytest.mark.usefixtures("on_every_platform")
@pytest.mark.parametrize("name", REPLICAS)
def test_the_server_takes_the_command_of_a_replica_and_has_time_to_end(name: str) -> None:
    command = [word.replace("${MODEL:-}", "") for word in SERVICES[name]["command"]]
    config = cli.parse(command)
    assert config.is_demo
    assert config.drain_delay > 0
    grace = seconds(SERVICES[name]["stop_grace_period"])
    assert grace >= config.drain_delay + config.drain_timeout + 15


def test_each_replica_has_a_gpu_of_its_own() -> None:
    assert len(REPLICAS) >= 2
    ids = [
        device["device_ids"]
        for name in REPLICAS
        for device in SERVICES[name]["deploy"]["resources"]["reservations"]["devices"]
    ]
    assert sorted(ids) == [[str(number)] for number in range(len(REPLICAS))]


@pytest.mark.parametrize("name", SERVICES)
def test_a_service_has_no_rights_that_it_does_not_need(name: str) -> None:
    service = SERVICES[name]
    assert service["read_only"]
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
