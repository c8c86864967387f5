"""An ast3d that does nothing but shake hands: python fake_peer.py RUN [PERIOD].

SIGUSR1: its loop spins; SIGUSR2: it waits for ever; SIGHUP: it speaks on, but its progress stands still.
"""

import fcntl
import os
import selectors
import signal
import sys
import threading
from pathlib import Path

from ast3d.common.clock import boottime
from protectd.message import Settings
from protectd.watch import Watch

run, period = Path(sys.argv[1]), float(sys.argv[2])
asked = []
for number in (signal.SIGUSR1, signal.SIGUSR2, signal.SIGHUP):
    signal.signal(number, lambda n, _frame: asked.append(n))
lock = os.open(run / "ast3d.begin", os.O_RDWR | os.O_CREAT)
try:
    fcntl.lockf(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
except OSError:
    sys.exit(1)
with (run / "fake.begun").open("a") as begun:
    begun.write(f"{os.getpid()} {boottime()}\n")
if (run / "fake.crash").exists():
    sys.exit(3)
selector = selectors.DefaultSelector()
watch = Watch(run, "ast3d", "protectd", selector, lambda *_: None, None, generation=os.getpid())
if (run / "fake.meek").exists():  # it kills nobody
    watch._kill = lambda *_: None
progress = 0
while not (run / "fake.end").exists():
    selector.select(max(watch.next_due(boottime()) - boottime(), 0))
    while signal.SIGUSR1 in asked:
        pass
    if signal.SIGUSR2 in asked:
        threading.Lock().acquire() and threading.Event().wait()
    progress += signal.SIGHUP not in asked
    watch.turn(boottime(), progress, "ready", Settings(True, period, 3))
