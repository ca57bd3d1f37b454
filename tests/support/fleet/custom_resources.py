"""JSON schemas of the custom resources that the chart makes: the fields that it uses, as their definitions have them.

No package brings these definitions: LeaderWorkerSet v1, InferencePool v1, KEDA's ScaledObject and the Prometheus
operator's PodMonitor and PrometheusRule.
"""

from typing import Any

TEXT: dict[str, Any] = {"type": "string", "minLength": 1}
NUMBER: dict[str, Any] = {"type": "integer"}
LABELS: dict[str, Any] = {"type": "object", "additionalProperties": {"type": "string"}}
POD: dict[str, Any] = {"type": "object", "required": ["metadata", "spec"]}
SELECTOR: dict[str, Any] = {"type": "object", "required": ["matchLabels"], "properties": {"matchLabels": LABELS}}


def fields(required: dict[str, Any], optional: dict[str, Any] | None = None) -> dict[str, Any]:
    """The schema of an object with these fields and no others."""
    properties = required | (optional or {})
    return {"type": "object", "required": [*required], "properties": properties, "additionalProperties": False}


def resource(api_version: str, spec: dict[str, Any]) -> dict[str, Any]:
    """The schema of a resource with that spec."""
    return fields({"apiVersion": {"const": api_version}, "kind": TEXT, "metadata": {"type": "object"}, "spec": spec})


def each(schema: dict[str, Any]) -> dict[str, Any]:
    """The schema of a list of at least one of them."""
    return {"type": "array", "items": schema, "minItems": 1}


SECRET_KEY = fields({"name": TEXT, "key": TEXT})
POLICY = fields({"type": {"enum": ["Pods", "Percent"]}, "value": NUMBER, "periodSeconds": NUMBER})
SCALING = fields({"policies": each(POLICY)}, {"stabilizationWindowSeconds": NUMBER})
RULE = fields({"alert": TEXT, "expr": TEXT}, {"for": TEXT, "labels": LABELS, "annotations": LABELS})

SCHEMAS: dict[str, dict[str, Any]] = {
    "LeaderWorkerSet": resource(
        "leaderworkerset.x-k8s.io/v1",
        fields(
            {
                "leaderWorkerTemplate": fields(
                    {
                        "size": NUMBER,
                        "restartPolicy": {"enum": ["RecreateGroupOnPodRestart", "RecreateGroupAfterStart", "None"]},
                        "leaderTemplate": POD,
                        "workerTemplate": POD,
                    }
                ),
                "startupPolicy": {"enum": ["LeaderCreated", "LeaderReady"]},
                "rolloutStrategy": fields(
                    {
                        "type": {"const": "RollingUpdate"},
                        "rollingUpdateConfiguration": fields({"maxSurge": NUMBER, "maxUnavailable": NUMBER}),
                    }
                ),
            },
            {"replicas": NUMBER},
        ),
    ),
    "InferencePool": resource(
        "inference.networking.k8s.io/v1",
        fields(
            {
                "targetPorts": each(fields({"number": NUMBER})),
                "selector": SELECTOR,
                "endpointPickerRef": fields({"name": TEXT, "port": fields({"number": NUMBER})}),
            }
        ),
    ),
    "ScaledObject": resource(
        "keda.sh/v1alpha1",
        fields(
            {
                "scaleTargetRef": fields({"apiVersion": TEXT, "kind": TEXT, "name": TEXT}),
                "minReplicaCount": NUMBER,
                "maxReplicaCount": NUMBER,
                "pollingInterval": NUMBER,
                "advanced": fields(
                    {
                        "horizontalPodAutoscalerConfig": fields(
                            {"behavior": fields({"scaleUp": SCALING, "scaleDown": SCALING})}
                        )
                    }
                ),
                "triggers": each(fields({"type": TEXT, "metadata": LABELS}, {"metricType": {"const": "AverageValue"}})),
            }
        ),
    ),
    "PodMonitor": resource(
        "monitoring.coreos.com/v1",
        fields(
            {
                "selector": SELECTOR,
                "podMetricsEndpoints": each(
                    fields(
                        {"port": TEXT, "path": TEXT, "interval": TEXT},
                        {"authorization": fields({"type": TEXT, "credentials": SECRET_KEY})},
                    )
                ),
            }
        ),
    ),
    "PrometheusRule": resource(
        "monitoring.coreos.com/v1", fields({"groups": each(fields({"name": TEXT, "rules": each(RULE)}))})
    ),
}
