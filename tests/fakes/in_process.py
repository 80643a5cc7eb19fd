"""Notebooks without kernels: their cells run in this process, which has the models' libraries already.

For what a study leaves in its files; that every notebook runs in a kernel of its own, test_notebooks shows.
"""

import base64
from collections.abc import Mapping
from pathlib import Path
from types import ModuleType

import nbformat
from IPython.core.interactiveshell import InteractiveShell
from IPython.utils.capture import capture_output
from nbformat.v4 import new_output
from papermill.iorw import load_notebook_node
from papermill.parameterize import parameterize_notebook
from traitlets.config import Config

from helpers.sweeps.notebooks import NotebookError, check_parameters

QUIET = Config({"HistoryManager": {"enabled": False}, "InteractiveShell": {"colors": "nocolor"}})


def execute(
    path: Path, output: Path, parameters: Mapping[str, object], *rest: object
) -> nbformat.NotebookNode:
    """The notebook, executed to its end, in the place of `sweeps.notebooks.execute` and with its errors; of a
    notebook that fails there is no copy."""
    check_parameters(path, parameters)
    book = parameterize_notebook(load_notebook_node(str(path)), dict(parameters))
    shell = InteractiveShell.instance(config=QUIET, user_module=ModuleType("notebook"))
    try:
        for count, cell in enumerate((one for one in book.cells if one.cell_type == "code"), 1):
            with shell.display_trap, capture_output() as shown:
                done = shell.run_cell(cell.source)
            streams = {"stdout": shown.stdout, "stderr": shown.stderr}
            cell.outputs = [
                new_output("stream", name=name, text=text) for name, text in streams.items() if text
            ]
            cell.outputs += [new_output("display_data", _as_json(one.data)) for one in shown.outputs]
            if error := done.error_before_exec or done.error_in_exec:
                reason = f"cell {count}: {type(error).__name__}: {error}"
                raise NotebookError(reason, "not kept") from error
    finally:
        InteractiveShell.clear_instance()
    return book


def _as_json(bundle: Mapping[str, object]) -> dict[str, object]:
    return {
        kind: base64.b64encode(data).decode() if isinstance(data, bytes) else data
        for kind, data in bundle.items()
    }
