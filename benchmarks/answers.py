"""Checks serialized ClassifyResponses against the expected one.

Bytes that were seen before cost a look-up. Others are parsed, because the last bit of a probability may
depend on the size of the batch.
"""

from __future__ import annotations

from google.protobuf.message import DecodeError

from cifar10net.pb import classifier_pb2 as pb

_TOLERANCE = 1e-4  # of a probability, between batches of different sizes
_KNOWN_AT_MOST = 1_000


class Answers:
    """Compares answers with the expected one."""

    def __init__(self, expected: bytes) -> None:
        self._expected = pb.ClassifyResponse.FromString(expected)
        self._known = {expected}

    def agrees(self, answer: bytes) -> bool:
        """Whether an answer names the same classes, as probable within 0.0001, for every image."""
        if answer in self._known:
            return True
        try:
            agrees = _alike(self._expected, pb.ClassifyResponse.FromString(answer))
        except DecodeError:
            return False
        if agrees and len(self._known) < _KNOWN_AT_MOST:
            self._known.add(answer)
        return agrees


def _alike(a: pb.ClassifyResponse, b: pb.ClassifyResponse) -> bool:
    if (a.model, a.version, len(a.results)) != (b.model, b.version, len(b.results)):
        return False
    pairs = zip(a.results, b.results, strict=True)
    return all(_alike_result(one, other) for one, other in pairs)


def _alike_result(a: pb.ImageResult, b: pb.ImageResult) -> bool:
    ones, others = a.prediction.classes, b.prediction.classes
    return (
        a.error == b.error
        and len(ones) == len(others)
        and all(
            one.index == other.index
            and one.label == other.label
            and abs(one.probability - other.probability) <= _TOLERANCE
            for one, other in zip(ones, others, strict=True)
        )
    )
