"""A container engine and Compose, by their command lines."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
COMPOSE_FILE = Path(__file__).parent / "compose.yml"
PROFILES = "balanced,observability,batch,tls,web"
SERVICES = ("server", "replica", "balancer", "prometheus", "server-tls", "web")
LIMIT_S = 180
_ENGINES = ("podman", "docker")
_COMPOSE = (("docker-compose",), ("docker", "compose"))


class Engine:
    """Runs commands of the engine that is there."""

    def __init__(self, program: str, compose: tuple[str, ...]) -> None:
        self.program = program
        self._compose = compose

    def __call__(self, *arguments: object, code: int = 0) -> str:
        """Run a command of the engine. Returns its standard output.

        Args:
            arguments: of the command.
            code: that it is to exit with.
        """
        return _run([self.program, *map(str, arguments)], code)

    def compose(self, *arguments: object, code: int = 0, **environment: str) -> str:
        """Run a command of Compose on the stack of these tests. Returns its standard output."""
        command = [*self._compose, "--progress", "quiet", "--file", str(COMPOSE_FILE), *map(str, arguments)]
        return _run(command, code, COMPOSE_PROFILES=PROFILES, **environment)

    def inspect(self, container: str) -> dict[str, Any]:
        """Return what the engine knows of a container."""
        (known,) = json.loads(self("container", "inspect", container))
        return dict(known)

    def state(self, container: str) -> dict[str, Any]:
        """Return the state of a container: Running, ExitCode, OOMKilled and so on."""
        return dict(self.inspect(container)["State"])

    def container(self, service: str) -> str:
        """Return the id of a service's only container."""
        return self.containers(service)[0]

    def containers(self, service: str) -> list[str]:
        """Return the ids of a service's containers."""
        return self.compose("ps", "--all", "--quiet", service).split()

    def logs(self, container: str) -> str:
        """Return what a container has written, on standard output and standard error."""
        done = subprocess.run(
            [self.program, "logs", container],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=True,
            timeout=LIMIT_S,
        )
        return done.stdout

    def events(self, container: str) -> list[dict[str, Any]]:
        """Return the lines of a server's log."""
        return [json.loads(line) for line in self.logs(container).splitlines() if line.startswith("{")]


def find() -> Engine | str:
    """Return the engine, or why there is none."""
    engines = [name for name in _ENGINES if _works([name, "info"])]
    composes = [words for words in _COMPOSE if _works([*words, "version"])]
    if not engines:
        return "no container engine (podman or docker) is running here"
    if not composes:
        return "no Docker Compose is here"
    return Engine(engines[0], composes[0])


def _works(command: list[str]) -> bool:
    if shutil.which(command[0]) is None:
        return False
    return subprocess.run(command, capture_output=True, check=False, timeout=LIMIT_S).returncode == 0


def _run(command: list[str], code: int, **environment: str) -> str:
    done = subprocess.run(
        command,
        cwd=ROOT,
        env=os.environ | environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=LIMIT_S,
    )
    assert done.returncode == code, (
        f"{' '.join(command)}: exit code {done.returncode}\n{done.stdout}{done.stderr}"
    )
    return done.stdout
