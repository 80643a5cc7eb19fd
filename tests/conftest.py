"""What all tests share: one thread per process, and which of them run in the same process."""

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

LONGEST = (
    "survival",
    "notebooks",
    "explore_live",
    "measure",
    "extractor",
    "rehearsal",
)  # modules, without their test_
APART = "test_survival"  # whose slow tests share little with each other


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """A module's tests run in one process, which makes its fixtures once; the longest modules come first, so
    that no processor is idle at the end."""
    order = {f"test_{name}": place for place, name in enumerate(LONGEST)}
    items.sort(key=lambda item: order.get(item.path.stem, len(order)))
    for item in items:
        is_apart = item.path.stem == APART and item.get_closest_marker("slow")
        module = f"{item.path.parent.name}/{item.path.stem}"
        item.add_marker(pytest.mark.xdist_group(item.name if is_apart else module))
