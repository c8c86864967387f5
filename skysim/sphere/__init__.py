"""The sky as a sphere: its stars, how they come to the detector's plane, and the catalog that a site has of them.

Right ascension and declination are ICRS, degrees.
"""
