"""The chart of deploy/, rendered without a cluster."""

import atexit
import functools
import json
import subprocess
import sys
from typing import Any

import yaml

from tests.support.app_server import ROOT

FOLDER = ROOT / "deploy" / "chart"
RELEASE, NAMESPACE = "demo", "serving"
KEYS = [{"secret": "keys", "key": "first"}, {"secret": "keys", "key": "second"}]
# A set of values for each way to serve: on GPUs of one machine, a model over machines with all that can be turned on,
# and without GPUs, Envoy and permanent storage.
VALUES: dict[str, dict[str, Any]] = {
    "defaults": {},
    "machines": {
        "nodes": 2,
        "gpus": 8,
        "model": "llava-hf/llava-interleave-qwen-7b-hf",
        "args": ["--max-model-len=8192"],
        "env": [{"name": "NCCL_DEBUG", "value": "WARN"}],
        "apiKeys": KEYS,
        "huggingFaceToken": {"secret": "hub", "key": "token"},
        "imagePullSecrets": [{"name": "registry"}],
        "models": {"create": True, "storageClass": "fast"},
        "autoscaling": {"enabled": True},
        "podMonitor": {"enabled": True, "labels": {"release": "prometheus"}},
        "alerts": {"enabled": True},
        "dashboard": {"enabled": True},
        "inferencePool": {"enabled": True, "endpointPicker": "picker"},
        "router": {"hashBalanceFactor": 150},
        "nodeSelector": {"pool": "gpu"},
        "tolerations": [{"key": "nvidia.com/gpu", "operator": "Exists"}],
        "runtimeClassName": "nvidia",
    },
    "cpu": {
        "gpus": 0,
        "replicas": 3,
        "router": {"enabled": False},
        "service": {"type": "LoadBalancer", "annotations": {"a": "b"}},
        "models": {"existingClaim": "weights"},
        "update": {"maxSurge": 0, "maxUnavailable": 1},
        "networkPolicy": {"from": [{"namespaceSelector": {"matchLabels": {"team": "web"}}}], "egress": [{}]},
        "podMonitor": {"enabled": True},
        "autoscaling": {"enabled": True, "min": 1, "max": 4},
        "affinity": {"nodeAffinity": {}},
        "podAnnotations": {"a": "b"},
    },
}


class WrongValues(Exception):
    """Helm refuses the values; its sentence."""


@functools.cache
def _helm() -> "subprocess.Popen[str]":
    """The process that renders, until the tests end."""
    command = [sys.executable, str(ROOT / "tests" / "support" / "fleet" / "helm_process.py"), str(FOLDER)]
    process = subprocess.Popen([*command, RELEASE, NAMESPACE], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    atexit.register(process.kill)
    return process


def _ask(request: dict[str, Any]) -> dict[str, Any]:
    process = _helm()
    assert process.stdin is not None
    assert process.stdout is not None
    process.stdin.write(json.dumps(request) + "\n")
    process.stdin.flush()
    answer: dict[str, Any] = json.loads(process.stdout.readline())
    return answer


def lint() -> dict[str, Any]:
    """What Helm finds in the chart: `messages` with their `severity`, and `errors`."""
    return _ask({"lint": True})


def render(values: dict[str, Any]) -> list[dict[str, Any]]:
    """The documents of a release. Raises WrongValues."""
    answer = _ask({"values": values})
    if "error" in answer:
        raise WrongValues(answer["error"])
    texts = [text for path, text in answer["rendered"].items() if path.endswith(".yaml")]
    return [document for text in texts for document in yaml.safe_load_all(text) if document]


def the(documents: list[dict[str, Any]], kind: str, name: str = RELEASE) -> dict[str, Any]:
    """The one document of that kind and name."""
    (found,) = [each for each in documents if each["kind"] == kind and each["metadata"]["name"] == name]
    return found


def pods(documents: list[dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """The pod templates by their component: server, worker, router."""
    templates = []
    for document in documents:
        if document["kind"] == "Deployment":
            templates.append(document["spec"]["template"])
        elif document["kind"] == "LeaderWorkerSet":
            group = document["spec"]["leaderWorkerTemplate"]
            templates += [group["leaderTemplate"], group["workerTemplate"]]
    return {template["metadata"]["labels"]["app.kubernetes.io/component"]: template for template in templates}
