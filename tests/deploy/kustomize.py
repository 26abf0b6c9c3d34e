"""Renders the kustomizations of deploy/kubernetes/ as `kubectl kustomize` does, for the fields that they use.

Reads a folder with kustomization.yaml and returns Kubernetes objects as they would be applied. A field that
is not known here is refused, so that none is left out in silence.
"""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING, Any

import yaml

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

Manifest = dict[str, Any]
_FIELDS = {"apiVersion", "kind", "namespace", "resources", "components", "images", "patches"}


def render(folder: Path, *components: Path) -> list[Manifest]:
    """Return the objects of an overlay or base, and of further components over it.

    Args:
        folder: of the overlay.
        components: folders of kustomizations that the overlay could name.

    Raises:
        ValueError: a kustomization has a field that is not known here, or patches what is not there.
    """
    objects = _apply(folder, [])
    for component in components:
        objects = _apply(component, objects)
    return objects


def manifests(path: Path) -> list[Manifest]:
    """Read the objects of a file."""
    return [each for each in yaml.safe_load_all(path.read_text()) if each is not None]


def _apply(folder: Path, objects: list[Manifest]) -> list[Manifest]:
    wanted = yaml.safe_load((folder / "kustomization.yaml").read_text())
    if unknown := wanted.keys() - _FIELDS:
        raise ValueError(f"{folder}/kustomization.yaml has {sorted(unknown)}, which is not known here")
    for name in wanted.get("resources", []):
        path = folder / name
        objects = objects + (_apply(path, []) if path.is_dir() else manifests(path))
    for name in wanted.get("components", []):
        objects = _apply(folder / name, objects)
    objects = copy.deepcopy(objects)
    for patch in wanted.get("patches", []):
        _patch(objects, patch, folder)
    for image in wanted.get("images", []):
        for container in _containers(objects):
            if container["image"] == image["name"]:
                container["image"] = f"{image['newName']}:{image['newTag']}"
    return objects


def _containers(objects: Iterable[Manifest]) -> Iterable[Manifest]:
    for each in objects:
        if each["kind"] == "Deployment":
            yield from each["spec"]["template"]["spec"]["containers"]


def _patch(objects: list[Manifest], patch: Manifest, folder: Path) -> None:
    target = patch["target"]
    found = [
        each
        for each in objects
        if each["kind"] == target["kind"] and each["metadata"]["name"] == target["name"]
    ]
    if len(found) != 1:
        raise ValueError(f"{folder}/kustomization.yaml patches {target}, of which there are {len(found)}")
    for step in yaml.safe_load(patch["patch"]):
        _take_step(found[0], step)


def _take_step(document: Any, step: Manifest) -> None:
    """Take a step of a JSON patch, RFC 6902: add or replace."""
    *way, last = [part.replace("~1", "/").replace("~0", "~") for part in step["path"].split("/")[1:]]
    place = document
    for part in way:
        place = place[int(part)] if isinstance(place, list) else place[part]
    if step["op"] == "add" and isinstance(place, list):
        place.insert(len(place) if last == "-" else int(last), step["value"])
    elif step["op"] == "add" or (step["op"] == "replace" and last in place):
        place[last] = step["value"]
    else:
        raise ValueError(f"the patch {step} does not fit: there is {place}")
