"""Common settings reach the session as each provider's own options."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import onnxruntime
import pytest

from cifar10net.errors import ConfigError
from service.errors import ModelError
from service.runtime.model import ModelFile, OnnxModel
from service.runtime.providers import PROVIDERS, ProviderConfig
from tests.service.colours import colour_model


@pytest.mark.parametrize(
    ("config", "wanted"),
    [
        (ProviderConfig(), {}),
        (
            ProviderConfig(name="cuda", device_id=2, memory_limit_mib=512),
            {"device_id": "2", "gpu_mem_limit": str(512 << 20)},
        ),
        (
            ProviderConfig(name="tensorrt", device_id=0, memory_limit_mib=1, cache=Path("/c")),
            {
                "device_id": "0",
                "trt_max_workspace_size": str(1 << 20),
                "trt_engine_cache_path": "/c",
                "trt_engine_cache_enable": "1",
                "trt_timing_cache_enable": "1",
            },
        ),
        (
            ProviderConfig(name="openvino", cache=Path("/c"), options=(("device_type", "GPU"),)),
            {"device_type": "GPU", "num_of_threads": "3", "cache_dir": "/c"},
        ),
    ],
)
def test_settings_become_the_providers_own_options(config: ProviderConfig, wanted: dict[str, str]) -> None:
    assert config.session_options(threads=3) == wanted


@pytest.mark.parametrize("name", PROVIDERS)
def test_the_options_reach_the_session(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every provider is asked for; what runs is the CPU's, since the others need their hardware."""
    path = tmp_path / "model.onnx"
    path.write_bytes(colour_model())
    asked: list[Any] = []

    def record(*_arguments: Any, providers: list[Any], **_options: Any) -> None:
        asked.extend(providers)
        raise RuntimeError("seen enough")

    monkeypatch.setattr(onnxruntime, "InferenceSession", record)
    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: [PROVIDERS[name].name])
    config = ProviderConfig(name=name, options=(("some_option", "7"),))

    with pytest.raises(ModelError, match="seen enough"):
        OnnxModel(ModelFile(path, "colours", 1, path.read_bytes()), config, threads=3)

    # Twice: what cannot be loaded with exact sums of int8 products is tried without.
    assert asked == [(PROVIDERS[name].name, config.session_options(3))] * 2
    assert asked[0][1]["some_option"] == "7"


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"name": "tpu"}, "provider is 'tpu', wanted one of cpu, cuda, tensorrt, openvino"),
        ({"name": "cuda", "device_id": -1}, "device_id is -1, wanted 0 to 1023"),
        ({"name": "cuda", "memory_limit_mib": 0}, "memory_limit_mib is 0, wanted 1 or more"),
        ({"device_id": 1}, "device_id is 1, but the provider cpu has no such setting"),
        ({"name": "cuda", "cache": Path("/c")}, "engine_cache is /c, but the provider cuda has no such"),
        ({"name": "openvino", "memory_limit_mib": 9}, "memory_limit_mib is 9, but the provider openvino"),
    ],
)
def test_settings_that_a_provider_lacks_are_refused(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        ProviderConfig(**settings)
