"""A Ray cluster, joined or started, and a job that streams through it.

Sharders run as read tasks of Ray Data, workers as actors. Ray restarts those that die and repeats their work.
A JobError travels as a value, because Ray would wrap it in an exception of its own.
"""

from __future__ import annotations

import logging
import math
import os
import pickle
import secrets
import shutil
import socket
import tempfile
import warnings
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, Self

from service.batch.output import import_pyarrow
from service.batch.ray.child_processes import descendants, wait_or_kill
from service.batch.ray.parts import Receipt
from service.batch.ray.shards import EndOfUnit
from service.batch.ray.worker import Worker, WorkerConfig
from service.errors import JobError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from types import ModuleType

    from service.batch.ray.shards import Sharder

_ATTEMPTS = 5
"""Retries of a shard whose worker dies: a picture that kills workers must not do so for ever."""
_READER_CPUS = 0.25
_IN_FLIGHT = 2
"""Shards a worker: the current and the next one."""
_OBJECT_STORE_BYTES = 512 << 20
_LONGEST_CONNECT_S = 10.0
_STARTS = 3
"""On a busy machine Ray sometimes does not start: https://github.com/ray-project/ray/issues/65983."""


@dataclass(frozen=True, kw_only=True)
class PoolConfig:
    """Which cluster to use, and how much of it."""

    address: str | None = None
    """HOST:PORT of a cluster to join, or ``auto``; None starts one on this machine."""
    workers: int | None = None
    """Actors, each with a model of its own; None: as many as CPUs and GPUs allow."""
    cpus: int = 1
    """Of each worker."""
    gpus: float = 0.0
    """Of each worker."""
    reads_here: bool = False
    """Whether only this machine reads inputs."""


class Pool:
    """A cluster; a context manager that leaves it, or shuts it down if it was started here."""

    def __init__(self, config: PoolConfig) -> None:
        """Import Ray. Raises JobError if it is not installed."""
        self._config = config
        if config.address is None:
            _set_token()
        self._ray = _ray()
        self._folder: str | None = None
        self._others: frozenset[int] = frozenset()
        """Descendants of this process that Ray did not start."""

    def __enter__(self) -> Self:
        """Join or start the cluster. Raises JobError if that fails."""
        try:
            if self._config.address is None:
                self._start(self._config)
            else:
                self._join(self._config.address)
        except BaseException:
            self._leave()
            raise
        return self

    def __exit__(self, *exception: object) -> None:
        self._leave()

    @property
    def address(self) -> str:
        """HOST:PORT, to join the cluster."""
        return str(self._ray.get_runtime_context().gcs_address)

    @property
    def folder(self) -> str | None:
        """Folder of Ray's logs and sockets, if it was started here; removed at the end."""
        return self._folder

    def receipts(
        self, sharders: Sequence[Sharder], config: WorkerConfig, workers: int | None = None
    ) -> Iterator[Receipt]:
        """Run a job, and yield a receipt for each shard and for the end of each unit, in any order.

        ``workers`` replaces the configured number. Raises JobError if the job cannot go on.
        """
        if not sharders:
            return
        with self._as_job_errors():
            for row in self._dataset(sharders, config, self._workers_that_fit(workers)).iter_rows():
                if row["problem"] is not None:
                    raise JobError(row["problem"])
                yield pickle.loads(row["receipt"])  # noqa: S301 - of our own workers

    def _dataset(self, sharders: Sequence[Sharder], config: WorkerConfig, workers: int) -> Any:  # noqa: ANN401 - Ray's
        ray, pool = self._ray, self._config
        context = ray.data.DataContext.get_current()
        context.enable_progress_bars = False
        context.print_on_execution_start = False
        context.target_max_block_size = 1  # every shard is a block, and every block a task
        read = ray.data.read_datasource(
            _source(sharders, is_local=pool.reads_here),
            num_cpus=_READER_CPUS,
            override_num_blocks=len(sharders),
        )
        with warnings.catch_warnings():
            # Versions from 2.64 on announce the end of max_task_retries, without a replacement.
            warnings.simplefilter("ignore", DeprecationWarning)
            return read.map_batches(
                _Actor,
                fn_constructor_args=(config,),
                batch_size=1,
                batch_format="pyarrow",
                compute=ray.data.ActorPoolStrategy(size=workers, max_tasks_in_flight_per_actor=_IN_FLIGHT),
                num_cpus=pool.cpus,
                num_gpus=pool.gpus,
                max_task_retries=_ATTEMPTS,
            )

    def _workers_that_fit(self, workers: int | None) -> int:
        """Return how many workers fit into the cluster beside one reader. Raises JobError if none does."""
        config, resources = self._config, self._ray.cluster_resources()
        cpus, gpus = resources.get("CPU", 0.0), resources.get("GPU", 0.0)
        fitting = int((cpus - _READER_CPUS) // config.cpus)
        if config.gpus:
            fitting = min(fitting, int(gpus // config.gpus))
        if fitting < 1:
            needed = f"{config.cpus + _READER_CPUS:g} CPUs and {config.gpus:g} GPUs"
            raise JobError(f"the cluster has {cpus:g} CPUs and {gpus:g} GPUs, and one worker needs {needed}")
        return min(workers or config.workers or fitting, fitting)

    def _start(self, config: PoolConfig) -> None:
        for start in range(1, _STARTS + 1):
            try:
                self._start_once(config)
            except JobError:
                if start == _STARTS:
                    raise
                self._leave()
            else:
                return

    def _start_once(self, config: PoolConfig) -> None:
        workers = config.workers or 1
        self._others = frozenset(descendants(os.getpid()))
        self._folder = tempfile.mkdtemp(prefix="cifar10net-ray-")
        with self._as_job_errors(), _quiet():
            self._ray.init(
                num_cpus=workers * config.cpus + 1,
                num_gpus=math.ceil(workers * config.gpus),
                object_store_memory=_OBJECT_STORE_BYTES,
                include_dashboard=False,
                log_to_driver=False,
                logging_level=logging.CRITICAL,
                _temp_dir=self._folder,
            )

    def _join(self, address: str) -> None:
        host, _, port = address.rpartition(":")
        try:
            if port.isdecimal():  # Ray would try for a minute
                socket.create_connection((host, int(port)), _LONGEST_CONNECT_S).close()
            with _quiet():
                self._ray.init(address=address, log_to_driver=False, logging_level=logging.CRITICAL)
        except OSError as error:
            reason = error.strerror or error
            raise JobError(f"no Ray cluster can be joined at {address}: {reason}") from error
        except Exception as error:
            raise JobError(f"no Ray cluster can be joined at {address}: {_reason(error)}") from error

    def _leave(self) -> None:
        started = frozenset(descendants(os.getpid())) - self._others
        self._ray.shutdown()
        if self._folder is not None:
            wait_or_kill(started)
            shutil.rmtree(self._folder, ignore_errors=True)
            self._folder = None

    @contextmanager
    def _as_job_errors(self) -> Iterator[None]:
        """Turn Ray's long errors into a JobError of one sentence."""
        try:
            yield
        except self._ray.exceptions.OutOfMemoryError as error:
            raise JobError(
                f"a worker was killed {_ATTEMPTS} times because its machine was short of memory: use fewer "
                "--actors, or a smaller --part-rows"
            ) from error
        except self._ray.exceptions.RayError as error:
            raise JobError(f"Ray has given up the job: {_reason(error)}") from error
        except JobError:
            raise
        except Exception as error:  # Ray raises bare Exceptions, too
            raise JobError(f"Ray cannot run the job: {_reason(error)}") from error


class _Actor:
    """A worker for Ray Data: takes and returns a table of one row."""

    def __init__(self, config: WorkerConfig) -> None:
        self._config = config
        self._worker: Worker | None = None

    def __call__(self, table: Any) -> Any:  # noqa: ANN401 - pyarrow has no types
        row = table.to_pylist()[0]
        if row["problem"] is not None:
            return _table(problem=row["problem"])
        try:
            shard = pickle.loads(row["shard"])  # noqa: S301 - of our own sharders
            if isinstance(shard, EndOfUnit):
                return _table(receipt=Receipt(shard.unit, shard.shards))
            if self._worker is None:
                self._worker = Worker(self._config)
            return _table(receipt=self._worker.classify(shard))
        except JobError as error:
            return _table(problem=str(error))


def _cut(sharder: Sharder) -> Iterator[Any]:
    try:
        for shard in sharder.shards():
            yield _table(shard=shard)
    except JobError as error:
        yield _table(problem=str(error))


def _table(*, problem: str | None = None, **values: Any) -> Any:  # noqa: ANN401 - pyarrow has no types
    """Make a table of one row: a shard or a receipt, or the error that ends the job."""
    pa, _ = import_pyarrow()
    fields: dict[str, Any] = {"problem": pa.array([problem], pa.string())}
    for name in ("shard", "receipt"):
        value = pickle.dumps(values[name]) if name in values else None
        fields[name] = pa.array([value], pa.large_binary())
    return pa.table(fields)


def _source(sharders: Sequence[Sharder], *, is_local: bool) -> Any:  # noqa: ANN401 - Ray's
    """Make a data source for Ray Data: a read task for each unit, which yields its shards."""
    from ray.data import Datasource, ReadTask  # noqa: PLC0415 - an extra
    from ray.data.block import BlockMetadata  # noqa: PLC0415

    class Units(Datasource):
        @property
        def supports_distributed_reads(self) -> bool:
            return not is_local

        def estimate_inmemory_data_size(self) -> None:
            return None

        def get_read_tasks(self, *_: object, **__: object) -> list[ReadTask]:
            nothing = BlockMetadata(num_rows=None, size_bytes=None, exec_stats=None, input_files=None)
            return [ReadTask(partial(_cut, sharder), nothing) for sharder in sharders]

    return Units()  # type: ignore[no-untyped-call]  # Datasource's


def _set_token() -> None:
    """Protect a cluster of our own, whose ports are open to the network, by a token.

    Ray reads it when it is imported. Without it Ray would write a token into the home folder.
    """
    os.environ.setdefault("RAY_AUTH_MODE", "token")
    os.environ.setdefault("RAY_AUTH_TOKEN", secrets.token_hex(32))


def _ray() -> ModuleType:
    """Import Ray, without telemetry and terminal output. Raises JobError if it is not installed."""
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    os.environ.setdefault("RAY_BACKEND_LOG_LEVEL", "fatal")
    # Else errors of workers would be printed on standard output, among the job's rows and summary.
    os.environ.setdefault("RAY_DEDUP_LOGS_SKIP_REGEX", ".*")
    try:
        import ray  # noqa: PLC0415 - an extra
        import ray.data  # noqa: PLC0415
        import ray.exceptions  # noqa: PLC0415
    except ImportError as error:
        raise JobError(
            f"--engine ray needs the extra ray ({error}): pip install 'cifar10net[ray]'"
        ) from error
    for name in ("ray", "ray.data"):
        logging.getLogger(name).setLevel(logging.CRITICAL)
    return ray


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep the output of Ray's C++ code, which goes to standard error while it starts, off the terminal."""
    before = os.dup(2)
    nowhere = os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(nowhere, 2)
        yield
    finally:
        os.dup2(before, 2)
        os.close(before)
        os.close(nowhere)


def _reason(error: BaseException) -> str:
    cause = getattr(error, "cause", None) or error
    lines = [line.strip() for line in str(cause).splitlines() if line.strip()]
    return f"{type(cause).__name__}: {lines[0][:300] if lines else ''}".rstrip(": ")
