"""What is asked behind the question mark of a URL, checked."""

from __future__ import annotations

from typing import TYPE_CHECKING

from service.web.problem_details import bad_request

if TYPE_CHECKING:
    from starlette.requests import Request

_LONGEST = 20


def whole(request: Request, name: str, default: int, smallest: int, largest: int) -> int:
    """Read a whole number. Raises ProblemError if it is none, or out of its range."""
    text = request.query_params.get(name)
    if text is None:
        return default
    digits = text.removeprefix("-")
    is_number = digits.isascii() and digits.isdecimal() and len(digits) <= _LONGEST
    if not is_number or not smallest <= int(text) <= largest:
        raise bad_request(f"{name} is {text[:100]!r}, wanted {smallest} to {largest}")
    return int(text)


def word(request: Request, name: str) -> str:
    """Read a word; empty if it is not there."""
    return request.query_params.get(name, "")


def flag(request: Request, name: str) -> bool:
    """Read ``true`` or ``false``; false if it is not there. Raises ProblemError if it is neither."""
    text = request.query_params.get(name, "false")
    if text not in {"true", "false"}:
        raise bad_request(f"{name} is {text[:100]!r}, wanted true or false")
    return text == "true"
