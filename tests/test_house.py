"""The order of the groups in `helpers`: each imports only what stands below it, and the listing is short."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
HELPERS = ROOT / "helpers"
LAYERS = (  # from the ground up; what stands in one layer does not know the others of it
    {"files", "parameters"},
    {"scenes", "models"},
    {"runs"},
    {"scoring", "captioning"},
    {"generation"},
    {"report"},
    {"sweeps", "explore"},
    {"__main__"},
)
MODULES = sorted(HELPERS.rglob("*.py"))
LONGEST = 240  # lines of a module


def imported(path: Path) -> set[str]:
    """Every module that a file imports, those inside its functions too; `from x import y` counts as x.y."""
    names = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, f"{path}: a relative import"
            names |= {f"{node.module}.{alias.name}" for alias in node.names}
    return names


def layer(group: str) -> int:
    return next(place for place, groups in enumerate(LAYERS) if group in groups)


def group_of(path: Path) -> str:
    return path.relative_to(HELPERS).with_suffix("").parts[0]


def test_the_listing_is_what_the_order_names():
    listed = {path.stem for path in HELPERS.iterdir() if path.name not in ("__init__.py", "__pycache__")}
    assert listed == set().union(*LAYERS)
    assert len(listed) <= 12


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(HELPERS)))
def test_a_module_imports_only_what_stands_below_its_group(path):
    if path.parent == HELPERS and path.stem == "__init__":
        return
    own = group_of(path)
    for name in imported(path):
        parts = name.split(".")
        assert parts[0] not in ("data", "tests", "notebooks"), f"{path.name} imports {name}"
        if parts[0] == "helpers" and len(parts) > 1 and parts[1] != own:
            assert layer(parts[1]) < layer(own), f"{own} stands below {parts[1]}, but {path.name} imports it"


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(HELPERS)))
def test_a_module_is_short(path):
    assert len(path.read_text(encoding="utf-8").splitlines()) <= LONGEST


def test_modules_of_a_group_import_each_other_in_one_direction():
    graph = {}
    for path in MODULES:
        own = ".".join(path.relative_to(ROOT).with_suffix("").parts)
        graph[own] = {
            name if name in known else name.rpartition(".")[0]
            for known in [{".".join(one.relative_to(ROOT).with_suffix("").parts) for one in MODULES}]
            for name in imported(path)
            if name.startswith("helpers.")
        }
    done: set[str] = set()

    def visit(name: str, above: tuple[str, ...]) -> None:
        assert name not in above, f"a circle: {' -> '.join((*above, name))}"
        if name not in done:
            for other in sorted(graph.get(name, ())):
                visit(other, (*above, name))
            done.add(name)

    for name in sorted(graph):
        visit(name, ())
