"""What the README says: its Python runs, its links lead somewhere, its commands and variables exist."""

import re
from pathlib import Path

import pytest

from helpers.__main__ import COMMANDS

ROOT = Path(__file__).resolve().parents[1]
TEXT = (ROOT / "README.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"```python\n(.*?)```", TEXT, flags=re.DOTALL)


@pytest.mark.parametrize("block", BLOCKS, ids=range(len(BLOCKS)))
def test_its_python_runs_as_it_stands(block, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    code = block.replace('"data/demo"', repr(str(ROOT / "data" / "demo")))
    exec(compile(code, "README.md", "exec"), {"__name__": "__main__"})
    assert len(code.strip().splitlines()) <= 6


def test_its_links_lead_somewhere():
    links = [link for link in re.findall(r"\]\(([^)#]+)\)", TEXT) if "://" not in link]
    assert links and [link for link in links if not (ROOT / link).exists()] == []


def test_its_commands_exist():
    said = set(re.findall(r"^grounded ([a-z-]+)", TEXT, flags=re.MULTILINE))
    assert said and said <= set(COMMANDS)


def test_its_make_targets_and_variables_exist():
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    targets = set(re.search(r"^\.PHONY: (.*)$", makefile, flags=re.MULTILINE)[1].split())
    said = set(re.findall(r"(?:^|`)make +([a-z-]+)", TEXT, flags=re.MULTILINE))
    assert said and said <= targets, said - targets
    known = set(re.search(r"^VARIABLES := (.*?)\n[^\t]", makefile, flags=re.MULTILINE | re.DOTALL)[1].split())
    used = {
        name for line in re.findall(r"make +[a-z-]+ (.*)", TEXT) for name in re.findall(r"\b([A-Z_]+)=", line)
    }
    assert used <= known | {"PYTHON"}, used - known
