"""What is installed: this package, Python, what its extras bring, and which build of ONNX Runtime.

In: the metadata of the packages in this environment; nothing of them is imported. Out: findings.
"""

from __future__ import annotations

import platform
import re
from importlib.metadata import PackageNotFoundError, requires, version
from typing import TYPE_CHECKING

from service.doctor.finding import Finding, State

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

SECTION = "installed"
_PACKAGE = "cifar10net"
_CLIENT = ("grpcio", "protobuf", "pillow", "click")
_RUNTIMES = {"cpu": "onnxruntime", "gpu": "onnxruntime-gpu", "openvino": "onnxruntime-openvino"}
_REQUIREMENT = re.compile(r"(?P<name>[\w.-]+)[^;]*;.*\bextra == [\"'](?P<extra>[\w-]+)[\"']")


def installation() -> Iterator[Finding]:
    """Look at the packages of this environment."""
    yield _there(_PACKAGE, version(_PACKAGE))
    yield _there("Python", f"{platform.python_version()}, {platform.system()} {platform.machine()}")
    for package in _CLIENT:
        yield _there(package, _version(package))
    yield _runtime()
    extras = _extras(requires(_PACKAGE) or ())
    for extra, packages in extras.items():
        if extra not in _RUNTIMES:
            theirs = [each for each in packages if extra == "server" or each not in extras["server"]]
            yield _extra(extra, theirs or packages)


def is_there(package: str) -> bool:
    """Whether a package is installed."""
    return bool(_version(package))


def has_runtime() -> bool:
    """Whether what the server computes with is there."""
    return is_there("numpy") and any(map(is_there, _RUNTIMES.values()))


def _runtime() -> Finding:
    builds = {extra: package for extra, package in _RUNTIMES.items() if is_there(package)}
    value = ", ".join(f"{package} {_version(package)}" for package in builds.values())
    if not builds:
        return Finding(
            section=SECTION,
            name="ONNX Runtime",
            state=State.ABSENT,
            value="a client asks servers without it",
            advice=f"to serve: pip install '{_PACKAGE}[cpu]', or one of {', '.join(list(_RUNTIMES)[1:])}",
        )
    if len(builds) > 1:
        return Finding(
            section=SECTION,
            name="ONNX Runtime",
            state=State.BAD,
            value=value,
            advice="these builds overwrite each other's files: make an environment with one of them",
        )
    return _there("ONNX Runtime", value)


def _extras(requirements: Iterable[str]) -> dict[str, list[str]]:
    """Sort the packages of the extras, as this package's metadata tell them, by extra."""
    found: dict[str, list[str]] = {}
    for requirement in requirements:
        match = _REQUIREMENT.fullmatch(requirement)
        if match and match["name"] != _PACKAGE:
            found.setdefault(match["extra"], []).append(match["name"])
    return found


def _extra(extra: str, packages: list[str]) -> Finding:
    missing = [package for package in packages if not is_there(package)]
    there = ", ".join(f"{package} {_version(package)}" for package in packages if package not in missing)
    if not missing:
        return _there(f"extra {extra}", there)
    return Finding(
        section=SECTION,
        name=f"extra {extra}",
        state=State.ABSENT,
        value=f"without {', '.join(missing)}",
        advice=f"if you need it: pip install '{_PACKAGE}[{extra}]'",
    )


def _there(name: str, value: str) -> Finding:
    return Finding(section=SECTION, name=name, value=value)


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return ""
