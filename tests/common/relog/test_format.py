"""Every later version must read what this one has written.

golden.relog is a segment of three records, the second of a payload in which the magic of a record stands; written once with
`python tests/common/relog/test_format.py`, and never again.
"""

from dataclasses import astuple
from pathlib import Path

from ast3d.common.relog.segment import read_segment

GOLDEN = Path(__file__).with_name("golden.relog")
BOOT = "c0ffee00-0000-4000-8000-000000000001"
RECORDS = [
    (1, "Began", 1, 12.5, BOOT, b'{"now":12.5,"boot_id":"c0ffee00-0000-4000-8000-000000000001"}'),
    (2, "Sixteen.letters.", 65535, -0.25, BOOT, b"\x9eREC" * 20 + bytes(range(256))),
    (3, "Stopped", 2, 1e300, BOOT, b"{}"),
]


def test_the_golden_segment():
    segment = read_segment("0000000001.relog", GOLDEN.read_bytes())
    assert list(map(astuple, segment.entries)) == RECORDS
    assert (segment.damaged, segment.torn, segment.sure) == ((), None, True)
    head = segment.head
    assert (head.number, head.size, head.first, head.before, head.written) == (1, 8192, 1, 0, 3)
    assert head.uuid == bytes(range(16))


def _write() -> None:
    import os
    import tempfile

    from ast3d.common.relog.disk import OsDisk
    from ast3d.common.relog.relog import Relog

    os.urandom = lambda count: bytes(range(count))
    with tempfile.TemporaryDirectory() as folder:
        log = Relog(OsDisk(Path(folder)), BOOT, 8192)
        log.recover()
        for _, kind, version, boottime, _, payload in RECORDS:
            log.append(kind, version, payload, boottime)
            log.commit()
        log.close()
        GOLDEN.write_bytes((Path(folder) / "0000000001.relog").read_bytes())


if __name__ == "__main__":
    _write()
