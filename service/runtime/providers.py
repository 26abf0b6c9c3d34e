"""Execution providers of ONNX Runtime by our names, and what is asked of each.

In: the settings that mean the same everywhere (device, memory, cache, threads). Out: the provider's name and
the options that say so in its own words. Knows nothing of sessions.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from cifar10net.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

_MIB = 1 << 20
_LARGEST_DEVICE = 1_023


@dataclass(frozen=True)
class Provider:
    """One execution provider."""

    name: str
    """ONNX Runtime's."""
    extra: str
    """Of this package, which installs it."""
    defaults: Mapping[str, str]
    device: str | None = None
    """The option that takes each common setting; None if the provider has none."""
    memory_limit: str | None = None
    cache: str | None = None
    threads: str | None = None
    with_cache: Mapping[str, str] | None = None
    """What else a cache needs."""


PROVIDERS: Mapping[str, Provider] = {
    "cpu": Provider("CPUExecutionProvider", "cpu", {}),
    "cuda": Provider("CUDAExecutionProvider", "gpu", {}, device="device_id", memory_limit="gpu_mem_limit"),
    "tensorrt": Provider(
        "TensorrtExecutionProvider",
        "gpu",
        {},
        device="device_id",
        memory_limit="trt_max_workspace_size",
        cache="trt_engine_cache_path",
        with_cache={"trt_engine_cache_enable": "1", "trt_timing_cache_enable": "1"},
    ),
    "openvino": Provider(
        "OpenVINOExecutionProvider",
        "openvino",
        {"device_type": "CPU"},
        cache="cache_dir",
        threads="num_of_threads",
    ),
}
ON_DEVICE = frozenset({"cuda", "tensorrt"})
"""Those that compute outside the CPUs."""


@dataclass(frozen=True, kw_only=True)
class ProviderConfig:
    """Which execution provider, and how it is to run."""

    name: str = "cpu"
    """A key of ``PROVIDERS``."""
    device_id: int | None = None
    """Of several devices the one to use."""
    memory_limit_mib: int | None = None
    """Of device memory, for each session (CUDA); of an engine's workspace (TensorRT)."""
    cache: Path | None = None
    """Folder for compiled engines, so that the next start need not compile them."""
    options: tuple[tuple[str, str], ...] = ()
    """Further options in ONNX Runtime's words; they come before everything else."""

    def __post_init__(self) -> None:
        if self.name not in PROVIDERS:
            raise ConfigError(f"provider is {self.name!r}, wanted one of {', '.join(PROVIDERS)}")
        if self.device_id is not None and not 0 <= self.device_id <= _LARGEST_DEVICE:
            raise ConfigError(f"device_id is {self.device_id}, wanted 0 to {_LARGEST_DEVICE}")
        if self.memory_limit_mib is not None and self.memory_limit_mib < 1:
            raise ConfigError(f"memory_limit_mib is {self.memory_limit_mib}, wanted 1 or more")
        provider = PROVIDERS[self.name]
        for setting, value, option in (
            ("device_id", self.device_id, provider.device),
            ("memory_limit_mib", self.memory_limit_mib, provider.memory_limit),
            ("engine_cache", self.cache, provider.cache),
        ):
            if value is not None and option is None:
                raise ConfigError(f"{setting} is {value}, but the provider {self.name} has no such setting")

    def session_options(self, threads: int) -> dict[str, str]:
        """What the session's provider is given, names and values in ONNX Runtime's words."""
        provider = PROVIDERS[self.name]
        options = dict(provider.defaults)
        if provider.threads is not None:
            options[provider.threads] = str(threads)
        if provider.device is not None and self.device_id is not None:
            options[provider.device] = str(self.device_id)
        if provider.memory_limit is not None and self.memory_limit_mib is not None:
            options[provider.memory_limit] = str(self.memory_limit_mib * _MIB)
        if provider.cache is not None and self.cache is not None:
            options[provider.cache] = str(self.cache)
            options |= provider.with_cache or {}
        return options | dict(self.options)
