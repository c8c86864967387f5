"""Simulated clusters: agents that are ast3's own, and a store, a network, ast3d and cameras that are not.

`python -m tests.ha.simulation --histories N` runs N histories and prints what was seen; `--seed S` runs one, with its story.
"""
