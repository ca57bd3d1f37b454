"""The chart renders valid documents that fit the server, Envoy and each other, and refuses wrong values."""

import functools
import json
from pathlib import Path
from typing import Any

import jsonschema
import kubernetes_validate
import pytest
import yaml

from llava_interleave_serve.benchmarks.fleet import envoy
from llava_interleave_serve.server import cli, serve_options
from llava_interleave_serve.server.config import ServerConfig
from llava_interleave_serve.server.http import auth
from llava_interleave_serve.server.routes import health, metrics
from tests.support.fleet import chart, custom_resources, promql

KUBERNETES = ("1.30", "1.34")  # the chart's oldest, and one of today's
SCHEMA = json.loads((chart.FOLDER / "values.schema.json").read_text())


@functools.cache
def rendered(name: str) -> list[dict[str, Any]]:
    """The documents of one of the sets of values."""
    return chart.render(chart.VALUES[name])


@pytest.mark.parametrize("version", KUBERNETES)
@pytest.mark.parametrize("name", chart.VALUES)
def test_every_document_is_valid_and_has_no_unknown_field(name: str, version: str) -> None:
    kinds = set()
    for document in rendered(name):
        kinds.add(document["kind"])
        if document["kind"] in custom_resources.SCHEMAS:
            jsonschema.validate(document, custom_resources.SCHEMAS[document["kind"]])
        else:
            kubernetes_validate.validate(document, version, strict=True)
    assert {"Service", "PodDisruptionBudget", "NetworkPolicy"} <= kinds


def test_the_sets_of_values_turn_on_every_kind_of_document() -> None:
    kinds = {document["kind"] for name in chart.VALUES for document in rendered(name)}
    assert kinds >= {"Deployment", "PersistentVolumeClaim", "ConfigMap", *custom_resources.SCHEMAS}


def test_a_misspelt_field_would_be_found() -> None:
    document = json.loads(json.dumps(chart.the(rendered("defaults"), "Deployment")))
    (container,) = document["spec"]["template"]["spec"]["containers"]
    container["readynessProbe"] = container.pop("readinessProbe")
    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate(document, KUBERNETES[0], strict=True)


def test_the_chart_has_no_fault_that_helm_knows() -> None:
    report = chart.lint()
    assert [message for message in report["messages"] if message["severity"] > 1] == []
    assert report["errors"] == []


@pytest.mark.parametrize(
    ("values", "says"),
    [
        ({"replica": 3}, "'replica' not allowed"),
        ({"replicas": "3"}, "'/replicas': got string, want integer"),
        ({"gpus": -1}, "'/gpus': minimum: got -1, want 0"),
        ({"model": 5}, "'/model': got number, want string"),
        ({"resources": {"limits": {"memory": "16 GB"}}}, "'/resources/limits/memory': '16 GB' does not match"),
        ({"router": {"hashBalanceFactor": 50}}, "'/router/hashBalanceFactor': minimum: got 50, want 101"),
        ({"apiKeys": ["secret"]}, "'/apiKeys/0': got string, want object"),
        ({"huggingFaceToken": {"secret": "hub"}}, "'/huggingFaceToken': properties 'key' required"),
        ({"service": {"type": "Ingress"}}, "'/service/type'"),
        ({"autoscaling": {"min": 9}}, "autoscaling.min is 9 and autoscaling.max is 8: min must not be larger"),
        ({"nodes": 2, "gpus": 0}, "nodes above 1 needs gpus"),
        ({"update": {"maxSurge": 0}}, "update.maxSurge and update.maxUnavailable are both 0"),
        ({"models": {"create": True, "existingClaim": "a"}}, "models.create and models.existingClaim: give one"),
        ({"inferencePool": {"enabled": True}}, "inferencePool.enabled needs inferencePool.endpointPicker"),
        ({"args": ["--port", "9"]}, "args has --port, which the chart sets itself"),
        ({"args": ["--api-key=secret"]}, "args has --api-key=secret, which the chart sets itself"),
    ],
    ids=str,
)
def test_wrong_values_are_refused_with_a_sentence(values: dict[str, Any], says: str) -> None:
    with pytest.raises(chart.WrongValues) as refusal:
        chart.render(values)
    assert says in str(refusal.value)


def test_every_value_is_described_and_no_other_is_taken() -> None:
    def check(value: Any, schema: dict[str, Any], path: str) -> None:
        assert schema.get("description", "").endswith("."), path
        if isinstance(value, dict) and "properties" in schema:
            assert schema["additionalProperties"] is False, path
            assert set(value) <= set(schema["properties"]), path
            for key, inner in schema["properties"].items():
                check(value.get(key), inner, f"{path}.{key}")

    values = yaml.safe_load((chart.FOLDER / "values.yaml").read_text())
    assert set(values) | {"global"} == set(SCHEMA["properties"])
    check(values, SCHEMA, "values")


@pytest.mark.parametrize("name", chart.VALUES)
def test_selectors_select_pods_of_the_release(name: str) -> None:
    documents = rendered(name)
    labels = {component: pod["metadata"]["labels"] for component, pod in chart.pods(documents).items()}

    def selected(selector: dict[str, str]) -> set[str]:
        return {component for component, own in labels.items() if selector.items() <= own.items()}

    router = {"router"} & labels.keys()
    assert selected(chart.the(documents, "Service", "demo-replicas")["spec"]["selector"]) == {"server"}
    assert selected(chart.the(documents, "Service")["spec"]["selector"]) == (router or {"server"})
    for document in documents:
        if document["kind"] in ("PodDisruptionBudget", "PodMonitor", "InferencePool"):
            expected = "router" if document["metadata"]["name"].endswith("-router") else "server"
            assert selected(document["spec"]["selector"]["matchLabels"]) == {expected}
        if document["kind"] == "Deployment":
            assert (
                document["spec"]["selector"]["matchLabels"].items()
                <= document["spec"]["template"]["metadata"]["labels"].items()
            )
    policy = chart.the(documents, "NetworkPolicy")["spec"]
    peers = [peer["podSelector"]["matchLabels"] for peer in policy["ingress"][0]["from"] if "podSelector" in peer]
    assert {component for peer in peers for component in selected(peer)} == router
    assert policy["podSelector"]["matchLabels"].items() <= labels["server"].items()


@pytest.mark.usefixtures("on_every_platform")
@pytest.mark.parametrize("name", chart.VALUES)
def test_the_server_takes_its_arguments_and_has_time_to_end(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    pod = chart.pods(rendered(name))["server"]["spec"]
    (container,) = pod["containers"]
    arguments = [argument for argument in container["args"] if not argument.startswith(MACHINES)]
    for variable in container.get("env", []):
        arguments = [argument.replace(f"$({variable['name']})", variable["name"]) for argument in arguments]
    config = parsed(arguments, monkeypatch)
    assert pod["terminationGracePeriodSeconds"] >= config.drain_delay + config.drain_timeout + 15
    assert config.drain_delay > 0
    assert container["ports"] == [{"name": "http", "containerPort": ServerConfig().port}]
    assert len(config.api_keys) == len(chart.VALUES[name].get("apiKeys", []))
    assert config.metrics_without_key == (name == "machines")


# What splits a model over machines; the demo, whose checkpoint is here, cannot be split so.
MACHINES = (
    "--tensor-parallel-size",
    "--pipeline-parallel-size",
    "--nnodes",
    "--node-rank",
    "--master-addr",
    "llava-hf",
)


def parsed(arguments: list[str], monkeypatch: pytest.MonkeyPatch) -> ServerConfig:
    monkeypatch.delenv(serve_options.API_KEY_VARIABLE, raising=False)
    return cli.parse(arguments)


def test_probes_ask_routes_that_need_no_key() -> None:
    (container,) = chart.pods(rendered("machines"))["server"]["spec"]["containers"]
    paths = {
        probe: container[probe]["httpGet"]["path"] for probe in ("startupProbe", "livenessProbe", "readinessProbe")
    }
    assert paths == {"startupProbe": "/ready", "livenessProbe": "/health", "readinessProbe": "/ready"}
    assert set(paths.values()) <= {getattr(route, "path", "") for route in health.router.routes} & auth.OPEN_PATHS
    startup = container["startupProbe"]
    assert startup["periodSeconds"] * startup["failureThreshold"] == 20 * 60


@pytest.mark.parametrize("name", chart.VALUES)
def test_a_pod_has_no_rights_that_it_does_not_need(name: str) -> None:
    for component, template in chart.pods(rendered(name)).items():
        pod = template["spec"]
        assert pod["automountServiceAccountToken"] is False
        assert pod["enableServiceLinks"] is False
        assert pod["securityContext"]["runAsNonRoot"]
        assert pod["securityContext"]["runAsUser"] == (101 if component == "router" else 1000)
        assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
        for container in pod["containers"]:
            context = {
                "allowPrivilegeEscalation": False,
                "readOnlyRootFilesystem": True,
                "capabilities": {"drop": ["ALL"]},
            }
            assert container["securityContext"] == context
            writable = {mount["mountPath"] for mount in container["volumeMounts"] if not mount.get("readOnly")}
            assert writable == ({"/tmp"} if component == "router" else {"/tmp", "/models", "/dev/shm"})
            assert {mount["name"] for mount in container["volumeMounts"]} == {
                volume["name"] for volume in pod["volumes"]
            }


def test_keys_come_from_secrets_and_prometheus_sends_the_first() -> None:
    documents = rendered("machines")
    (container,) = chart.pods(documents)["server"]["spec"]["containers"]
    references = [variable["valueFrom"]["secretKeyRef"] for variable in container["env"] if "valueFrom" in variable]
    assert references == [
        {"name": "keys", "key": "first"}, {"name": "keys", "key": "second"}, {"name": "hub", "key": "token"},
    ]  # fmt: skip
    (endpoint,) = chart.the(documents, "PodMonitor")["spec"]["podMetricsEndpoints"]
    assert endpoint["authorization"]["credentials"] == {"name": "keys", "key": "first"}
    assert endpoint["path"] in {getattr(route, "path", "") for route in metrics.router.routes}
    (plain,) = chart.the(rendered("cpu"), "PodMonitor")["spec"]["podMetricsEndpoints"]
    assert "authorization" not in plain
    (worker,) = chart.pods(documents)["worker"]["spec"]["containers"]
    assert [variable["name"] for variable in worker["env"]] == ["HF_TOKEN", "NCCL_DEBUG"]


def test_a_model_over_machines_is_a_group_of_the_server_and_workers_with_the_same_arguments() -> None:
    documents = rendered("machines")
    group = chart.the(documents, "LeaderWorkerSet")["spec"]["leaderWorkerTemplate"]
    assert (group["size"], group["restartPolicy"]) == (2, "RecreateGroupOnPodRestart")
    (server,) = group["leaderTemplate"]["spec"]["containers"]
    (worker,) = group["workerTemplate"]["spec"]["containers"]
    assert worker["command"] == ["llava-interleave", "worker"]
    assert worker["command"][1] in cli.COMMANDS
    engine = [
        "llava-hf/llava-interleave-qwen-7b-hf", "--tensor-parallel-size=8", "--pipeline-parallel-size=2", "--nnodes=2",
        "--node-rank=$(LWS_WORKER_INDEX)", "--master-addr=$(LWS_LEADER_ADDRESS)", "--max-model-len=8192",
    ]  # fmt: skip
    assert worker["args"] == engine
    assert server["args"][: len(engine)] == engine
    for container in (server, worker):
        assert container["resources"]["limits"]["nvidia.com/gpu"] == 8
    target = chart.the(documents, "ScaledObject")["spec"]["scaleTargetRef"]
    assert (target["kind"], target["name"]) == ("LeaderWorkerSet", "demo")


@pytest.mark.parametrize("name", ["machines", "cpu"])
def test_replicas_are_scaled_by_series_that_the_server_exports(name: str) -> None:
    scaled = chart.the(rendered(name), "ScaledObject")["spec"]
    queries = [trigger["metadata"]["query"] for trigger in scaled["triggers"]]
    selected = [each for query in queries for each in promql.selected(query)]
    assert [(metric, labels.get("of") or labels.get("code")) for metric, labels in selected] == [
        ("lis_inflight", "visual_tokens"), ("lis_inflight", "requests"), ("lis_refusals_total", "overloaded"),
    ]  # fmt: skip
    assert {labels["namespace"] for _, labels in selected} == {chart.NAMESPACE}
    replicated = [document for document in rendered(name) if document["kind"] == scaled["scaleTargetRef"]["kind"]]
    assert "replicas" not in replicated[0]["spec"]  # else each upgrade of the release would undo the scaling


def test_envoys_configuration_is_the_one_of_compose_before_the_replicas_of_the_release(tmp_path: Path) -> None:
    expected = yaml.safe_load(envoy.CONFIGURATION.read_text())
    cluster = expected["static_resources"]["clusters"][0]
    address = cluster["load_assignment"]["endpoints"][0]["lb_endpoints"][0]["endpoint"]["address"]["socket_address"]
    address["address"] = "demo-replicas"
    text = chart.the(rendered("defaults"), "ConfigMap", "demo-router")["data"]["envoy.yaml"]
    assert yaml.safe_load(text) == expected
    balanced = chart.the(rendered("machines"), "ConfigMap", "demo-router")["data"]["envoy.yaml"]
    cluster["common_lb_config"]["consistent_hashing_lb_config"]["hash_balance_factor"] = 150
    assert yaml.safe_load(balanced) == expected
    for each in (text, balanced):
        assert envoy.validated(each, tmp_path) == ""


def test_the_weights_outlive_the_release_and_are_where_the_pods_look() -> None:
    claim = chart.the(rendered("machines"), "PersistentVolumeClaim", "demo-models")
    assert claim["metadata"]["annotations"]["helm.sh/resource-policy"] == "keep"
    volumes = {
        name: next(
            volume for volume in chart.pods(rendered(name))["server"]["spec"]["volumes"] if volume["name"] == "models"
        )
        for name in chart.VALUES
    }
    assert volumes["machines"]["persistentVolumeClaim"] == {"claimName": "demo-models"}
    assert volumes["cpu"]["persistentVolumeClaim"] == {"claimName": "weights"}
    assert "emptyDir" in volumes["defaults"]
