"""``make wheels``: checks, without a build, that everything an image installs has a wheel for a platform.

Prints the number of packages of each image, or the ones that pip reports missing. Needs the package index;
installs nothing.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import tomllib
from pathlib import Path

from deploy.requirements import requirements

ROOT = Path(__file__).parent.parent
IMAGES = {"server": ("cpu", "otel", "web"), "client": ("batch",)}
"""Extras that deploy/Dockerfile puts into each image that is built for both platforms."""
MACHINES = {"linux/amd64": "x86_64", "linux/arm64": "aarch64"}
_PYTHON = "311"  # of the base image
_GLIBC = (28, 27, 26, 24, 17)  # minor versions that wheels name; Debian 12 has 2.36
_FAILED = 1


def missing(platform: str, extras: tuple[str, ...]) -> tuple[int, str]:
    """Resolve an image's requirements for a platform, from wheels alone.

    Returns:
        The number of packages, and pip's errors; empty if all have wheels.
    """
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    machine = MACHINES[platform]
    tags = [f"manylinux_2_{minor}_{machine}" for minor in _GLIBC] + [f"manylinux2014_{machine}", "any"]
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder) / "report.json"
        command = [sys.executable, "-m", "pip", "install", "--quiet", "--dry-run", "--ignore-installed"]
        command += ["--only-binary=:all:", f"--python-version={_PYTHON}", "--implementation=cp"]
        command += [f"--abi={abi}" for abi in (f"cp{_PYTHON}", "abi3", "none")]
        command += [f"--platform={tag}" for tag in tags]
        command += [
            f"--constraint={ROOT / name}" for name in ("constraints.txt", "deploy/image-constraints.txt")
        ]
        command += [
            f"--target={folder}/none",
            f"--report={report}",
            "dumb-init",
            *requirements(project, extras),
        ]
        done = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603 - ours
        if done.returncode != 0:
            return 0, "\n".join(line for line in done.stderr.splitlines() if line.startswith("ERROR"))
        return len(json.loads(report.read_text())["install"]), ""


def main() -> int:
    """Check each image for the platforms on the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("platforms", nargs="+", choices=MACHINES)
    failed = False
    for platform in parser.parse_args().platforms:
        for image, extras in IMAGES.items():
            packages, complaint = missing(platform, extras)
            failed = failed or bool(complaint)
            print(f"{image} for {platform}: {complaint or f'{packages} packages, all as wheels'}")
    return _FAILED if failed else 0


if __name__ == "__main__":
    sys.exit(main())
