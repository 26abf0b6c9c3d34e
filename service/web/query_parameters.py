"""Reads and checks query parameters."""

from __future__ import annotations

from typing import TYPE_CHECKING

from service.web.problem_details import bad_request

if TYPE_CHECKING:
    from starlette.requests import Request

_MOST_DIGITS = 20


def integer(request: Request, name: str, default: int, smallest: int, largest: int) -> int:
    """Read an integer. Raises ProblemError if it is malformed or out of range."""
    text = request.query_params.get(name)
    if text is None:
        return default
    digits = text.removeprefix("-")
    is_number = digits.isascii() and digits.isdecimal() and len(digits) <= _MOST_DIGITS
    if not is_number or not smallest <= int(text) <= largest:
        raise bad_request(f"{name} is {text[:100]!r}, wanted {smallest} to {largest}")
    return int(text)


def string(request: Request, name: str) -> str:
    """Read a string; empty if it is missing."""
    return request.query_params.get(name, "")


def boolean(request: Request, name: str) -> bool:
    """Read ``true`` or ``false``; false if it is missing. Raises ProblemError for other values."""
    text = request.query_params.get(name, "false")
    if text not in {"true", "false"}:
        raise bad_request(f"{name} is {text[:100]!r}, wanted true or false")
    return text == "true"
