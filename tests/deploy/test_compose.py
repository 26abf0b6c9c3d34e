"""docker-compose.yml matches Compose's schema, and each service is locked down."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).parents[2]
FILE = ROOT / "docker-compose.yml"
SERVICES: dict[str, dict[str, Any]] = yaml.safe_load(FILE.read_text())["services"]


def test_it_is_of_the_schema_of_compose() -> None:
    tool = Path(sys.executable).parent / "check-jsonschema"
    command = [str(tool), "--builtin-schema", "vendor.compose-spec", str(FILE)]

    done = subprocess.run(command, capture_output=True, text=True, check=False)

    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize("name", SERVICES)
def test_each_service_may_do_no_more_than_it_needs(name: str) -> None:
    service = SERVICES[name]

    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert service["deploy"]["resources"]["limits"].keys() == {"cpus", "memory", "pids"}
    assert service["stop_grace_period"]
    assert all(port.startswith("127.0.0.1:") for port in service.get("ports", []))
    assert service["logging"]["options"].keys() == {"max-size", "max-file"}


def test_only_the_server_starts_by_default() -> None:
    assert [name for name, service in SERVICES.items() if "profiles" not in service] == ["server"]
    profiles = {profile for service in SERVICES.values() for profile in service.get("profiles", [])}
    assert profiles == {"observability", "balanced", "gpu", "batch", "tls", "web"}


def test_no_port_is_taken_twice() -> None:
    ports = [port.rsplit(":", 1)[0] for service in SERVICES.values() for port in service.get("ports", [])]

    assert len(set(ports)) == len(ports) > 5


@pytest.mark.parametrize("name", [name for name in SERVICES if name.startswith(("server", "replica"))])
def test_compose_waits_longer_than_a_server_takes_to_stop(name: str) -> None:
    environment = SERVICES[name]["environment"]
    stop_s = float(environment["CIFAR10NET_SERVE_GRACE_S"]) + float(
        environment.get("CIFAR10NET_SERVE_DRAIN_DELAY_S", 0)
    )

    assert float(SERVICES[name]["stop_grace_period"].removesuffix("s")) >= stop_s + 5


def test_files_that_are_mounted_are_there_or_made_by_a_command() -> None:
    mounted = [
        re.sub(r"\$\{\w+:-([^}]*)\}", r"\1", volume).split(":")[0]
        for service in SERVICES.values()
        for volume in service.get("volumes", [])
    ]
    for path in mounted:
        assert not path.startswith(".") or (ROOT / path).exists(), path
    secrets = yaml.safe_load(FILE.read_text())["secrets"]
    assert {Path(each["file"]).name for each in secrets.values()} == {"ca.crt", "server.crt", "server.key"}


def test_the_balancer_knows_the_replicas_by_their_name_and_port() -> None:
    envoy = yaml.safe_load((ROOT / "deploy/envoy/envoy.yaml").read_text())["static_resources"]
    (replicas,) = (cluster for cluster in envoy["clusters"] if cluster["name"] == "replicas")
    (endpoint,) = replicas["load_assignment"]["endpoints"][0]["lb_endpoints"]
    address = endpoint["endpoint"]["address"]["socket_address"]

    assert SERVICES[address["address"]]["deploy"]["replicas"] == 3
    assert address["port_value"] == 50051
    check_s = replicas["health_checks"][0]["interval"].removesuffix("s")
    failures = replicas["health_checks"][0]["unhealthy_threshold"]
    drain_s = float(SERVICES["replica"]["environment"]["CIFAR10NET_SERVE_DRAIN_DELAY_S"])
    assert float(check_s) * failures < drain_s
