"""The rules of the house: which way imports point, and who may import what."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
MODULES = sorted(path for package in ("methods", "study") for path in (ROOT / package).rglob("*.py"))

# A module of `study` may import those of its own room and of the rooms before it. A room is a package, or a module that
# stands in `study` itself.
ROOMS = (
    {"seeds", "records", "documents", "command_line"},
    {"data"},
    {"storage"},
    {"learning"},
    {"analysis"},
    {"reporting"},
    {"tracking", "terminal"},
    {"cluster"},
    {"checks", "environment", "keeping", "options", "report", "reuse", "warm_start", "workflow", "run"},
)

# Third-party packages that only some modules of `study` may import, and `methods` never.
KEPT_TO = {
    "ray": {f"cluster.{name}" for name in ("runtime", "messages", "post_office", "trainable", "worker", "lanes")}
    | {f"cluster.{name}" for name in ("alone", "proposals", "search", "images", "group", "trainer", "tuner")},
    "optuna": {"cluster.search", "cluster.proposals", "cluster.tpe", "analysis.importance", "tracking.trial_storage"},
    "sqlalchemy": {"tracking.uri", "tracking.databases", "tracking.trial_storage"},
    "mlflow": {"tracking.store"},
    "pyarrow": {"storage.tables", "storage.remote", "data.parquet_images"},
    "pandas": {
        *("storage.tables", "analysis.statistics", "analysis.savings", "analysis.contests", "analysis.optimism"),
        *("reporting.compared", "reporting.comparison_table", "reporting.study_page", "reporting.labels_section"),
    },
    "rich": {"terminal.display"},
}


def module(path: Path) -> str:
    """Its name below `study`: `data.splits`, `run`."""
    return ".".join(path.relative_to(ROOT / "study").with_suffix("").parts)


def imports(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (name.name for name in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path} has a relative import"
            assert node.module is not None
            yield node.module
            yield from (f"{node.module}.{name.name}" for name in node.names)


def test_every_room_of_the_platform_has_its_place() -> None:
    found = {path.relative_to(ROOT / "study").parts[0] for path in (ROOT / "study").rglob("*.py")}
    assert {name.removesuffix(".py") for name in found} - {"__init__"} == set().union(*ROOMS)


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(ROOT)))
def test_imports_point_one_way(path: Path) -> None:
    names = set(imports(path))
    if "methods" in path.relative_to(ROOT).parts:
        assert not [name for name in names if name.split(".")[0] == "study"], "methods know nothing of the platform"
        return
    if path.stem == "__init__":
        assert not names, "a room's own file says what the room is for, and nothing else"
        return
    ranks = {room: rank for rank, rooms in enumerate(ROOMS) for room in rooms}
    rank = ranks[module(path).split(".")[0]]
    for name in names:
        parts = name.split(".")
        if parts[0] == "study" and len(parts) > 1:
            assert ranks.get(parts[1], 0) <= rank, f"{module(path)} imports {parts[1]}, which stands above it"


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(ROOT)))
def test_third_party_packages_stay_where_they_belong(path: Path) -> None:
    used = {name.split(".")[0] for name in imports(path)}
    for package, allowed in KEPT_TO.items():
        if package in used:
            assert path.is_relative_to(ROOT / "study") and module(path) in allowed, f"{path} imports {package}"


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(ROOT)))
def test_every_file_says_what_it_is(path: Path) -> None:
    assert ast.get_docstring(ast.parse(path.read_text()))


def test_a_command_imports_nothing_that_few_commands_need() -> None:
    """Each of these takes a second or two, and every lane and every --help would pay it."""
    script = "import sys, study.run, study.cluster.worker; print(*sys.modules)"
    asked = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, cwd=ROOT)
    assert not {"torchvision", "sklearn", "mlflow", "scipy.stats", "matplotlib.pyplot"} & set(asked.stdout.split())
