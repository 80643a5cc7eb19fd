"""What is used of Jupyter's packages, imported in half of the time."""

import sys

# jsonschema builds a grammar of addresses where this is installed: a second, for what no notebook has
_absent = "rfc3987_syntax" not in sys.modules
if _absent:
    sys.modules["rfc3987_syntax"] = None

import nbformat
import papermill
from jupyter_client.manager import AsyncKernelManager
from nbclient.exceptions import DeadKernelError
from papermill.clientwrap import PapermillNotebookClient
from papermill.engines import Engine, NotebookExecutionManager, papermill_engines
from papermill.exceptions import PapermillExecutionError

if _absent:
    del sys.modules["rfc3987_syntax"]

__all__ = [
    "AsyncKernelManager",
    "DeadKernelError",
    "Engine",
    "NotebookExecutionManager",
    "PapermillExecutionError",
    "PapermillNotebookClient",
    "nbformat",
    "papermill",
    "papermill_engines",
]
