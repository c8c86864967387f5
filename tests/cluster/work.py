"""What a node runs on each frame: it tells of its beginning and its end, and makes a product.

    python -I -S work.py LEDGER SECONDS NODE TELESCOPE FRAME OUT

A line of the ledger: BEGIN|END NODE TELESCOPE NAME SECONDS, the time by the one clock that all nodes of a cluster have in
common here (CLOCK_MONOTONIC; boottime and wall clock are each node's own).  A line is one write, so none is torn.
"""

import os
import sys
import time


def main() -> None:
    ledger, seconds, node, telescope, frame, out = sys.argv[1:]
    fd = os.open(ledger, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)

    def tell(what: str) -> None:
        now = time.clock_gettime(time.CLOCK_MONOTONIC)
        os.write(fd, f"{what} {node} {telescope} {os.path.basename(frame)} {now:.3f}\n".encode())  # noqa: PTH119

    tell("BEGIN")
    with open(frame, "rb") as raw:  # noqa: PTH123
        seen = raw.read()  # first, as photometry does: another node may publish the frame meanwhile, and file it
    time.sleep(float(seconds))
    with open(os.path.join(out, "copy"), "wb") as copy:  # noqa: PTH118, PTH123
        copy.write(seen)
    tell("END")


if __name__ == "__main__":
    main()
