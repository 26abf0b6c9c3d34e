"""Replicas behind the balancer, and Prometheus' figures of them."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING, Any
from urllib.parse import quote
from urllib.request import urlopen

import pytest

from tests.containers.asking import Caller, all_go_on, answers, at_work, until
from tests.containers.conftest import BALANCER, SERVER
from tests.deploy.test_observability import EXPRESSIONS

if TYPE_CHECKING:
    from tests.containers.engine import Engine

PROMETHEUS = "http://127.0.0.1:9090"
CALLS = 100


def _answered(stack: Engine) -> dict[str, int]:
    """Count the requests that each replica has answered."""
    counts = {}
    for container in stack.containers("replica"):
        told = json.loads(stack("exec", container, "cifar10net", "stats", "--json"))
        counts[container] = sum(version["requests"].get("ok", 0) for version in told["versions"])
    return counts


def _starts(stack: Engine, container: str) -> int:
    """Count how often a replica has come to serve."""
    return sum(event["event"] == "serving" for event in stack.events(container))


def _query(expression: str) -> list[dict[str, Any]]:
    with urlopen(f"{PROMETHEUS}/api/v1/query?query={quote(expression)}", timeout=10) as response:  # noqa: S310
        told = json.load(response)
    assert told["status"] == "success"
    return list(told["data"]["result"])


def _targets(job: str) -> set[str]:
    """Name the targets that answer now: queries remember those of an earlier Prometheus for five minutes."""
    with urlopen(f"{PROMETHEUS}/api/v1/targets?state=active", timeout=10) as response:  # noqa: S310
        found = json.load(response)["data"]["activeTargets"]
    return {
        each["labels"]["instance"] for each in found if (each["labels"]["job"], each["health"]) == (job, "up")
    }


def test_calls_of_one_connection_are_spread_over_the_replicas(stack: Engine) -> None:
    before = _answered(stack)

    async def main() -> None:
        caller = Caller(BALANCER, answers(SERVER))
        async with at_work([caller]):
            await all_go_on([caller], CALLS)
        assert caller.losses == []
        assert caller.refused == []

    asyncio.run(main())
    after = _answered(stack)

    shares = [after[container] - before[container] for container in after]
    assert len(shares) == 2
    assert sum(shares) >= CALLS
    assert min(shares) > sum(shares) / 4


def test_a_replica_that_is_killed_costs_nobody_an_answer(stack: Engine) -> None:
    expected = answers(SERVER)
    victim, survivor = stack.containers("replica")
    starts = _starts(stack, victim)

    async def main() -> list[Caller]:
        callers = [Caller(BALANCER, expected, repeats=repeats) for repeats in (1, 1, 1, 4, 4)]
        async with at_work(callers):
            await all_go_on(callers, 1)
            await asyncio.to_thread(stack, "kill", "--signal=KILL", victim)
            await all_go_on(callers, 1)
            await asyncio.to_thread(stack, "start", victim)
            await until(lambda: _starts(stack, victim) > starts, "the replica")
            before = _answered(stack)
            await until(
                lambda: _answered(stack)[victim] > before[victim], "calls for the replica that is back"
            )
        return callers

    callers = asyncio.run(main())

    assert stack.state(survivor)["Running"]
    for caller in callers:
        assert caller.losses == []
        assert caller.refused == []


def test_a_replica_that_is_stopped_costs_nobody_an_answer_without_a_retry(stack: Engine) -> None:
    """It says NOT_SERVING first, and the balancer has heard it before the port closes."""
    expected = answers(SERVER)
    leaver = stack.containers("replica")[0]

    async def main() -> list[Caller]:
        callers = [Caller(BALANCER, expected, repeats=repeats, attempts=1) for repeats in (1, 1, 1, 4, 4)]
        async with at_work(callers):
            await all_go_on(callers, 1)
            await asyncio.to_thread(stack, "stop", "--time=30", leaver)
            await all_go_on(callers, 1)
        return callers

    callers = asyncio.run(main())
    code = stack.state(leaver)["ExitCode"]
    stack("start", leaver)

    assert code == 0
    for caller in callers:
        assert caller.losses == []
        assert caller.refused == []


@pytest.mark.usefixtures("stack")
def test_prometheus_finds_every_server_and_the_balancer() -> None:
    asyncio.run(until(lambda: len(_targets("cifar10net")) == 4, "four servers that answer"))
    asyncio.run(until(lambda: len(_targets("balancer")) == 1, "a balancer that answers"))

    def told() -> bool:
        return _targets("cifar10net") <= {
            each["metric"]["instance"] for each in _query("cifar10net_build_info")
        }

    asyncio.run(until(told, "what they are"))
    assert _query("envoy_cluster_membership_healthy")


@pytest.mark.usefixtures("stack")
@pytest.mark.parametrize("where", EXPRESSIONS)
def test_prometheus_takes_what_dashboard_and_alerts_ask(where: str) -> None:
    expression = EXPRESSIONS[where].replace("$instance", ".*").replace("$__rate_interval", "1m")

    assert _query(expression) is not None


@pytest.mark.parametrize(
    "arguments",
    [
        ("check", "config", "/deploy/prometheus.yml"),
        ("test", "rules", "/deploy/alerts_test.yml"),
    ],
    ids=lambda arguments: " ".join(arguments[:2]),
)
def test_promtool_of_the_image_accepts(stack: Engine, arguments: tuple[str, ...]) -> None:
    stack.compose(
        "run", "--rm", "--no-deps", "--entrypoint=promtool", "--volume=./deploy/prometheus:/deploy:ro",
        "prometheus", *arguments,
    )  # fmt: skip
