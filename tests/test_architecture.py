"""The rules of the house: which way imports point, and who may import what."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
MODULES = sorted(path for package in ("methods", "study") for path in (ROOT / package).rglob("*.py"))

# A module of `study` may import those of its own layer and of the layers before it.
LAYERS = (
    {"seeds", "records", "command_line"},
    {"images", "splits", "data", "photo_digits", "own_images", "parquet_images", "public_sets", "sources"},
    {"files", "tables", "statistics", "checkpoints"},
    {"pretrain", "heads", "features", "evaluate", "jobs"},
    {"wording", "figures", "plots", "pages", "gallery", "search_sections", "study_page", "comparison_page", "report"},
    {"tracking_uri", "tracking_notes", "tracking_store", "tracking", "time_left", "display"},
    {"cluster", "mailbox", "trial_actor", "lanes", "search", "curve"},
    {"options", "workflow", "run"},
)

# Third-party packages that only some modules of `study` may import, and `methods` never.
KEPT_TO = {
    "ray": {"cluster", "mailbox", "trial_actor", "lanes", "search"},
    "optuna": {"search"},
    "mlflow": {"tracking_store"},
    "pyarrow": {"tables", "parquet_images"},
    "pandas": {"tables", "statistics", "report", "comparison_page", "study_page"},
    "rich": {"display"},
}


def imports(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (name.name for name in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path} has a relative import"
            assert node.module is not None
            yield node.module
            yield from (f"{node.module}.{name.name}" for name in node.names)


def test_every_module_of_the_platform_has_a_layer() -> None:
    found = {path.stem for path in (ROOT / "study").rglob("*.py")} - {"__init__"}
    assert found == set().union(*LAYERS)


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(ROOT)))
def test_imports_point_one_way(path: Path) -> None:
    names = set(imports(path))
    if "methods" in path.parts:
        assert not [name for name in names if name.split(".")[0] == "study"], "methods know nothing of the platform"
        return
    if path.stem == "__init__":
        return
    rank = next(i for i, layer in enumerate(LAYERS) if path.stem in layer)
    for name in names:
        parts = name.split(".")
        if parts[0] == "study" and len(parts) > 1:
            layer = next((i for i, names in enumerate(LAYERS) if parts[1] in names), 0)
            assert layer <= rank, f"{path.stem} imports {parts[1]}, which stands above it"


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(ROOT)))
def test_third_party_packages_stay_where_they_belong(path: Path) -> None:
    used = {name.split(".")[0] for name in imports(path)}
    for package, allowed in KEPT_TO.items():
        if package in used:
            assert "study" in path.parts and path.stem in allowed, f"{path} imports {package}"


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(ROOT)))
def test_every_file_says_what_it_is(path: Path) -> None:
    assert ast.get_docstring(ast.parse(path.read_text()))
