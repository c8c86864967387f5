"""One frame in, products out; knows nothing of daemons.

A frame passes through stages, each a pure function on arrays plus a frozen settings object; `photometry.pipeline` lists
them in order.  Positions are 0-based with the pixel centre at integers; arrays are indexed [y, x].
"""
