"""``make images``: builds targets of deploy/Dockerfile, prints their layers, and copies their SBOMs.

Images are called ``cifar10net-TARGET`` and tagged with pyproject.toml's version and ``latest``; the bills of
materials are ``dist/TARGET.cdx.json``. Needs Python and an engine, Docker or Podman.
"""

from __future__ import annotations

import argparse
import re
import subprocess
import sys
import time
import tomllib
from pathlib import Path

ROOT = Path(__file__).parent.parent
MB = 1_000_000
_UNITS = {"B": 1, "kB": 1_000, "MB": MB, "GB": 1_000 * MB}
_SBOM = "/opt/cifar10net/share/sbom.cdx.json"
_SHOWN = 96


def build(engine: str, target: str, arguments: list[str], platform: str = "") -> str:
    """Build a target; return the name of the image, with its version.

    Args:
        engine: program to build with.
        target: of deploy/Dockerfile.
        arguments: further ``KEY=VALUE`` for the build.
        platform: such as ``linux/arm64``, which is added to the tags (``0.1.0-arm64``); empty is the
            machine's.
    """
    version = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    image, ending = f"cifar10net-{target}", f"-{platform.split('/')[1]}" if platform else ""
    command = [engine, "build", "--file=deploy/Dockerfile", f"--target={target}"]
    command += [f"--platform={platform}"] if platform else []
    command += [f"--tag={image}:{tag}{ending}" for tag in (version, "latest")]
    command += [
        f"--build-arg={each}" for each in (f"VERSION={version}", f"REVISION={_revision()}", *arguments)
    ]
    if Path(engine).name == "podman":
        command += ["--format=docker"]  # the OCI format has no health checks
    _run([*command, "."], is_shown=True)
    return f"{image}:{version}{ending}"


def layers(engine: str, image: str) -> list[tuple[int, str]]:
    """Return the size of each layer, in bytes to three digits, and its instruction; topmost layer first."""
    form = "{{.Size}}\t{{.CreatedBy}}"
    history = _run([engine, "history", "--no-trunc", f"--format={form}", image])
    rows = [line.partition("\t") for line in history.splitlines()]
    return [(_bytes(size), _instruction(made)) for size, _, made in rows]


def _instruction(made: str) -> str:
    """Remove what Podman adds to the instruction in a layer's history: a shell, and digests."""
    plain = re.sub(r"^/bin/sh -c #\(nop\) ", "", " ".join(made.split()))
    return re.sub(r":[0-9a-f]{64}\b", "", plain)


def _bytes(size: str) -> int:
    """Parse a size as engines print it, such as ``4.12 MB`` or ``4.12MB``."""
    number, unit = re.fullmatch(r"([\d.]+) ?([kMG]?B)", size).groups()  # type: ignore[union-attr] # they all do
    return round(float(number) * _UNITS[unit])


def write_sbom(engine: str, image: str, path: Path, platform: str = "") -> None:
    """Copy an image's bill of materials, CycloneDX, without running it: it may be for another platform."""
    path.parent.mkdir(exist_ok=True)
    of = [f"--platform={platform}"] if platform else []
    container = _run([engine, "create", "--network=none", *of, image]).strip()
    try:
        _run([engine, "cp", f"{container}:{_SBOM}", str(path)])
    finally:
        _run([engine, "rm", container])


def main() -> None:
    """Build the targets named on the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--engine", required=True, help="docker or podman")
    parser.add_argument("--platform", default="", help="such as linux/arm64; default: this machine's")
    parser.add_argument("--build-arg", action="append", default=[], metavar="KEY=VALUE")
    parser.add_argument("targets", nargs="+")
    options = parser.parse_args()
    if not options.engine:
        parser.error("no engine: install docker or podman, or name one with `make images ENGINE=...`")
    if options.platform and not re.fullmatch("[a-z0-9]+/[a-z0-9]+(/[a-z0-9]+)?", options.platform):
        parser.error(f"--platform is {options.platform!r}, wanted one such as linux/arm64")
    for target in options.targets:
        start = time.monotonic()
        image = build(options.engine, target, options.build_arg, options.platform)
        seconds = time.monotonic() - start
        sbom = ROOT / "dist" / f"{target}.cdx.json"
        write_sbom(options.engine, image, sbom, options.platform)
        rows = layers(options.engine, image)
        total = sum(size for size, _ in rows) / MB
        print(f"\n{image}: {total:.1f} MB, in {seconds:.0f} s; {sbom.relative_to(ROOT)}")
        for size, made in rows:
            if size >= MB // 100:
                print(f"{size / MB:10.2f} MB  {made[:_SHOWN]}")


def _revision() -> str:
    command = ["git", "rev-parse", "HEAD"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)  # noqa: S603 - ours
    return done.stdout.strip() or "unknown"


def _run(command: list[str], *, is_shown: bool = False) -> str:
    stdout = None if is_shown else subprocess.PIPE
    done = subprocess.run(command, cwd=ROOT, stdout=stdout, text=True, check=False)  # noqa: S603 - ours
    if done.returncode != 0:
        sys.exit(f"{' '.join(command)}: exit code {done.returncode}")
    return done.stdout or ""


if __name__ == "__main__":
    main()
