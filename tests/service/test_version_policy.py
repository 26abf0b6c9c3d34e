"""Version policies are parsed and choose versions."""

from __future__ import annotations

import pytest

from cifar10net.errors import ConfigError
from service.version_policy import VersionPolicies, VersionPolicy


@pytest.mark.parametrize(
    ("words", "chosen"),
    [
        ("latest:1", {10}),
        ("latest:2", {9, 10}),
        ("latest:99", {1, 2, 9, 10}),
        ("all", {1, 2, 9, 10}),
        ("2", {2}),
        ("1,9,11", {1, 9}),
    ],
)
def test_versions_are_chosen_by_number(words: str, chosen: set[int]) -> None:
    policy = VersionPolicy.parse(words)

    assert policy.choose([2, 10, 1, 9]) == chosen
    assert str(policy) == words


def test_versions_asked_for_by_number_are_missed() -> None:
    assert VersionPolicy.parse("1,9,11").missing([1, 2]) == {9, 11}
    assert VersionPolicy.parse("latest:5").missing([1]) == set()
    assert VersionPolicy.parse("all").choose([]) == set()


@pytest.mark.parametrize(
    "words", ["", "latest", "latest:", "latest:0", "latest:-1", "0", "01", "1,", "1 2", "newest", "1.5", "²"]
)
def test_other_words_are_refused(words: str) -> None:
    with pytest.raises(ConfigError, match="wanted latest:N, all, or numbers such as 1,3"):
        VersionPolicy.parse(words)


def test_a_model_may_have_a_policy_of_its_own() -> None:
    policies = VersionPolicies.parse(["latest:2", "cifar10net=2,3", "a=b=all"])

    assert [str(policies.of(name)) for name in ("cifar10net", "a=b", "another")] == ["2,3", "all", "latest:2"]
    assert str(VersionPolicies.parse([]).of("any")) == "latest:1"


@pytest.mark.parametrize("options", [["all", "latest:1"], ["net=1", "net=2"]])
def test_two_policies_for_the_same_are_refused(options: list[str]) -> None:
    with pytest.raises(ConfigError, match="given twice"):
        VersionPolicies.parse(options)
