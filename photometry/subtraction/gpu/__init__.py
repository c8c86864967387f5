"""The second pass over the frames on a GPU where there is one: CUDA C through PyCUDA; see `bands`.

PyCUDA is looked for when a difference is made and not before: importing this costs nothing and touches no device.
"""
