"""The objects of deploy/kubernetes/ are valid, and fit the server and each other."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import jsonschema
import kubernetes_validate
import pytest

from service.config import ServerConfig
from tests.deploy.kustomize import Manifest, manifests, render

FOLDER = Path(__file__).parents[2] / "deploy" / "kubernetes"
VERSION = "1.33"
"""Of Kubernetes; the oldest that is supported upstream should take what we give it."""
COMPONENTS = (FOLDER / "components/secured", FOLDER / "components/queue-depth")
RENDERED = {
    "base": render(FOLDER / "base"),
    "cpu": render(FOLDER / "overlays/cpu"),
    "gpu": render(FOLDER / "overlays/gpu"),
    "cpu, secured, by queue depth": render(FOLDER / "overlays/cpu", *COMPONENTS),
    "gpu, secured": render(FOLDER / "overlays/gpu", COMPONENTS[0]),
    **{
        path.stem: manifests(path)
        for folder in ("jobs", "kserve")
        for path in (FOLDER / folder).glob("*.yaml")
    },
}
SCHEMAS = {path.stem: json.loads(path.read_text()) for path in (FOLDER / "schemas").glob("*.json")}
OBJECTS = [
    pytest.param(each, id=f"{name}: {each['kind']} {each['metadata']['name']}")
    for name, all_ in RENDERED.items()
    for each in all_
]


def _pods(objects: list[Manifest]) -> list[Manifest]:
    """Find every PodSpec, and as one the containers of a ServingRuntime."""
    found = []
    for each in objects:
        spec = each.get("spec", {})
        if each["kind"] in {"Deployment", "Job"}:
            found.append(spec["template"]["spec"])
        elif each["kind"] == "RayJob":
            cluster = spec["rayClusterSpec"]
            found += [
                group["template"]["spec"]
                for group in (cluster["headGroupSpec"], *cluster["workerGroupSpecs"])
            ]
        elif each["kind"] == "ServingRuntime":
            found.append({"containers": spec["containers"]})
    return found


PODS = [
    pytest.param(each, id=f"{name} {number}")
    for name, all_ in RENDERED.items()
    for number, each in enumerate(_pods(all_))
]


def _one(objects: list[Manifest], kind: str, name: str = "cifar10net") -> Manifest:
    (found,) = (each for each in objects if each["kind"] == kind and each["metadata"]["name"] == name)
    return found


def _settings(objects: list[Manifest]) -> dict[str, str]:
    data: dict[str, str] = _one(objects, "ConfigMap")["data"]
    return data


@pytest.mark.parametrize("manifest", OBJECTS)
def test_each_object_is_of_its_schema(manifest: Manifest) -> None:
    if manifest["kind"] in SCHEMAS:
        jsonschema.validate(manifest, SCHEMAS[manifest["kind"]])
    else:
        kubernetes_validate.validate(manifest, VERSION, strict=True)


@pytest.mark.parametrize("spec", PODS)
def test_each_pod_of_a_custom_resource_is_a_pod(spec: Manifest) -> None:
    pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "pod"}, "spec": spec}

    kubernetes_validate.validate(pod, VERSION, strict=True)


@pytest.mark.parametrize(
    ("kind", "spoil"),
    [
        ("Deployment", lambda spec: spec["template"]["spec"].update(terminationGracePeriod=5)),
        ("InferenceService", lambda spec: spec["predictor"].update(minReplica=1)),
        ("RayJob", lambda spec: spec.pop("entrypoint")),
    ],
)
def test_a_misspelt_or_missing_field_is_found(kind: str, spoil: Any) -> None:
    manifest = next(each for all_ in RENDERED.values() for each in all_ if each["kind"] == kind)
    spoilt = json.loads(json.dumps(manifest))
    spoil(spoilt["spec"])

    with pytest.raises((jsonschema.ValidationError, kubernetes_validate.ValidationError)):
        test_each_object_is_of_its_schema(spoilt)


@pytest.mark.parametrize("spec", PODS)
def test_each_pod_may_do_no_more_than_it_needs(spec: Manifest) -> None:
    """The restricted profile of the pod security standards, and limits."""
    for container in spec["containers"]:
        pod, own = spec.get("securityContext", {}), container["securityContext"]
        both = {**pod, **own}
        assert both["runAsNonRoot"] is True
        assert both["runAsUser"] == 10001
        assert both["seccompProfile"] == {"type": "RuntimeDefault"}
        assert own["allowPrivilegeEscalation"] is False
        assert own["capabilities"] == {"drop": ["ALL"]}
        assert container["resources"]["limits"].keys() >= {"cpu", "memory"}
        # A quota of whole CPUs: a part of one would be rounded down.
        assert container["resources"]["limits"]["cpu"].isdigit()
    assert not any("hostPath" in volume for volume in spec.get("volumes", []))


@pytest.mark.parametrize("name", ["base", "cpu", "gpu", "cpu, secured, by queue depth"])
def test_the_platform_waits_longer_than_the_server_takes_to_stop(name: str) -> None:
    objects = RENDERED[name]
    settings = _settings(objects)
    spec = _one(objects, "Deployment")["spec"]["template"]["spec"]
    stop_s = (
        spec["containers"][0]["lifecycle"]["preStop"]["sleep"]["seconds"]
        + float(settings["CIFAR10NET_SERVE_DRAIN_DELAY_S"])
        + float(settings["CIFAR10NET_SERVE_GRACE_S"])
    )
    readiness = spec["containers"][0]["readinessProbe"]

    assert spec["terminationGracePeriodSeconds"] >= stop_s + 5
    # The drain delay is there for probes to notice.
    assert float(settings["CIFAR10NET_SERVE_DRAIN_DELAY_S"]) >= readiness["periodSeconds"]


@pytest.mark.parametrize("name", ["base", "cpu", "gpu"])
def test_probes_ask_by_grpc_where_the_server_listens(name: str) -> None:
    container = _one(RENDERED[name], "Deployment")["spec"]["template"]["spec"]["containers"][0]
    ports = {port["name"]: port["containerPort"] for port in container["ports"]}

    assert ports["grpc"] == ServerConfig.port
    for probe in ("startupProbe", "readinessProbe", "livenessProbe"):
        assert container[probe]["grpc"] == {"port": ports["grpc"]}


def test_with_tls_probes_run_the_images_own_command() -> None:
    spec = _one(RENDERED["cpu, secured, by queue depth"], "Deployment")["spec"]["template"]["spec"]
    container = spec["containers"][0]

    assert container["readinessProbe"]["exec"]["command"][:2] == ["cifar10net", "health"]
    assert "grpc" not in container["startupProbe"]
    secrets = {volume["secret"]["secretName"] for volume in spec["volumes"] if "secret" in volume}
    assert secrets == {"cifar10net-tls", "cifar10net-api-keys"}
    mounted = {mount["mountPath"] for mount in container["volumeMounts"]}
    named = {
        entry["value"].rpartition("/")[0] for entry in container["env"] if entry["value"].startswith("/")
    }
    assert named <= mounted


@pytest.mark.parametrize("name", ["cpu", "gpu"])
def test_what_selects_pods_selects_these(name: str) -> None:
    objects = RENDERED[name]
    deployment = _one(objects, "Deployment")
    labels = deployment["spec"]["template"]["metadata"]["labels"]
    spec = deployment["spec"]["template"]["spec"]
    ports = {port["name"] for port in spec["containers"][0]["ports"]}
    services = [each for each in objects if each["kind"] == "Service"]

    assert deployment["spec"]["selector"]["matchLabels"].items() <= labels.items()
    assert {each["metadata"]["name"] for each in services} == {"cifar10net", "cifar10net-headless"}
    for service in services:
        assert service["spec"]["selector"].items() <= labels.items()
        assert {port["targetPort"] for port in service["spec"]["ports"]} <= ports
    for kind, field in (("PodDisruptionBudget", "selector"), ("NetworkPolicy", "podSelector")):
        assert _one(objects, kind)["spec"][field]["matchLabels"].items() <= labels.items()
    for constraint in spec["topologySpreadConstraints"]:
        assert constraint["labelSelector"]["matchLabels"].items() <= labels.items()
    target = _one(objects, "HorizontalPodAutoscaler")["spec"]["scaleTargetRef"]
    assert (target["kind"], target["name"]) == ("Deployment", deployment["metadata"]["name"])


def test_the_monitor_scrapes_the_service_that_has_a_metrics_port() -> None:
    objects = RENDERED["cpu"]
    monitor = _one(objects, "ServiceMonitor")["spec"]
    service = _one(objects, "Service")

    assert monitor["selector"]["matchLabels"].items() <= service["metadata"]["labels"].items()
    assert monitor["endpoints"][0]["port"] in {port["name"] for port in service["spec"]["ports"]}
    excluded = {each["key"] for each in monitor["selector"]["matchExpressions"]}
    assert excluded & _one(objects, "Service", "cifar10net-headless")["metadata"]["labels"].keys()


def test_the_inference_services_name_a_format_that_a_runtime_here_has() -> None:
    runtime = RENDERED["serving-runtime"][0]
    service = RENDERED["inference-service"][0]["spec"]["predictor"]["model"]
    formats = {(each["name"], each["version"]) for each in runtime["spec"]["supportedModelFormats"]}

    assert service["runtime"] == runtime["metadata"]["name"]
    assert (service["modelFormat"]["name"], service["modelFormat"]["version"]) in formats
    assert service["protocolVersion"] in runtime["spec"]["protocolVersions"]


def test_triton_finds_a_configuration_for_each_model_of_the_repository() -> None:
    repository = FOLDER.parents[1] / "exported_models"

    for model in repository.iterdir():
        configuration = (model / "config.pbtxt").read_text()
        assert re.search(rf'(?m)^name: "{model.name}"$', configuration)
        assert re.search(r'(?m)^platform: "onnxruntime_onnx"$', configuration)


def test_an_overlay_that_says_something_unknown_is_refused(tmp_path: Path) -> None:
    (tmp_path / "kustomization.yaml").write_text("namePrefix: x-\n")

    with pytest.raises(ValueError, match="namePrefix"):
        render(tmp_path)
