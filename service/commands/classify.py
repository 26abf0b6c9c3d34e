"""``cifar10net classify``: classifies pictures and whole collections, to standard output or a file."""

from __future__ import annotations

import sys
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from click.core import ParameterSource

from cifar10net.config import ClientConfig
from cifar10net.protocol import DEFAULT_TOP_K, LARGEST_TOP_K
from service.commands import classify_on_ray
from service.commands.options import access_options, deadline_option, server_option
from service.commands.presentation import (
    complete_files,
    console,
    echo_lines,
    echo_object,
    echo_summary,
    examples,
    json_option,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from service.batch.engines.engine import Engine
    from service.batch.job import Job, Target
    from service.batch.row import Row

_FAILED = 1
_INTERRUPTED = 130
_FORMATS = ("bars", "table", "csv", "jsonl", "parquet")  # service.batch.output.OutputFormat, imported later


@click.command(
    epilog=examples(
        "cifar10net classify photo.jpg",
        "cifar10net classify photo.jpg --server 127.0.0.1:50051 --top 1 --json",
        "cifar10net classify photos/ --out rows.csv --model exported_models/cifar10net",
        "cifar10net classify photos.zip/summer --labels folder --out rows.parquet",
        "cifar10net classify photos.zip/summer --labels folder --out rows.parquet --resume",
        "cifar10net classify 'photos/**/*.jpg' --format table",
        "find photos -name '*.jpg' | cifar10net classify - --format jsonl",
    )
)
@click.argument("sources", nargs=-1, required=True, shell_complete=complete_files)
@server_option
@access_options
@click.option(
    "--top", type=click.IntRange(1, LARGEST_TOP_K), default=DEFAULT_TOP_K, help="Classes per image."
)
@click.option(
    "--model",
    shell_complete=complete_files,
    help="Name of a model on the server; default: the server's default model. With a / or .onnx in it, a "
    "model file or folder to run in this process, without a server.",
)
@click.option("--model-version", help="Version of the model; default: the newest.")
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    help="File for the rows, .csv, .jsonl or .parquet, which appears when the job is done; with --engine ray "
    "a folder. Default: standard output.",
)
@click.option(
    "--format",
    "form",
    type=click.Choice(_FORMATS),
    help="Format of the rows. Default: by the suffix of --out; bars on standard output.",
)
@click.option("--resume", is_flag=True, help="Continue an interrupted job: same sources, same --out.")
@click.option("--overwrite", is_flag=True, help="Start over and replace what is at --out.")
@click.option(
    "--labels",
    metavar="folder|COLUMN",
    help="Where the true labels are: the folder of each image, or a column. Adds top-1, top-3 and the "
    "confusions at the end.",
)
@click.option(
    "--column",
    help="Column of Parquet, CSV or JSON lines with images, paths or URLs. Default: the first with a usual "
    "name, such as image or path.",
)
@click.option(
    "--threads",
    type=click.IntRange(1, 1024),
    help="Batches that a model in this process runs at the same time. Default: the number of CPUs.",
)
@classify_on_ray.cluster_options
@json_option("Print a JSON object per image, one a line, and the summary of a job as another.")
@click.option("--timing", is_flag=True, help="Print the time of each call and its parts on standard error.")
@deadline_option()
@click.pass_context
def classify(context: click.Context, /, **options: Any) -> None:  # noqa: ANN401 - click passes each option by name
    """Classify pictures or whole collections.

    SOURCES are picture files, folders (with all pictures below them), zip and tar archives and parts of them
    (photos.zip/summer), patterns in quotes ('photos/**/*.jpg'), Parquet files with images or paths, lists of
    paths or URLs (.txt, .csv, .jsonl), URLs, and - for paths or JSON lines on standard input.

    Exit code 0: all images were classified; 1: some could not be, and the rows or standard error say why; 2:
    the job could not start or finish.
    """
    options["model"], options["model_version"] = options["model"] or "", options["model_version"] or ""
    _check(context, options)
    try:
        failed = classify_on_ray.classify(options) if options["engine"] == "ray" else _classify(options)
    except KeyboardInterrupt as interruption:
        click.echo(str(interruption) or "interrupted", err=True)
        sys.exit(_INTERRUPTED)
    if failed:
        sys.exit(_FAILED)


def _check(context: click.Context, options: dict[str, Any]) -> None:
    """Refuse options that contradict each other."""
    is_local = _is_local(options["model"])
    classify_on_ray.check(context, options, is_local=is_local)
    if is_local and context.get_parameter_source("server") is ParameterSource.COMMANDLINE:
        raise click.UsageError("--model names a file or folder and --server a server: give one of the two")
    if is_local and options["timing"]:
        raise click.UsageError("--timing needs a server, and --model names a file or folder")
    if not is_local and options["threads"] is not None:
        raise click.UsageError("--threads needs --model with a file or folder")
    if options["resume"] and options["overwrite"]:
        raise click.UsageError("--resume continues a job and --overwrite starts over: give one of the two")
    if options["out"] is None and (options["resume"] or options["overwrite"]):
        raise click.UsageError("--resume and --overwrite need --out")
    if options["out"] is not None and options["form"] in {"bars", "table"}:
        raise click.UsageError(f"--format {options['form']} is for standard output, not for --out")
    if options["out"] is None and options["form"] == "parquet":
        raise click.UsageError("--format parquet needs --out: it is a binary format")
    if options["as_json"] and options["out"] is None and options["form"] is not None:
        raise click.UsageError("--json and --format both set how rows are printed: give one of the two")


def _is_local(model: str) -> bool:
    from service.batch.engines.engine import is_path  # noqa: PLC0415 - needed by this command alone

    return is_path(model)


def _classify(options: dict[str, Any]) -> bool:
    """Run the job; return whether an image failed."""
    from service.batch.job import Job  # noqa: PLC0415
    from service.batch.sources import Sources  # noqa: PLC0415

    target = _target(options)
    if target is not None and not target.check():
        click.echo(f"{target.out} exists and has no journal: the job is complete", err=True)
        return False
    sources = Sources(options["sources"], options["column"], options["labels"])
    with ExitStack() as stack:
        job = Job(sources, _engine(options, stack), options["top"])
        return _print(job, options) if target is None else _write(job, target, options)


def _target(options: dict[str, Any]) -> Target | None:
    from service.batch.job import Target  # noqa: PLC0415
    from service.batch.output import OutputFormat, format_of, import_pyarrow  # noqa: PLC0415

    out = options["out"]
    if out is None:
        return None
    output_format = format_of(out) if options["form"] is None else OutputFormat(options["form"])
    if output_format is OutputFormat.PARQUET:
        import_pyarrow()  # a missing package is found now, not at the end
    return Target(
        out=out,
        format=output_format,
        has_labels=options["labels"] is not None,
        resume=options["resume"],
        overwrite=options["overwrite"],
    )


def _engine(options: dict[str, Any], stack: ExitStack) -> Engine:
    config = ClientConfig(deadline_s=options["deadline_s"], access=options["access"])
    if _is_local(options["model"]):
        from service.batch.engines.local_engine import LocalEngine  # noqa: PLC0415
        from service.system.cpus import usable_cpus  # noqa: PLC0415

        threads = options["threads"] or usable_cpus().count
        engine = LocalEngine(options["model"], options["model_version"], threads)
        warning = engine.runner.info.warning
        if warning:
            click.echo(f"warning: {options['model']}: {warning}", err=True)
        return engine
    from cifar10net import Client  # noqa: PLC0415
    from service.batch.engines.server_engine import ServerEngine  # noqa: PLC0415
    from service.batch.terminal import timing_line  # noqa: PLC0415

    client = stack.enter_context(Client(options["server"], config))
    on_timing = (lambda parts: click.echo(timing_line(parts), err=True)) if options["timing"] else None
    return ServerEngine(
        client,
        options["model"],
        options["model_version"],
        priority="interactive" if options["out"] is None else "bulk",
        on_timing=on_timing,
    )


def _print(job: Job, options: dict[str, Any]) -> bool:
    """Print each row as it comes, errors on standard error too, and the summary where there are labels."""
    from service.batch.summary import JobSummary  # noqa: PLC0415

    has_labels = options["labels"] is not None
    model = job.engine.model() if has_labels else None
    summary = JobSummary(_evaluation(model.labels, options) if model is not None else None)
    write = _writer(options)
    for row in job.rows(() if model is None else model.labels):
        summary.add(row)
        echo_lines(write(row))
        if row.error:
            click.echo(f"{row.source}: {row.message}", err=True)
    if model is not None:
        if options["as_json"]:
            echo_object({"summary": summary.as_dict(model, None)})
        else:
            echo_lines(summary.lines(None))
    return summary.failed > 0


def _write(job: Job, target: Target, options: dict[str, Any]) -> bool:
    """Write all rows to a file, and print the summary."""
    from service.batch.job import run  # noqa: PLC0415
    from service.batch.progress import JobProgress  # noqa: PLC0415
    from service.batch.summary import JobSummary  # noqa: PLC0415

    model = job.engine.model()
    summary = JobSummary(_evaluation(model.labels, options) if target.has_labels else None)
    facts = {key: options[key] for key in ("labels", "column")} | {"sources": list(options["sources"])}
    with JobProgress(console(stderr=True), summary, job.sources.count) as progress:
        run(job, target, model, summary, facts=facts, on_row=progress.update)
    echo_summary(summary, model, str(target.out), as_json=options["as_json"])
    return summary.failed > 0


def _evaluation(labels: tuple[str, ...], options: dict[str, Any]) -> Any:  # noqa: ANN401 - imported later
    from service.batch.evaluation import Evaluation  # noqa: PLC0415

    return Evaluation(labels, options["top"])


def _writer(options: dict[str, Any]) -> Callable[[Row], Iterator[str]]:
    from service.batch import terminal  # noqa: PLC0415
    from service.batch.output import OutputFormat  # noqa: PLC0415

    if options["as_json"]:
        return terminal.json_object
    output_format = OutputFormat(options["form"] or OutputFormat.BARS)
    return terminal.writer(output_format, options["top"], has_labels=options["labels"] is not None)
