"""What holds the project together: one set of versions, notebooks by their rules, a small Makefile."""

import ast
import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import nbformat
import papermill
import pytest
import yaml
from packaging.requirements import Requirement

from helpers.sweeps.plan import REPORT

ROOT = Path(__file__).resolve().parents[1]
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))
LONGEST_CELL = 12
every_notebook = pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)


def code(path):
    return [cell for cell in nbformat.read(path, as_version=4).cells if cell.cell_type == "code"]


@pytest.fixture(scope="module")
def project():
    return tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]


@pytest.fixture(scope="module")
def lock():
    lines = [Requirement(line) for line in (ROOT / "requirements.lock").read_text().splitlines()]
    return {line.name: line for line in lines if line.marker is None or line.marker.evaluate()}


def test_the_lock_has_one_exact_version_of_everything_and_no_address(lock):
    text = (ROOT / "requirements.lock").read_text()
    assert not re.search(r"://|@|--|\\", text)
    assert all(re.fullmatch(r"==[\w.!+]+", str(one.specifier)) for one in lock.values())


def test_the_lock_satisfies_the_project_and_its_tests(project, lock):
    extras = project["optional-dependencies"]
    for wanted in map(Requirement, project["dependencies"] + extras["dev"] + extras["cluster"]):
        version = str(lock[wanted.name].specifier).removeprefix("==")
        assert wanted.specifier.contains(version), f"{wanted} but {version}; run uv pip compile"


def test_the_environment_for_conda_cannot_drift(project):
    environment = yaml.safe_load((ROOT / "environment.yml").read_text())
    python, pip, packages = environment["dependencies"]
    assert pip == "pip" and packages == {"pip": ["-r requirements.lock", "-e ."]}
    assert Requirement(f"python{project['requires-python']}").specifier.contains(python.split("=")[1])


def test_every_folder_with_code_is_a_package_and_is_shipped():
    setuptools = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]
    assert setuptools["packages"]["find"]["include"] == ["helpers*"]
    folders = {path.parent for path in (ROOT / "helpers").rglob("*.py")}
    assert all((folder / "__init__.py").is_file() for folder in folders)


def test_a_target_of_the_makefile_has_three_lines_at_most():
    recipes = re.findall(
        r"^([\w./$() -]+):.*\n((?:\t.*\n)*)", (ROOT / "Makefile").read_text(), flags=re.MULTILINE
    )
    targets = {target: recipe.count("\n") for target, recipe in recipes}
    wanted = {
        "help",
        "report",
        "sweep",
        "dry-run",
        "status",
        "tune",
        "dataset",
        "study-detector",
        "fetch",
        "doctor",
        "check-data",
        "lab",
        "test",
        "check",
        "bench",
        "demo-models",
        "demo-quality",
        "clean",
    }
    assert wanted <= targets.keys() and max(targets.values()) <= 3


def test_make_alone_lists_its_targets_in_a_sentence_each():
    alone = {name: value for name, value in os.environ.items() if name not in ("MAKEFLAGS", "MAKELEVEL")}
    shown = subprocess.run(["make"], cwd=ROOT, env=alone, capture_output=True, text=True, check=True).stdout
    text = (ROOT / "Makefile").read_text(encoding="utf-8")
    targets = next(line for line in text.splitlines() if line.startswith(".PHONY")).split()[1:]
    assert [line.split(":")[0] for line in shown.splitlines()] == [f"make {target}" for target in targets]
    assert all(len(line.split(":", 1)[1].split()) > 2 for line in shown.splitlines())


def test_what_is_read_and_written_as_text_names_its_encoding():
    bare = re.compile(r"\.(?:read_text|open)\(\)|\.write_text\((?!.*encoding)|text=True(?!.*encoding)")
    for path in (ROOT / "helpers" / "sweeps").rglob("*.py"):
        assert not bare.findall(path.read_text(encoding="utf-8")), path


@every_notebook
def test_a_notebook_is_valid_stripped_and_has_stable_names(path):
    book = nbformat.read(path, as_version=4)
    nbformat.validate(book)
    names = [cell.id for cell in book.cells]
    assert len(names) == len(set(names)) and all(name.startswith(path.stem.split("_")[0]) for name in names)
    assert all(not cell.outputs and cell.execution_count is None for cell in code(path))
    assert set(book.metadata) == {"kernelspec", "language_info", "title"}


@every_notebook
def test_a_notebook_says_what_it_is_for_in_its_first_words(path):
    first = nbformat.read(path, as_version=4).cells[0]
    if path.stem != REPORT:  # whose title is generated, with what the run is about
        assert re.fullmatch(r"# .+\n\n.+\.", first.source) and first.cell_type == "markdown"


@every_notebook
def test_parameters_are_tagged_typed_literals_with_a_comment(path):
    tagged = [cell for cell in code(path) if "parameters" in cell.metadata.get("tags", [])]
    assert tagged == code(path)[:1]
    for line in tagged[0].source.splitlines():
        assert re.fullmatch(r"\w+: (str|int|float|bool|list|dict) = .+  # .+", line), line
    for statement in ast.parse(tagged[0].source).body:
        assert type(ast.literal_eval(statement.value)).__name__ == statement.annotation.id


@every_notebook
def test_papermill_documents_every_parameter(path):
    for name, facts in papermill.inspect_notebook(str(path)).items():
        assert facts["help"] and facts["inferred_type_name"] != "None", name


@every_notebook
def test_every_parameter_is_used(path):
    first, *rest = code(path)
    names = {
        node.id for cell in rest for node in ast.walk(ast.parse(cell.source)) if isinstance(node, ast.Name)
    }
    assert {statement.target.id for statement in ast.parse(first.source).body} <= names


@every_notebook
def test_cells_are_short_and_hold_no_functions(path):
    for cell in code(path):
        assert len(cell.source.splitlines()) <= LONGEST_CELL, cell.source
        kinds = {type(node) for node in ast.walk(ast.parse(cell.source))}
        assert not kinds & {ast.FunctionDef, ast.ClassDef, ast.Lambda, ast.Try, ast.While}


def test_the_report_notebook_holds_names_and_no_logic():
    logic = (
        ast.For,
        ast.If,
        ast.IfExp,
        ast.ListComp,
        ast.DictComp,
        ast.SetComp,
        ast.GeneratorExp,
        ast.BoolOp,
    )
    for cell in code(ROOT / "notebooks" / f"{REPORT}.ipynb"):
        assert not [node for node in ast.walk(ast.parse(cell.source)) if isinstance(node, logic)], cell.source


@every_notebook
def test_a_notebook_ends_with_its_limits_and_the_way_on(path):
    book = nbformat.read(path, as_version=4)
    assert any(cell.cell_type == "markdown" and cell.source.startswith("## Limits") for cell in book.cells)
    if path.stem != "explore":
        onward = re.fullmatch(r"run\.finish\((?:\"(\w+)\")?\)", book.cells[-1].source)
        later = [one.stem for one in NOTEBOOKS if path.stem < one.stem <= REPORT]  # of the study
        assert (onward[1] or "") == (later[0] if later else "")


@pytest.mark.parametrize(
    "path",
    [*NOTEBOOKS, *sorted((ROOT / "helpers" / "report" / "template").rglob("*.*"))],
    ids=lambda path: path.name,
)
def test_notebooks_and_templates_name_no_address(path):
    assert not re.findall(r"https?://", path.read_text())


def test_a_run_of_nbstripout_would_change_nothing():
    keys = "metadata.papermill cell.metadata.papermill metadata.language_info.version"
    options = ["--keep-id", "--extra-keys", keys, "--drop-tagged-cells", "injected-parameters"]
    command = [sys.executable, "-m", "nbstripout", "--verify", *options, *map(str, NOTEBOOKS)]
    found = subprocess.run(command, capture_output=True, text=True)
    assert found.returncode == 0, found.stdout


def whole_tree(path):
    return ast.parse("\n".join(cell.source for cell in code(path)))


def imported_pairs(path):
    """(module, name) -> name in the notebook, of what it imports from the package."""
    imports = [node for node in ast.walk(whole_tree(path)) if isinstance(node, ast.ImportFrom)]
    pairs = {(node.module, name.name): name.asname or name.name for node in imports for name in node.names}
    return {pair: name for pair, name in pairs.items() if pair[0].startswith("helpers")}


def imported_names(path):
    """(module, name) of each name that a notebook imports or reads from a module that it imports."""
    tree, pairs = whole_tree(path), imported_pairs(path)
    modules = {name: ".".join(pair) for pair, name in pairs.items() if is_module(".".join(pair))}
    read = {
        (modules[node.value.id], node.attr)
        for node in ast.walk(tree)
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id in modules
    }
    return read | {pair for pair, name in pairs.items() if name not in modules}


def is_module(name):
    return (ROOT / name.replace(".", "/")).with_suffix(".py").is_file()


def test_notebooks_import_few_names():
    """Those of the study and the bench together; 07 to 10 are studies of their own, of few names."""
    names = {path.stem: imported_names(path) for path in NOTEBOOKS}
    own = {stem: found for stem, found in names.items() if stem[:2] in ("07", "08", "09", "10")}
    study = set.union(*(found for stem, found in names.items() if stem not in own))
    assert len(study) <= 50, sorted(study)
    assert all(len(found - study) <= 8 for found in own.values())


@every_notebook
def test_no_variable_of_a_notebook_has_the_name_of_a_module(path):
    tree = whole_tree(path)
    stored = {
        node.id for node in ast.walk(tree) if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store)
    }
    names = {pair[1] for path in NOTEBOOKS for pair in imported_pairs(path) if is_module(".".join(pair))}
    assert not stored & names


def test_who_only_reads_a_run_waits_for_no_model():
    modules = ", ".join(f"helpers.report.{name}" for name in ("answers", "charts", "gallery", "tables"))
    modules += ", helpers.scenes.boxes"
    modules += ", helpers.scoring.verdicts, helpers.sweeps.plan, helpers.sweeps.commands, helpers.__main__"
    script = f"import sys, {modules}; print('torch' in sys.modules)"
    found = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "False"
