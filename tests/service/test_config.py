"""Settings are options of ``cifar10net serve``, and their numbers are checked against their ranges."""

from __future__ import annotations

from typing import Any

import pytest

from cifar10net.errors import ConfigError
from service.commands.serve import serve
from service.config import ImageLimits, ServerConfig, SettingInfo, TracingConfig, settings

REQUIRED: dict[type[Any], dict[str, Any]] = {
    ServerConfig: {"max_message_mib": 1},  # --max-pending-mib is at least twice that
    ImageLimits: {},
    TracingConfig: {"endpoint": "http://127.0.0.1:4317"},
}
SETTINGS = [(config, name, shown) for config in REQUIRED for name, shown in settings(config)]
NUMBERS = [each for each in SETTINGS if each[2].bounds is not None]
OPTIONS = {option.opts[0]: option for option in serve.params}


@pytest.mark.parametrize(("config", "name", "shown"), NUMBERS, ids=[shown.option for _, _, shown in NUMBERS])
def test_a_number_outside_its_range_is_refused(config: type[Any], name: str, shown: SettingInfo) -> None:
    assert shown.bounds is not None
    smallest, largest = shown.bounds
    called = shown.option.removeprefix("--").replace("-", "_")

    for value in (smallest - 1, largest + 1):
        with pytest.raises(ConfigError, match=f"{called} is {value}, wanted {smallest} to {largest}"):
            config(**REQUIRED[config] | {name: value})


@pytest.mark.parametrize(
    ("config", "name", "shown"), SETTINGS, ids=[shown.option for _, _, shown in SETTINGS]
)
def test_a_setting_is_an_option_with_its_help_and_default(
    config: type[Any], name: str, shown: SettingInfo
) -> None:
    option = OPTIONS[shown.option].to_info_dict()

    assert option["help"] == shown.help
    assert option["default"] == (None if shown.is_derived else getattr(config, name))


def test_requests_under_way_may_hold_two_messages() -> None:
    assert ServerConfig(max_message_mib=1, max_pending_mib=2).max_pending_mib == 2
    for mib in (1, 63):
        with pytest.raises(ConfigError, match=f"max_pending_mib is {mib}, wanted 64 to 1048576"):
            ServerConfig(max_pending_mib=mib)
