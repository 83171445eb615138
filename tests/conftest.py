"""Its folder goes on the import path, so that tests can share `naive` and `mutate`."""

import os

if "PYTEST_XDIST_WORKER" in os.environ:  # workers share the cores; torch reads this when it is imported
    os.environ.setdefault("OMP_NUM_THREADS", "1")
