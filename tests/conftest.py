"""What all tests share: one thread a process, so that tests side by side do not slow each other."""

import os
import tempfile

os.environ.setdefault("OMP_NUM_THREADS", "1")  # before torch is imported, and for kernels that tests start
os.environ.setdefault("GROUNDED_CACHE", tempfile.mkdtemp(prefix="grounded-cache-"))  # not the user's own
os.environ.setdefault("HF_HUB_OFFLINE", "1")  # a test that wants the network is a defect
