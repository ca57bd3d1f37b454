"""The image is one that a cluster with read-only roots and without root users runs."""

import re

from tests.support.app_server import ROOT
from tests.support.fleet import chart

DOCKERFILE = (ROOT / "Dockerfile").read_text()


def test_the_images_user_is_a_number_and_the_charts() -> None:
    (user,) = re.findall(r"^USER (.*)$", DOCKERFILE, re.MULTILINE)
    pod = chart.pods(chart.render({}))["server"]["spec"]
    assert int(user) == pod["securityContext"]["runAsUser"]
    assert f"--uid {user}" in DOCKERFILE


def test_what_libraries_cache_is_where_a_read_only_container_can_write() -> None:
    variables = dict(re.findall(r"^(?:ENV|   ) ([A-Z_]+)=(\S+)", DOCKERFILE, re.MULTILINE))
    mounts = {mount["mountPath"] for mount in _container()["volumeMounts"]}
    for name in (
        "XDG_CACHE_HOME",
        "TRITON_HOME",
        "FLASHINFER_WORKSPACE_BASE",
        "LLAVA_INTERLEAVE_ADDRESS_FILE",
        "HF_HOME",
    ):
        assert any(f"{variables[name]}/".startswith(f"{mount}/") for mount in mounts), name


def _container() -> dict[str, list[dict[str, str]]]:
    (container,) = chart.pods(chart.render({}))["server"]["spec"]["containers"]
    found: dict[str, list[dict[str, str]]] = container
    return found
