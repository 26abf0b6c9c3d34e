"""What is installed: this package, Python, the extras, and which build of ONNX Runtime.

Read from the metadata of the packages, without importing them.
"""

from __future__ import annotations

import platform
import re
from importlib.metadata import PackageNotFoundError, requires, version
from typing import TYPE_CHECKING

from service.doctor.finding import Finding, FindingState

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

SECTION = "installed"
_PACKAGE = "cifar10net"
_CLIENT = ("grpcio", "protobuf", "pillow", "click")
_RUNTIMES = {"cpu": "onnxruntime", "gpu": "onnxruntime-gpu", "openvino": "onnxruntime-openvino"}
_REQUIREMENT = re.compile(r"(?P<name>[\w.-]+)[^;]*;.*\bextra == [\"'](?P<extra>[\w-]+)[\"']")


def installation() -> Iterator[Finding]:
    """Check the packages of this environment."""
    yield _ok(_PACKAGE, version(_PACKAGE))
    yield _ok("Python", f"{platform.python_version()}, {platform.system()} {platform.machine()}")
    for package in _CLIENT:
        yield _ok(package, _version(package))
    yield _runtime()
    extras = _extras(requires(_PACKAGE) or ())
    for extra, packages in extras.items():
        if extra not in _RUNTIMES:
            theirs = [each for each in packages if extra == "server" or each not in extras["server"]]
            yield _extra(extra, theirs or packages)


def has_runtime() -> bool:
    """Whether NumPy and a build of ONNX Runtime are installed."""
    return bool(_version("numpy")) and any(map(_version, _RUNTIMES.values()))


def _runtime() -> Finding:
    builds = [package for package in _RUNTIMES.values() if _version(package)]
    value = ", ".join(f"{package} {_version(package)}" for package in builds)
    if not builds:
        advice = f"to serve: pip install '{_PACKAGE}[cpu]', or one of {', '.join(list(_RUNTIMES)[1:])}"
        return Finding(SECTION, "ONNX Runtime", FindingState.ABSENT, "not needed by clients", advice)
    if len(builds) > 1:
        advice = "these builds overwrite each other's files: make an environment with only one of them"
        return Finding(SECTION, "ONNX Runtime", FindingState.BAD, value, advice)
    return _ok("ONNX Runtime", value)


def _extras(requirements: Iterable[str]) -> dict[str, list[str]]:
    """Group the packages of the extras, from this package's metadata, by extra."""
    found: dict[str, list[str]] = {}
    for requirement in requirements:
        match = _REQUIREMENT.fullmatch(requirement)
        if match and match["name"] != _PACKAGE:
            found.setdefault(match["extra"], []).append(match["name"])
    return found


def _extra(extra: str, packages: list[str]) -> Finding:
    missing = [package for package in packages if not _version(package)]
    if not missing:
        return _ok(f"extra {extra}", ", ".join(f"{package} {_version(package)}" for package in packages))
    advice = f"if you need it: pip install '{_PACKAGE}[{extra}]'"
    return Finding(SECTION, f"extra {extra}", FindingState.ABSENT, f"without {', '.join(missing)}", advice)


def _ok(name: str, value: str) -> Finding:
    return Finding(SECTION, name, value=value)


def _version(package: str) -> str:
    """Return the version of a package; empty if it is not installed."""
    try:
        return version(package)
    except PackageNotFoundError:
        return ""
