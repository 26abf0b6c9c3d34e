"""What people and programs read of answers: lines with bars, or a JSON object."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

    from service.wire import ImageResult

_BAR_WIDTH = 20


def as_lines(name: str, result: ImageResult) -> str:
    """Write the image's name and a line a class: label, probability, bar."""
    lines = [name]
    for each in result.classes:
        bar = "█" * round(each.probability * _BAR_WIDTH)
        lines.append(f"  {each.label:<12}{each.probability:>7.1%}  {bar}".rstrip())
    return "\n".join(lines)


def as_object(name: str, result: ImageResult) -> dict[str, Any]:
    """Make a JSON-ready object: ``file`` and either ``classes`` or ``error``."""
    if result.error is not None:
        error = {"code": result.error.code.name, "message": result.error.message}
        return {"file": name, "error": error}
    classes = [vars(each) for each in result.classes]
    return {"file": name, "classes": classes, "model": result.model, "version": result.version}


def as_timing(parts: Mapping[str, float]) -> str:
    """Write how many milliseconds the parts of a call took in the server."""
    told = ", ".join(f"{name} {part_ms:.3f} ms" for name, part_ms in parts.items())
    return f"server: {told or 'does not tell timings'}"
