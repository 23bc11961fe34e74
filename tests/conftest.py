"""Tests run in a process for each core, so that none of them may take more than its own for linear algebra."""

import os

import threadpoolctl

for _name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS"):
    # Children inherit them; benchmarks that compare threads set their own.
    os.environ.setdefault(_name, "1")
# Where NumPy was there before this file.
threadpoolctl.threadpool_limits(int(os.environ["OMP_NUM_THREADS"]))
