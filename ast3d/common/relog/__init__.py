"""A recovery log: records that are durable once `Relog.commit` has returned, in a folder of segments.

The next process is given them back, in order, each one at most once.  Whatever happens to the segments meanwhile, reading
them raises nothing and yields nothing that was not appended; an acknowledged record that is not found is reported missing.

- `frames`: one record in bytes; finding records in bytes that may be damaged
- `segment`: the head of a segment, its marks, and what one segment's bytes hold
- `recovery`: all segments of a folder, and the report of what is damaged or missing
- `relog`: the writer
- `disk`: the only I/O: one folder
"""
