"""Prints, as JSON, what its container holds and may do; run by the image's own Python."""

from __future__ import annotations

import json
import os
import re
import sys
from pathlib import Path

_FORBIDDEN = re.compile(
    r"/\.git(?:/|$)|/tests/(?:service|training|reliability|containers)/|/(?:\.env|\.netrc|\.pypirc|pip\.conf)$|/id_(?:rsa|ed25519)$"
)
_TOOLS = ("cargo", "cc", "g++", "gcc", "git", "make")
_HOME = Path("/opt/cifar10net")


def _files(*roots: str) -> list[Path]:
    found = []
    for root in roots:
        for folder, folders, names in os.walk(root):
            folders[:] = [each for each in folders if Path(folder, each) not in _VIRTUAL]
            found += [Path(folder, name) for name in names]
    return found


_VIRTUAL = {Path("/proc"), Path("/sys"), Path("/dev"), Path("/run")}


def _is_writable(folder: str) -> bool:
    probe = Path(folder, "probe")
    try:
        probe.write_text("")
    except OSError:
        return False
    probe.unlink()
    return True


def _is_private(path: Path) -> bool:
    return path.suffix in {".pem", ".key"} and b"PRIVATE KEY-----" in path.read_bytes()


def _is_compiled(source: Path) -> bool:
    return any(source.parent.glob(f"__pycache__/{source.stem}.*.pyc"))


def main() -> None:
    """Print what this container holds and may do."""
    ours = _files(str(_HOME), "/models")
    lines = Path("/proc/self/status").read_text().splitlines()
    status = dict(line.split(":\t", 1) for line in lines if ":\t" in line)
    facts = {
        "uid": os.getuid(),
        "home": os.environ["HOME"],
        "capabilities": int(status["CapEff"], 16),
        "writable": [
            folder for folder in ("/", "/models", str(_HOME), os.environ["HOME"]) if _is_writable(folder)
        ],
        "forbidden": [str(path) for path in _files("/") if _FORBIDDEN.search(str(path))],
        "private": [str(path) for path in ours if _is_private(path)],
        "tools": [str(path) for path in map(Path, _paths()) if path.exists()],
        "pip": [str(path) for path in ours if path.parent.name == "pip"],
        "uncompiled": [str(path) for path in ours if path.suffix == ".py" and not _is_compiled(path)],
        "sbom": json.loads((_HOME / "share/sbom.cdx.json").read_text()),
        "variables": sorted(os.environ),
    }
    json.dump(facts, sys.stdout)


def _paths() -> list[str]:
    return [f"{folder}/{tool}" for folder in os.environ["PATH"].split(":") for tool in _TOOLS]


main()
