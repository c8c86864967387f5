"""Compiled loops over pixels: numba, one thread each, without the interpreter's lock; callers run them side by side.

Each works on one rectangle of a frame and allocates nothing of the size of a frame.  Compiled code is cached in
NUMBA_CACHE_DIR.
"""
