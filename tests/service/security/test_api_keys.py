"""Keys are parsed, looked up and authorized, and errors never contain one."""

from __future__ import annotations

import hashlib
import time
from typing import TYPE_CHECKING

import pytest
from structlog.testing import capture_logs

from service.errors import ApiKeysError, PermissionDeniedError, ServiceError, UnauthenticatedError
from service.security.api_keys import ApiKeys, add_line, load_api_keys, make_key
from service.security.authorization import Authorizer
from tests.service.security.authority import replace

if TYPE_CHECKING:
    from pathlib import Path

CLASSIFY = "/cifar10net.v1.Classifier/Classify"
LOAD = "/inference.GRPCInferenceService/RepositoryModelLoad"
INFER = "/inference.GRPCInferenceService/ModelInfer"
HEALTH = "/grpc.health.v1.Health/Check"


def _keys(path: Path, *lines: str) -> ApiKeys:
    return load_api_keys(replace(path, "\n".join(lines).encode()))


def _bearer(key: str) -> dict[bytes, bytes]:
    return {b"authorization": b"Bearer " + key.encode()}


def _refusal(authorizer: Authorizer, path: str, metadata: dict[bytes, bytes]) -> ServiceError | None:
    try:
        authorizer.admit(path, metadata)
    except ServiceError as error:
        return error
    return None


def test_keys_are_random_and_known_by_their_hash_alone(tmp_path: Path) -> None:
    made = [make_key(f"name-{number}") for number in range(20)]

    keys = _keys(tmp_path / "keys", "# a comment", "", *(line for _, line in made))

    assert len({key for key, _ in made}) == 20
    for number, (key, line) in enumerate(made):
        assert len(key) == len("c10n_") + 43
        assert key not in line
        assert hashlib.sha256(key.encode()).hexdigest() in line
        found = keys.find(key.encode())
        assert found is not None
        assert found.name == f"name-{number}"
    first = made[0][0].encode()
    for other in (b"", first[:-1], first + b"x", first.swapcase(), bytes(48), hashlib.sha256(first).digest()):
        assert keys.find(other) is None


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        ("alice", "has 1 words, wanted NAME sha256:HASH RIGHTS [UNTIL]"),
        ("alice sha256:00 *", "the hash of 'alice' is invalid: wanted sha256: and 64 hexadecimal digits"),
        ("a/b {hash} *", "its name is invalid"),
        ("alice {hash} x,", "the right '' of 'alice' is invalid"),
        ("alice {hash} a/b/c", "the right 'a/b/c' of 'alice' is invalid"),
        ("alice {hash} * soon", "'alice' expires 'soon', wanted a date such as 2027-01-31"),
        ("alice {hash} * 2027-01-01 00:00", "has 5 words"),
        ("bob {hash} *", "'bob' or its hash has a line already"),
        ("carol {other} *", "'carol' or its hash has a line already"),
        ("alice {key} *", "holds a key itself, wanted its hash"),
        ("{key} {hash} *", "holds a key itself, wanted its hash"),
    ],
)
def test_a_line_that_makes_no_sense_is_named_and_never_shows_a_key(
    tmp_path: Path, line: str, problem: str
) -> None:
    key, other = make_key("bob")
    line = line.format(hash=make_key("x")[1].split()[1], other=other.split()[1], key=key)

    with pytest.raises(ApiKeysError) as caught:
        _keys(tmp_path / "keys", other, "", line)

    assert str(caught.value).startswith(f"{tmp_path / 'keys'}, line 3: {problem}")
    assert key[5:] not in str(caught.value)


def test_a_file_without_keys_is_damaged(tmp_path: Path) -> None:
    for content, problem in (
        (b"", "has no key"),
        (b"# no key\n", "has no key"),
        (b"\xff\xfe", "is not UTF-8 text"),
    ):
        with pytest.raises(ApiKeysError, match=problem):
            load_api_keys(replace(tmp_path / "keys", content))
    with pytest.raises(ApiKeysError, match="cannot be read: No such file"):
        load_api_keys(tmp_path / "none")


def test_a_file_that_others_can_read_is_warned_of(tmp_path: Path) -> None:
    path = replace(tmp_path / "keys", make_key("alice")[1].encode())

    for mode, warnings in ((0o600, 0), (0o644, 1)):
        path.chmod(mode)
        with capture_logs() as lines:
            load_api_keys(path)
        assert len(lines) == warnings


@pytest.mark.parametrize(
    ("rights", "allowed"),
    [
        ("*", {CLASSIFY, LOAD, INFER}),
        ("cifar10net.v1.Classifier", {CLASSIFY}),
        ("cifar10net.v1.Classifier,inference.GRPCInferenceService", {CLASSIFY, LOAD, INFER}),
        ("inference.GRPCInferenceService/Model*", {INFER}),
        ("inference.*/ModelInfer", {INFER}),
        ("cifar10net.v1.*", {CLASSIFY}),
        ("cifar10net.v1.Classifie", set()),
        ("Classifier", set()),
    ],
)
def test_rights_are_patterns_of_services_and_methods(tmp_path: Path, rights: str, allowed: set[str]) -> None:
    key, line = make_key("alice", rights)
    keys = _keys(tmp_path / "keys", line)
    authorizer = Authorizer(lambda: keys, ())

    for path in (CLASSIFY, LOAD, INFER):
        refusal = _refusal(authorizer, path, _bearer(key))
        assert (refusal is None) == (path in allowed)
        if refusal is not None:
            assert isinstance(refusal, PermissionDeniedError)
            assert str(refusal) == f"the API key of 'alice' may not be used for {path[1:]}"


def test_a_key_is_shown_in_either_of_two_fields(tmp_path: Path) -> None:
    key, line = make_key("alice")
    keys = _keys(tmp_path / "keys", line)
    authorizer = Authorizer(lambda: keys, ())
    shown = key.encode()

    for good in (
        {b"authorization": b"Bearer " + shown},
        {b"authorization": b"bearer  " + shown},
        {b"x-api-key": shown},
        {b"authorization": b"Basic eDp5", b"x-api-key": shown},
    ):
        assert _refusal(authorizer, CLASSIFY, good) is None
    for bad in (
        {},
        {b"authorization": shown},
        {b"authorization": b"Bearer"},
        {b"authorization": b"Bearer "},
        {b"authorization": b"Basic " + shown},
        {b"authorization": b"Bearer " + shown[:-1]},
        {b"authorization": b"Bearer x", b"x-api-key": shown},  # what was said first counts
        {b"x-api-key": b"Bearer " + shown},
    ):
        refusal = _refusal(authorizer, CLASSIFY, bad)
        assert isinstance(refusal, UnauthenticatedError), bad
        assert key[5:-1] not in str(refusal)


def test_open_services_need_no_key(tmp_path: Path) -> None:
    keys = _keys(tmp_path / "keys", make_key("alice")[1])
    authorizer = Authorizer(lambda: keys, ["grpc.health.v1.Health"])

    assert _refusal(authorizer, HEALTH, {}) is None
    assert _refusal(authorizer, HEALTH, {b"x-api-key": b"nonsense"}) is None
    assert isinstance(_refusal(authorizer, CLASSIFY, {}), UnauthenticatedError)
    assert isinstance(_refusal(authorizer, HEALTH.replace("Health/", "Healthy/"), {}), UnauthenticatedError)


def test_a_key_expires_though_it_was_admitted_before(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    key, line = make_key("alice", until="2030-01-01T12:00:00Z")
    keys = _keys(tmp_path / "keys", line, make_key("bob")[1])
    authorizer = Authorizer(lambda: keys, ())
    noon_s = 1_893_499_200.0

    assert keys.next_expiry_s() == noon_s
    for now_s, is_good in ((noon_s - 1, True), (noon_s - 0.1, True), (noon_s, False), (noon_s + 9, False)):
        monkeypatch.setattr(time, "time", lambda now_s=now_s: now_s)
        refusal = _refusal(authorizer, CLASSIFY, _bearer(key))
        assert (refusal is None) == is_good
        assert refusal is None or "has expired" in str(refusal)
    assert keys.next_expiry_s() == float("inf")


def test_new_keys_count_from_the_next_call_on(tmp_path: Path) -> None:
    (old, old_line), (new, new_line) = make_key("old"), make_key("new")
    keys = _keys(tmp_path / "keys", old_line)
    authorizer = Authorizer(lambda: keys, ())
    assert _refusal(authorizer, CLASSIFY, _bearer(old)) is None

    keys = _keys(tmp_path / "keys", new_line)

    assert isinstance(_refusal(authorizer, CLASSIFY, _bearer(old)), UnauthenticatedError)
    assert _refusal(authorizer, CLASSIFY, _bearer(new)) is None


def test_only_valid_keys_are_cached(tmp_path: Path) -> None:
    key, line = make_key("alice")
    keys = _keys(tmp_path / "keys", line)
    authorizer = Authorizer(lambda: keys, ["grpc.health.v1.Health"])

    for number in range(200):
        assert _refusal(authorizer, CLASSIFY, _bearer(f"{key}{number}")) is not None
        assert _refusal(authorizer, HEALTH, _bearer(f"anything {number}")) is None
    assert not authorizer._cache
    for number in range(200):
        written = {b"authorization": b"Bearer " + b" " * number + key.encode(), b"x-api-key": b"%d" % number}
        assert _refusal(authorizer, CLASSIFY, written) is None
    assert len(authorizer._cache) == 1


def test_lines_are_added_to_a_file_that_only_its_owner_can_read(tmp_path: Path) -> None:
    path = tmp_path / "keys"
    for name in ("alice", "bob"):
        add_line(path, make_key(name)[1])
    assert path.stat().st_mode & 0o777 == 0o600
    path.write_text(path.read_text().rstrip("\n"))  # as some editors leave it

    add_line(path, make_key("carol")[1])

    assert [line.split()[0] for line in path.read_text().splitlines()] == ["alice", "bob", "carol"]
    with pytest.raises(ApiKeysError, match="has a line for 'bob' already"):
        add_line(path, make_key("bob")[1])
    with pytest.raises(ApiKeysError, match="cannot be read: Is a directory"):
        add_line(tmp_path, make_key("dora")[1])
