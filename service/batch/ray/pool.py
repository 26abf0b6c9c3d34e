"""Ray, and the one module that knows it: a cluster, joined or started, and a job that streams through it.

In: cutters and a duty. Out: receipts, in whatever order they come. Cutters run as read tasks, workers as
actors; what dies is started again, and what it was doing is done again. A JobError travels as a value: Ray
would wrap it in its own.
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

from service.batch.output import parquet
from service.batch.ray.child_processes import await_end, descendants
from service.batch.ray.parts import Receipt
from service.batch.ray.shards import End
from service.batch.ray.worker import Duty, Worker
from service.errors import JobError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from types import ModuleType

    from service.batch.ray.shards import Cutter

_ATTEMPTS = 5
"""At a share whose worker dies under it; a picture that kills its worker must not do so for ever."""
_READER_CPUS = 0.25
_IN_FLIGHT = 2
"""Shares a worker: the one that it does, and the next."""
_OBJECT_STORE_BYTES = 512 << 20
_LONGEST_CONNECT_S = 10.0
_STARTS = 3
"""On a busy machine Ray does not start at times: https://github.com/ray-project/ray/issues/65983."""


@dataclass(frozen=True, kw_only=True)
class PoolConfig:
    """Which cluster, and what of it."""

    address: str | None = None
    """HOST:PORT of a cluster, or ``auto``; None starts one on this machine."""
    workers: int | None = None
    """Actors, each with a model of its own; None: as many as there are CPUs, or GPUs, for."""
    cpus: int = 1
    """Of a worker."""
    gpus: float = 0.0
    """Of a worker."""
    reads_here: bool = False
    """Whether inputs are read on this machine alone."""


class Pool:
    """A cluster; a context manager, which leaves it, or ends it if it was started here."""

    def __init__(self, config: PoolConfig) -> None:
        """Import Ray. Raises JobError: it is not installed."""
        self._config = config
        if config.address is None:
            _set_token()
        self._ray = _ray()
        self._folder: str | None = None
        self._others: frozenset[int] = frozenset()
        """Processes below this one that Ray has not started."""

    def __enter__(self) -> Self:
        """Join or start. Raises JobError: nobody is there, or it does not start."""
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
        """HOST:PORT, for others who join."""
        return str(self._ray.get_runtime_context().gcs_address)

    @property
    def folder(self) -> str | None:
        """Where Ray keeps its logs and sockets, if it was started here; removed at the end."""
        return self._folder

    def receipts(
        self, cutters: Sequence[Cutter], duty: Duty, workers: int | None = None
    ) -> Iterator[Receipt]:
        """Do a job, and yield a receipt for each share and each unit's end.

        Args:
            cutters: one for each unit that is not done.
            duty: the same for all workers.
            workers: how many; None: as configured.

        Raises:
            JobError: it cannot go on; the sentence says why.
        """
        if not cutters:
            return
        with self._told():
            for row in self._dataset(cutters, duty, self._fitting(workers)).iter_rows():
                if row["problem"] is not None:
                    raise JobError(row["problem"])
                yield pickle.loads(row["receipt"])  # noqa: S301 - of our own workers

    def _dataset(self, cutters: Sequence[Cutter], duty: Duty, workers: int) -> Any:  # noqa: ANN401 - Ray's
        ray, config = self._ray, self._config
        context = ray.data.DataContext.get_current()
        context.enable_progress_bars = False
        context.print_on_execution_start = False
        context.target_max_block_size = 1  # every share is a block, and every block a task
        read = ray.data.read_datasource(
            _source(cutters, is_local=config.reads_here),
            num_cpus=_READER_CPUS,
            override_num_blocks=len(cutters),
        )
        with warnings.catch_warnings():
            # Versions from 2.64 on will not take max_task_retries, and say nothing of what will.
            warnings.simplefilter("ignore", DeprecationWarning)
            return read.map_batches(
                _Actor,
                fn_constructor_args=(duty,),
                batch_size=1,
                batch_format="pyarrow",
                compute=ray.data.ActorPoolStrategy(size=workers, max_tasks_in_flight_per_actor=_IN_FLIGHT),
                num_cpus=config.cpus,
                num_gpus=config.gpus,
                max_task_retries=_ATTEMPTS,
            )

    def _fitting(self, workers: int | None) -> int:
        """Say how many workers there is room for, beside one reader. Raises JobError if for none."""
        config, there = self._config, self._ray.cluster_resources()
        cpus, gpus = there.get("CPU", 0.0), there.get("GPU", 0.0)
        room = int((cpus - _READER_CPUS) // config.cpus)
        if config.gpus:
            room = min(room, int(gpus // config.gpus))
        if room < 1:
            wanted = f"{config.cpus + _READER_CPUS:g} CPUs and {config.gpus:g} GPUs"
            raise JobError(f"the cluster has {cpus:g} CPUs and {gpus:g} GPUs, and one worker wants {wanted}")
        return min(workers or config.workers or room, room)

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
        with self._told(), _quiet():
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
            await_end(started)
            shutil.rmtree(self._folder, ignore_errors=True)
            self._folder = None

    @contextmanager
    def _told(self) -> Iterator[None]:
        """Make one sentence of what Ray says at length."""
        try:
            yield
        except self._ray.exceptions.OutOfMemoryError as error:
            raise JobError(
                f"a worker was ended {_ATTEMPTS} times because its machine was short of memory: use fewer "
                "--actors, or a smaller --part-rows"
            ) from error
        except self._ray.exceptions.RayError as error:
            raise JobError(f"Ray gives the job up: {_reason(error)}") from error
        except JobError:
            raise
        except Exception as error:  # Ray raises that very class, too
            raise JobError(f"Ray cannot run the job: {_reason(error)}") from error


class _Actor:
    """A worker as Ray Data knows it: a table of one row in, another one out."""

    def __init__(self, duty: Duty) -> None:
        self._duty = duty
        self._worker: Worker | None = None

    def __call__(self, table: Any) -> Any:  # noqa: ANN401 - pyarrow has no types
        row = table.to_pylist()[0]
        if row["problem"] is not None:
            return _table(problem=row["problem"])
        try:
            share = pickle.loads(row["share"])  # noqa: S301 - of our own cutters
            if isinstance(share, End):
                return _table(receipt=Receipt(share.unit, share.shares))
            if self._worker is None:
                self._worker = Worker(self._duty)
            return _table(receipt=self._worker.do(share))
        except JobError as error:
            return _table(problem=str(error))


def _cut(cutter: Cutter) -> Iterator[Any]:
    try:
        for share in cutter.shares():
            yield _table(share=share)
    except JobError as error:
        yield _table(problem=str(error))


def _table(*, problem: str | None = None, **values: Any) -> Any:  # noqa: ANN401 - pyarrow has no types
    """Make a row of what is sent, and what would end the job."""
    pa, _ = parquet()
    fields: dict[str, Any] = {"problem": pa.array([problem], pa.string())}
    for name in ("share", "receipt"):
        value = pickle.dumps(values[name]) if name in values else None
        fields[name] = pa.array([value], pa.large_binary())
    return pa.table(fields)


def _source(cutters: Sequence[Cutter], *, is_local: bool) -> Any:  # noqa: ANN401 - Ray's
    """Make what Ray Data reads: a task a unit, which yields its shares as they are cut."""
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
            return [ReadTask(partial(_cut, cutter), nothing) for cutter in cutters]

    return Units()  # type: ignore[no-untyped-call]  # Datasource's


def _set_token() -> None:
    """Let nobody else into a cluster of ours; Ray reads this when it is imported.

    Its ports are open to the network. Without a token of ours it would write one into the home folder.
    """
    os.environ.setdefault("RAY_AUTH_MODE", "token")
    os.environ.setdefault("RAY_AUTH_TOKEN", secrets.token_hex(32))


def _ray() -> ModuleType:
    """Import Ray with nothing to say to its makers or on the terminal. Raises JobError."""
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    os.environ.setdefault("RAY_BACKEND_LOG_LEVEL", "fatal")
    # What workers die of would be printed on standard output, among the job's rows and summary.
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
    """Keep what Ray's C++ part says while it starts, as which level its log has, from the terminal."""
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
