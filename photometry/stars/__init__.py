"""How bright the stars are: by their PSF, in apertures tied to their total, at known places of a difference; and whether
these agree.
"""
