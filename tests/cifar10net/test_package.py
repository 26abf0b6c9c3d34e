"""Every public name can be imported, also from the former package, and costs nothing before use."""

from __future__ import annotations

import ast
import builtins
import re
import subprocess
import sys
from dataclasses import fields
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from PIL import Image

import cifar10net
from cifar10net import ClassScore, ModelDescription, ServerStatistics, VersionState
from cifar10net.pb import classifier_pb2 as pb
from cifar10net.statistics import RefusalCount, TimeSpent, VersionStatistics

if TYPE_CHECKING:
    from types import ModuleType

    import numpy as np
    from google.protobuf.message import Message

PAGES = ("README.md", "docs/clients.md")


@pytest.fixture
def former_package(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """Import ``service.client`` for the first time."""
    monkeypatch.delitem(sys.modules, "service.client", raising=False)
    with pytest.warns(DeprecationWarning, match="`from cifar10net import Client`"):
        return import_module("service.client")


def _imported(code: str, packages: set[str]) -> set[str]:
    """Find what code imports from packages."""
    return {
        name.name
        for node in ast.walk(ast.parse(code))
        if isinstance(node, ast.ImportFrom) and node.module in packages
        for name in node.names
    }


def _blocks(text: str, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", text, flags=re.DOTALL | re.MULTILINE)


def _shown(root: Path, page: str) -> set[str]:
    """Find the names that a page imports, and the class names in the text about Python."""
    text = (root / page).read_text()
    imported = set()
    for block in _blocks(text, "python"):
        imported |= _imported(block, {"cifar10net", "service.client"})
    python = re.search(r"^## Python\n(.*?)^## ", text, flags=re.DOTALL | re.MULTILINE)
    prose = re.sub(r"```.*?```", "", python[1], flags=re.DOTALL) if python else ""
    words = {
        word
        for span in re.findall(r"`([^`]+)`", prose)
        for word in re.findall(r"(?<![\w./-])[A-Z][a-z]\w+(?![\w./-])", span)
    }
    return imported | {word for word in words if not hasattr(builtins, word)}


@pytest.mark.parametrize("page", PAGES)
def test_every_name_that_a_page_shows_can_be_imported(
    root: Path, former_package: ModuleType, page: str
) -> None:
    names = _shown(root, page)

    assert "Client" in names
    for name in names:
        assert name in cifar10net.__all__
        assert getattr(cifar10net, name) is getattr(former_package, name)


def test_the_text_about_python_shows_more_than_it_imports(root: Path) -> None:
    assert {"Client", "AsyncClient", "ClientConfig", "Access", "ClientError"} <= _shown(root, PAGES[1])


def test_the_python_example_runs_as_it_stands(
    root: Path,
    server: str,
    coloured: np.ndarray,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    (example,) = _blocks((root / PAGES[1]).read_text(), "python")
    for name in ("cat.jpg", "ship.png"):
        Image.fromarray(coloured[0]).save(tmp_path / name)
    monkeypatch.chdir(tmp_path)

    exec(example.replace("127.0.0.1:50051", server), {"camera": lambda: [*coloured[:3], b"junk"]})  # noqa: S102

    pattern = r"(red [\d.]+\n){2}red\ngreen\nblue\nbegins with 6a .*\n"
    assert re.fullmatch(pattern, capsys.readouterr().out)


def test_commands_for_a_shell_are_well_formed(root: Path) -> None:
    for block in _blocks((root / PAGES[1]).read_text(), "sh"):
        subprocess.run(["bash", "-n"], input=block, text=True, check=True)


def test_the_former_package_has_the_same_objects(former_package: ModuleType) -> None:
    assert former_package.__all__ == cifar10net.__all__
    for name in cifar10net.__all__:
        assert getattr(former_package, name) is getattr(cifar10net, name)


def test_the_warning_names_the_line_that_imports_the_former_package(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "service.client", raising=False)

    with pytest.warns(DeprecationWarning, match=r"service\.client has moved") as warned:
        from service.client import Client  # noqa: PLC0415

    assert Client is cifar10net.Client
    assert [Path(each.filename) for each in warned] == [Path(__file__)]


def test_public_names_stand_alike_for_users_type_checkers_and_imports() -> None:
    tree = ast.parse(Path(cifar10net.__file__).read_text())
    checked = next(each for each in tree.body if isinstance(each, ast.If))
    for_type_checkers = {
        str(each.module): tuple(name.name for name in each.names)
        for each in checked.body
        if isinstance(each, ast.ImportFrom)
    }

    assert ast.unparse(checked.test) == "TYPE_CHECKING"
    assert for_type_checkers == {f"cifar10net.{name}": names for name, names in cifar10net._MODULES.items()}
    assert sorted(name for names in cifar10net._MODULES.values() for name in names) == cifar10net.__all__
    assert dir(cifar10net) == cifar10net.__all__


@pytest.mark.parametrize("name", cifar10net.__all__)
def test_every_public_name_is_there(name: str) -> None:
    assert getattr(cifar10net, name) is not None


def test_another_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="module 'cifar10net' has no attribute 'Clint'"):
        _ = cifar10net.Clint  # type: ignore[attr-defined]


def test_importing_the_package_loads_nothing_large() -> None:
    code = "import sys, cifar10net; print(*{'google', 'grpc', 'numpy', 'PIL'} & {*sys.modules})"

    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)

    assert (done.stdout, done.stderr) == ("\n", "")


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        (ClassScore, pb.ClassScore),
        (ModelDescription, pb.Model),
        (VersionState, pb.VersionState),
        (ServerStatistics, pb.GetStatisticsResponse),
        (VersionStatistics, pb.VersionStatistics),
        (TimeSpent, pb.TimeSpent),
        (RefusalCount, pb.RefusalCount),
    ],
)
def test_every_field_of_a_message_reaches_the_caller(kind: type[Any], message: type[Message]) -> None:
    assert {each.name for each in fields(kind)} == {each.name for each in message.DESCRIPTOR.fields}


def test_the_former_place_of_the_protobuf_modules_is_an_alias_that_warns(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    names = ("classifier_pb2", "classifier_pb2_grpc", "inference_pb2")
    for name in ("service.pb", *(f"service.pb.{each}" for each in names)):
        monkeypatch.delitem(sys.modules, name, raising=False)

    with pytest.warns(DeprecationWarning, match=r"import cifar10net\.pb"):
        import_module("service.pb")

    for name in names:
        assert import_module(f"service.pb.{name}") is import_module(f"cifar10net.pb.{name}")
