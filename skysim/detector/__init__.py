"""What a CCD of several amplifiers does to light: its fixed patterns, its charge, its read-out.

The steps, in the order of nature: `pattern` (flat field, dark), `charge` (smear, photon noise, cosmic rays, bleeding),
`readout` (gain, non-linearity, crosstalk, bias, read noise, digitisation).  Arrays of light are (ny, nx) float32 electrons
on the trimmed chip; only the read-out knows of raw frames.
"""
