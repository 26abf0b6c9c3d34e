"""``cifar10net-train`` as a user meets it: commands, exit codes, one-sentence errors."""

from __future__ import annotations

import hashlib
import re
import signal
import subprocess
import sys
import threading
from statistics import mean, stdev
from typing import TYPE_CHECKING

import pytest

from tests.training.command import call

if TYPE_CHECKING:
    from pathlib import Path

QUICK = ("--epochs", "2", "--batch-size", "25", "--validation-per-class", "5", "--threads", "1")
_ACCURACY = r"top-1 (\S+)% \(standard error \S+%\)  top-3 (\S+)%  loss"


def _command(*arguments: object) -> list[str]:
    """Return what runs the command line in a process of its own."""
    return [sys.executable, "-m", "training", *map(str, arguments)]


@pytest.fixture(scope="module")
def trained(synthetic: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with a finished ``run``, its exported ``repository`` and a ``cache``."""
    folder = tmp_path_factory.mktemp("trained")
    where = ("--data", synthetic, "--cache-dir", folder / "cache")
    fit = call("fit", *where, "--out", folder / "run", *QUICK)
    assert (fit.code, fit.stderr) == (0, "")
    assert re.search(r"epoch +2/2 +loss \d\.\d+ +validation loss \d\.\d+ +top-1 \d+\.\d+%", fit.stdout)
    export = call("export", *where, "--run", folder / "run", "--to", folder / "repository")
    assert (export.code, export.stderr) == (0, "")
    return folder


@pytest.mark.parametrize("file", ["run/checkpoint.pt", "repository/cifar10net/1/model.onnx"])
def test_a_student_names_the_teacher_that_it_learned_from(
    trained: Path, synthetic: Path, tmp_path: Path, file: str
) -> None:
    where = ("--data", synthetic, "--cache-dir", trained / "cache")
    teacher = trained / ("run" if file.endswith(".pt") else file)

    fit = call("fit", *where, "--out", tmp_path / "run", *QUICK, "--teacher", teacher, "--mix-share", "0.5")
    export = call("export", *where, "--run", tmp_path / "run", "--to", tmp_path / "repository")

    assert (fit.code, fit.stderr, export.code, export.stderr) == (0, "", 0, "")
    card = (tmp_path / "repository/cifar10net/README.md").read_text()
    assert "| mix_share | 0.5 |" in card
    digest = hashlib.sha256((trained / file).read_bytes()).hexdigest()
    assert f"| teacher_sha256 | {digest} |" in card


def test_without_pytorch_one_sentence_says_what_to_install() -> None:
    code = "import sys; sys.modules['torch'] = None; from training.__main__ import main; main()"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)

    assert done.returncode == 1
    assert done.stderr.startswith("error: training needs PyTorch")
    assert done.stderr.count("\n") == 1


def test_summary_prints_the_parameters_of_the_table() -> None:
    done = call("summary")

    assert done.code == 0
    for number in ("1,216", "8,020", "10,020", "3,210", "22,466", "3,920,000"):
        assert f" {number} " in done.stdout


def test_evaluate_says_the_same_of_the_run_and_of_its_export(trained: Path, synthetic: Path) -> None:
    where = ("--data", synthetic, "--cache-dir", trained / "cache")
    run = call("evaluate", *where, "--model", trained / "run")
    onnx = call("evaluate", *where, "--model", trained / "repository" / "cifar10net" / "1" / "model.onnx")

    assert run.code == onnx.code == 0
    assert "on PyTorch" in run.stdout
    assert "on ONNX Runtime" in onnx.stdout
    assert "1,000 images: test split, image folder" in run.stdout
    assert run.stdout.splitlines()[-12:] == onnx.stdout.splitlines()[-12:]  # the confusion matrix
    for model in ("run", "repository/cifar10net/1/model.onnx"):  # both know how many were held out
        validation = call("evaluate", *where, "--model", trained / model, "--split", "validation")
        assert "50 images: validation split" in validation.stdout


def test_evaluate_tells_the_mean_and_the_spread_of_several_models(
    trained: Path, synthetic: Path, root: Path
) -> None:
    models = [root / "exported_models" / name / "1" / "model.onnx" for name in ("cifar10net", "mean_pool")]
    chosen = [word for model in (*models, trained / "run") for word in ("--model", model)]

    done = call("evaluate", "--data", synthetic, "--cache-dir", trained / "cache", *chosen)

    assert (done.code, done.stderr) == (0, "")
    rates = [[float(rate) for rate in found] for found in re.findall(_ACCURACY, done.stdout)]
    assert len(rates) == 3
    assert len({top1 for top1, _ in rates}) > 1
    told = re.search(r"mean of 3 models: top-1 (\S+)% \(sd (\S+)%\)  top-3 (\S+)% \(sd (\S+)%\)", done.stdout)
    assert told is not None
    wanted = [figure(column) for column in zip(*rates, strict=True) for figure in (mean, stdev)]
    assert [float(figure) for figure in told.groups()] == pytest.approx(wanted, abs=0.011)


@pytest.mark.slow
def test_a_command_leaves_nothing_in_the_home_folder(
    trained: Path, synthetic: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """ONNX Runtime's telemetry is off: it begins with an identifier there."""
    monkeypatch.setenv("HOME", str(tmp_path))
    for name in ("CI", "ORT_DISABLE_TELEMETRY", "XDG_CACHE_HOME"):  # in CI it is off by itself
        monkeypatch.delenv(name, raising=False)
    model = trained / "repository" / "cifar10net" / "1" / "model.onnx"

    command = _command("evaluate", "--data", synthetic, "--cache-dir", trained / "cache", "--model", model)
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)

    assert (done.returncode, done.stderr) == (0, "")
    assert list(tmp_path.iterdir()) == []


def test_manifest_describes_a_file_that_has_none(trained: Path, tmp_path: Path) -> None:
    exported = trained / "repository" / "cifar10net" / "1"
    copy = tmp_path / "model.onnx"
    copy.write_bytes((exported / "model.onnx").read_bytes())

    done = call("manifest", copy)

    assert (done.code, done.stderr) == (0, "")
    assert done.stdout == f"wrote {tmp_path / 'manifest.json'}\n"
    assert (tmp_path / "manifest.json").read_text() == (exported / "manifest.json").read_text()


def test_fit_writes_events_for_tensorboard_too(trained: Path, synthetic: Path, tmp_path: Path) -> None:
    where = ("--data", synthetic, "--cache-dir", trained / "cache")

    done = call("fit", *where, "--out", tmp_path / "run", *QUICK, "--tensorboard")

    assert (done.code, done.stderr) == (0, "")
    [events] = (tmp_path / "run" / "tensorboard").iterdir()
    assert events.read_bytes().count(b"accuracy/top-1") == 2


def test_inside_looks_into_a_file_that_is_not_looked_into(trained: Path, tmp_path: Path) -> None:
    exported = trained / "repository" / "cifar10net" / "1"
    copy = tmp_path / "model.onnx"
    copy.write_bytes((exported / "model.onnx").read_bytes())

    done = call("inside", copy)

    assert (done.code, done.stderr) == (0, "")
    assert done.stdout == f"wrote {tmp_path / 'inside.onnx'}\n"
    assert (tmp_path / "inside.onnx").read_bytes() == (exported / "inside.onnx").read_bytes()


@pytest.mark.slow
def test_ctrl_c_saves_and_says_how_to_go_on(trained: Path, synthetic: Path, tmp_path: Path) -> None:
    where = ("--data", synthetic, "--cache-dir", trained / "cache")
    run = tmp_path / "run"
    with subprocess.Popen(
        _command("fit", *where, "--out", run, *QUICK[2:], "--epochs", 100_000),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        watchdog = threading.Timer(60, process.kill)
        watchdog.start()
        assert process.stdout is not None
        assert process.stderr is not None
        assert any("epoch" in line for line in process.stdout)  # it has finished one
        process.send_signal(signal.SIGINT)
        said = process.stderr.read()
        process.stdout.read()
        watchdog.cancel()

    assert process.returncode == 130
    assert re.search(
        rf"stopped and saved at epoch \d+, step \d+; continue with the same --data and: .*--resume {run}$",
        said.strip(),
    )
    assert (run / "checkpoint.pt").exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("fit",), "give one of --out (a new run) and --resume"),
        (("fit", "--resume", "{run}", "--epochs", "9"), "--epochs has no effect with --resume"),
        (("fit", "--out", "x", "--epochs", "many"), "'many' is not a valid integer"),
        (("fit", "--out", "x", "--network", "alexnet"), "'alexnet' is not"),
        (("evaluate",), "Missing option '--model'"),
        (("summary", "--network", "alexnet"), "'alexnet' is not"),
    ],
)
def test_wrong_usage_is_exit_code_2(
    trained: Path,
    synthetic: Path,
    arguments: tuple[str, ...],
    message: str,
) -> None:
    filled = [each.format(run=trained / "run") for each in arguments]
    where = () if arguments[0] == "summary" else ("--data", synthetic, "--cache-dir", trained / "cache")
    done = call(filled[0], *where, *filled[1:])

    assert done.code == 2
    assert message in done.stderr


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("fit", "--data", "{tmp}/none", "--out", "{tmp}/new"), "no data set at"),
        (("fit", "--data", "{tmp}", "--out", "{tmp}/new"), "is no form of CIFAR-10"),
        (("fit", "--data", "{data}", "--out", "{tmp}/new"), "class airplane has 30 training images"),
        (("fit", "--data", "{data}", "--out", "{run}", *QUICK), "already holds a run"),
        (("fit", "--data", "{data}", "--out", "/dev/null/run", *QUICK), "cannot write /dev/null/run"),
        (("fit", "--data", "{data}", "--resume", "{tmp}"), "no checkpoint at"),
        (("fit", "--data", "{data}", "--out", "{tmp}/new", "--threads", "0"), "threads is 0, wanted 1 to"),
        (("fit", "--data", "{tmp}/" + "x" * 300, "--out", "{tmp}/new"), "cannot read the data set"),
        (("fit", "--out", "{tmp}/new", "--epochs", "0"), "epochs is 0"),  # before any download
        (("fit", "--data", "{data}", "--out", "{tmp}/new", "--epochs", "0"), "epochs is 0, wanted 1 to"),
        (("evaluate", "--data", "{data}", "--model", "{tmp}/none.onnx"), "no model at"),
        (
            ("evaluate", "--data", "{data}", "--model", "{data}/test/cat/0001.png"),
            "is not a readable checkpoint",
        ),
        (("manifest", "{tmp}/none.onnx"), "no model at"),
        (("manifest", "{data}/test/cat/0001.png"), "is not a readable ONNX model"),
        (("inside", "{tmp}/none.onnx"), "no model at"),
        (("inside", "{data}/test/cat/0001.png"), "is not a readable ONNX model"),
        (("export", "--data", "{data}", "--run", "{tmp}"), "no checkpoint at"),
        (("export", "--data", "{data}", "--run", "{run}", "--to", "/dev/null"), "cannot write /dev/null"),
    ],
)
def test_a_failure_is_one_sentence_and_exit_code_1(
    trained: Path,
    synthetic: Path,
    tmp_path: Path,
    arguments: tuple[str, ...],
    message: str,
) -> None:
    filled = [each.format(tmp=tmp_path, data=synthetic, run=trained / "run") for each in arguments]
    where = () if arguments[0] in {"manifest", "inside"} else ("--cache-dir", trained / "cache")
    done = call(*filled, *where)

    assert done.code == 1
    assert done.stderr.startswith("error: ")
    assert done.stderr.count("\n") == 1
    assert message in done.stderr
    assert list(tmp_path.iterdir()) == []
