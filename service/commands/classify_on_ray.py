"""``cifar10net classify --engine ray``: the same job on a Ray cluster, written as a folder of parts."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeVar

import click
from click.core import ParameterSource

from service.commands.presentation import console, echo_summary
from service.runtime.providers import ON_DEVICE, PROVIDERS, ProviderConfig

if TYPE_CHECKING:
    from collections.abc import Callable

    from service.batch.engines.engine import ModelIdentity

_Command = TypeVar("_Command", bound="Callable[..., Any]")
_ENGINES = ("local", "server", "ray")
_OPTIONS = (
    click.option(
        "--engine",
        type=click.Choice(_ENGINES),
        help="Where the model runs: in this process, on a server, or in workers of a Ray cluster. Default: "
        "local if --model names a file or folder, else server.",
    ),
    click.option(
        "--ray-address",
        metavar="HOST:PORT",
        help="Ray cluster to join, or auto. Default: start one on this machine for the job.",
    ),
    click.option(
        "--actors",
        type=click.IntRange(1, 100_000),
        help="Workers of a Ray cluster, each with a model of its own. Default: what CPUs or GPUs allow.",
    ),
    click.option(
        "--part-rows",
        type=click.IntRange(1, 1 << 20),
        default=4_096,
        help="Most rows of a part, which is what a worker does at a time.",
    ),
    click.option(
        "--inputs",
        type=click.Choice(["shared", "here"]),
        default="shared",
        help="Whether every machine of a Ray cluster can read the sources, or this one reads them for all.",
    ),
    click.option(
        "--provider",
        type=click.Choice(list(PROVIDERS)),
        default=ProviderConfig.name,
        help="ONNX Runtime execution provider of the workers of a Ray cluster.",
    ),
    click.option(
        "--gpus-per-actor",
        type=click.FloatRange(0, 64),
        help="GPUs, or a fraction of one, per worker. Default: 1 with --provider cuda or tensorrt, else 0.",
    ),
)
_OF_RAY = ("ray_address", "actors", "part_rows", "inputs", "provider", "gpus_per_actor")


def cluster_options(command: _Command) -> _Command:
    """Add ``--engine`` and the options of a Ray cluster."""
    for option in reversed(_OPTIONS):
        option(command)
    return command


def check(context: click.Context, options: dict[str, Any], *, is_local: bool) -> None:
    """Raise UsageError for options that contradict ``--engine`` or do not work on a cluster."""
    engine = options["engine"]
    if engine != "ray":
        for name in _OF_RAY:
            if context.get_parameter_source(name) is ParameterSource.COMMANDLINE:
                raise click.UsageError(f"--{name.replace('_', '-')} is for --engine ray")
        if engine is not None and is_local != (engine == "local"):
            wanted = "wants --model with a file or folder" if engine == "local" else "wants a model's name"
            raise click.UsageError(f"--engine {engine} {wanted}")
        return
    if not is_local:
        raise click.UsageError("--engine ray wants --model with a file or folder that all machines can read")
    if options["out"] is None:
        raise click.UsageError("--engine ray wants --out, a folder for the parts that all machines can write")
    if options["form"] not in {None, "parquet"}:
        raise click.UsageError(f"--engine ray writes Parquet, and --format asks for {options['form']}")
    if "-" in options["sources"]:
        raise click.UsageError(
            "--engine ray does not read standard input: write it to a file, a .txt or .jsonl"
        )
    if (options["ray_address"] or "").startswith("ray://"):
        raise click.UsageError("--ray-address wants HOST:PORT: run the command on a machine of the cluster")


def classify(options: dict[str, Any]) -> bool:
    """Run the job; return whether an image failed."""
    from service.batch.engines.local_engine import LocalEngine  # noqa: PLC0415
    from service.batch.output import import_pyarrow  # noqa: PLC0415
    from service.batch.ray.output_folder import FolderTarget  # noqa: PLC0415
    from service.batch.ray.pool import Pool  # noqa: PLC0415

    target = FolderTarget(out=options["out"], resume=options["resume"], overwrite=options["overwrite"])
    if not target.check():
        click.echo(f"{target.out} exists and has no journal: the job is complete", err=True)
        return False
    import_pyarrow()
    pool = Pool(_pool_config(options))
    # Loaded on the CPU: the machine that plans the job need not have a GPU.
    model = LocalEngine(options["model"], options["model_version"], threads=1).model()
    return _run(options, target, pool, model)


def _run(options: dict[str, Any], target: Any, pool: Any, model: ModelIdentity) -> bool:  # noqa: ANN401 - imported later
    from service.batch.evaluation import Evaluation  # noqa: PLC0415
    from service.batch.progress import JobProgress  # noqa: PLC0415
    from service.batch.ray.ray_job import RayJob, run  # noqa: PLC0415
    from service.batch.sources import Sources  # noqa: PLC0415
    from service.batch.summary import JobSummary  # noqa: PLC0415

    job = RayJob(
        sources=Sources(options["sources"], options["column"], options["labels"]),
        column=options["column"],
        labels=options["labels"],
        model=options["model"],
        model_version=options["model_version"],
        provider=options["provider"],
        threads=options["threads"] or 1,
        top_k=options["top"],
        part_rows=options["part_rows"],
        ships_bytes=options["inputs"] == "here",
    )
    summary = JobSummary(None if options["labels"] is None else Evaluation(model.labels, options["top"]))
    facts = {key: options[key] for key in ("labels", "column")} | {"sources": list(options["sources"])}
    with pool, JobProgress(console(stderr=True), summary, job.sources.count) as progress:
        run(job, target, model, pool, summary, facts=facts, on_part=progress.update)
    echo_summary(summary, model, str(target.out), as_json=options["as_json"])
    return summary.failed > 0


def _pool_config(options: dict[str, Any]) -> Any:  # noqa: ANN401 - imported later
    from service.batch.ray.pool import PoolConfig  # noqa: PLC0415
    from service.system.cpus import usable_cpus  # noqa: PLC0415

    gpus, cpus, workers = options["gpus_per_actor"], options["threads"] or 1, options["actors"]
    if gpus is None:
        gpus = 1.0 if options["provider"] in ON_DEVICE else 0.0
    if workers is None and options["ray_address"] is None:
        workers = max(1, usable_cpus().count // cpus)
    return PoolConfig(
        address=options["ray_address"],
        workers=workers,
        cpus=cpus,
        gpus=gpus,
        reads_here=options["inputs"] == "here",
    )
