"""A comparison as tables and text, for the terminal, ``compare.md`` and the documentation."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from training.compare.results import Comparison, ModelResult
    from training.compare.speed import Speed

Table = tuple[list[str], list[list[str]]]
"""Titles, and the cells of each row. The first column is text, the others are numbers."""


def cost_and_accuracy(comparison: Comparison) -> Table:
    """Tabulate cost, accuracy and speed of each model."""
    titles = [
        "model", "parameters", "multiply-adds, M", "top-1", "top-3",
        "images/s, one core", "quartiles", "size, kB",
    ]  # fmt: skip
    return titles, [
        [
            row.name,
            f"{row.parameters:,}",
            f"{row.multiply_adds / 1e6:,.2f}",
            _percent(row.top1.mean, 2),
            _percent(row.top3.mean, 2),
            f"{row.speed.median:,.0f}",
            _quartiles(row.speed),
            f"{row.size_bytes / 1e3:,.0f}",
        ]
        for row in comparison.rows
    ]


def shifted_images(comparison: Comparison) -> Table:
    """Tabulate accuracy and unchanged predictions of each model on shifted images."""
    distances = [each.distance_px for each in comparison.rows[0].shifted]
    titles = ["model", *(f"top-1 at {distance} px" for distance in distances)]
    titles += [f"same at {distance} px" for distance in distances[1:]]
    return titles, [
        [
            row.name,
            *(_percent(each.top1.mean) for each in row.shifted),
            *(_percent(each.unchanged.mean) for each in row.shifted[1:]),
        ]
        for row in comparison.rows
    ]


def notes_on_accuracy(comparison: Comparison) -> str:
    """Explain how the first table was measured."""
    top1 = max(row.top1.standard_error for row in comparison.rows)
    top3 = max(row.top3.standard_error for row in comparison.rows)
    return (
        f"Top-1 and top-3 on {comparison.images:,} images ({comparison.data}), one forward pass each; "
        f"standard error at most {_points(top1)} and {_points(top3)} points. Images/s: ONNX Runtime's CPU "
        f"provider, one thread, batches of {comparison.batch}, {comparison.rows[0].speed.rounds} interleaved "
        "rounds, median and quartiles of images per second of the core's time. Parameters and multiply-adds "
        "are those of the file; an int8 graph that merges convolution and pooling stores weights repeatedly."
    )


def notes_on_shifts(comparison: Comparison) -> str:
    """Explain how the second table was measured."""
    worst = max(
        rate.standard_error
        for row in comparison.rows
        for each in row.shifted
        for rate in (each.top1, each.unchanged)
    )
    return (
        f"The same {comparison.shift_images:,} of the test images for every model, stratified by class, "
        "shifted up, down, left and right, borders filled by reflection; mean of the four directions. "
        "Same: share of top-1 predictions that equal those for the original images. Standard error at most "
        f"{_points(worst)} points."
    )


def notes_on_machine(comparison: Comparison) -> str:
    """Name the machine, versions, commit and date of the measurement."""
    versions = ", ".join(f"{name} {version}" for name, version in comparison.versions.items())
    commit, _, changes = comparison.commit.partition("-")
    text = f"{comparison.machine}; {versions}; commit {commit[:12]}"
    return text + (f"-{changes}" if changes else "") + f"; {comparison.time[:10]}."


def verdict(comparison: Comparison) -> str:
    """Say whether weight sharing and pooling beat the fully connected network on shifted images.

    A model does if it is right more often and keeps more of its predictions at every distance, each by more
    than two standard errors of the difference.
    """
    if comparison.baseline is None:
        return (
            "No fully connected network is among these: nothing to compare weight sharing and pooling with."
        )
    names = list(dict.fromkeys(margin.name for margin in comparison.margins))
    if not names:
        return "No convolutional network is among these: nothing to say about weight sharing and pooling."
    clear = [name for name in names if all(each.is_clear for each in comparison.margins if each.name == name)]
    others = [name for name in names if name not in clear]
    if not others:
        text = "Yes: weight sharing and pooling beat the fully connected network on shifted images"
    elif clear:
        text = f"In part: {_listed(clear)} clearly better than the fully connected one, {_listed(others)} not"
    else:
        text = "No: no convolutional network is clearly better on shifted images than the fully connected one"
    by_name = {row.name: row for row in comparison.rows}
    details = "; ".join(_kept(by_name[name]) for name in (comparison.baseline, *names))
    farthest = comparison.rows[0].shifted[-1].distance_px
    return f"{text}. At {farthest} pixels {details} (n = {comparison.shift_images:,})."


def markdown(comparison: Comparison) -> str:
    """Write both tables, their notes, and the verdict."""
    parts = [
        _table(*cost_and_accuracy(comparison)),
        notes_on_accuracy(comparison),
        _table(*shifted_images(comparison)),
        notes_on_shifts(comparison),
        f"**{verdict(comparison)}**",
        notes_on_machine(comparison),
    ]
    return "\n\n".join(parts) + "\n"


def _table(titles: list[str], rows: list[list[str]]) -> str:
    head = ["| " + " | ".join(titles) + " |", "|---" + "|---:" * (len(titles) - 1) + "|"]
    return "\n".join(head + ["| " + " | ".join(cells) + " |" for cells in rows])


def _quartiles(speed: Speed) -> str:
    low, high = (quartile / speed.median - 1 for quartile in (speed.lower_quartile, speed.upper_quartile))
    return f"{low:+.0%} {high:+.0%}"


def _kept(row: ModelResult) -> str:
    original, shifted = row.shifted[0], row.shifted[-1]
    kept, lost = shifted.unchanged.mean, original.top1.mean - shifted.top1.mean
    return f"{row.name} keeps {_percent(kept)} of its predictions and loses {_points(lost, 1)} points"


def _listed(names: list[str]) -> str:
    return " and ".join(filter(None, [", ".join(names[:-1]), names[-1]]))


def _percent(share: float, digits: int = 1) -> str:
    return f"{share:.{digits}%}"


def _points(share: float, digits: int = 2) -> str:
    return f"{round(100 * share, digits) + 0:.{digits}f}"  # + 0 turns -0.0 into 0.0
