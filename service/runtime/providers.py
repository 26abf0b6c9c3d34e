"""ONNX Runtime's execution providers, and our common settings in the option names of each."""

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
    """The name in ONNX Runtime."""
    extra: str
    """The extra of this package that installs it."""
    defaults: Mapping[str, str]
    device: str | None = None
    """The provider's option for this setting, None if it has none; so are the next three."""
    memory_limit: str | None = None
    cache: str | None = None
    threads: str | None = None
    with_cache: Mapping[str, str] | None = None
    """Further options that a cache needs."""


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
"""Providers that compute on an accelerator."""


@dataclass(frozen=True, kw_only=True)
class ProviderConfig:
    """An execution provider and its settings."""

    name: str = "cpu"
    """A key of ``PROVIDERS``."""
    device_id: int | None = None
    """Index of the device."""
    memory_limit_mib: int | None = None
    """Device memory per session (CUDA), or workspace of an engine (TensorRT)."""
    cache: Path | None = None
    """Folder that keeps compiled engines for the next start."""
    options: tuple[tuple[str, str], ...] = ()
    """Further options by their ONNX Runtime names; they override all others."""

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
        """Return the options of the session's provider, by their ONNX Runtime names."""
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
