"""A simulated telescope: frames with known truth, for commissioning, demonstrations and tests.

What is there (`skysim.sky`), when it is exposed (`skysim.schedule`) and how it is recorded (`skysim.optics`,
`skysim.camera`) are kept apart; `skysim.night` brings them together.  Everything follows from a seed: the same call gives
the same bytes.  `skysim.demo` shows a night to a real ast3d, which it knows, like photometry, only as a command.
Positions are 0-based with the pixel centre at integers; arrays are indexed [y, x].
"""
