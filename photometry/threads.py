"""The threads that a subtraction works with."""

import os
from concurrent.futures import ThreadPoolExecutor


def start_threads() -> ThreadPoolExecutor:
    """As many as NUMBA_NUM_THREADS says, for ast3d's workers share a node; else one for each core that may be used."""
    said = os.environ.get("NUMBA_NUM_THREADS", "")
    return ThreadPoolExecutor(int(said) if said.isdecimal() and int(said) else len(os.sched_getaffinity(0)))
