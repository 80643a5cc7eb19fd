"""What all tests share: one thread per process, as they run side by side, and their order."""

import os
import sys
import tempfile

import pytest

os.environ.setdefault("OMP_NUM_THREADS", "1")  # before torch is imported, and for kernels that tests start
os.environ.setdefault("HF_HUB_OFFLINE", "1")  # a test that wants the network is a defect
sys.modules.setdefault("rfc3987_syntax", None)  # jsonschema takes a second for it, no notebook needs it

if "GROUNDED_CACHE" not in os.environ:  # tests leave nothing in the user's own cache
    CACHE = tempfile.TemporaryDirectory(prefix="grounded-cache-")
    os.environ["GROUNDED_CACHE"] = CACHE.name

LONGEST = ("survival", "notebooks", "explore_live", "train", "claims", "generate", "parity")  # modules
LONGEST += ("extractor", "layout_study", "measure", "captioner")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The longest modules come first, so that no processor is idle at the end."""
    order = {f"test_{name}": place for place, name in enumerate(LONGEST)}
    items.sort(key=lambda item: order.get(item.path.stem, len(order)))
