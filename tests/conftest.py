"""What all tests share: one thread a process, so that tests side by side do not slow each other."""

import os
import tempfile

os.environ.setdefault("OMP_NUM_THREADS", "1")  # before torch is imported, and for kernels that tests start
os.environ.setdefault("HF_HUB_OFFLINE", "1")  # a test that wants the network is a defect

if "GROUNDED_CACHE" not in os.environ:  # tests leave nothing in the user's own cache
    CACHE = tempfile.TemporaryDirectory(prefix="grounded-cache-")
    os.environ["GROUNDED_CACHE"] = CACHE.name
