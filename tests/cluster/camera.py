"""Telescopes that deliver: small frames by rename into the pool that all nodes share, each at its time and counted."""

import os
import shutil
import threading
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path

Expose = Callable[[str, int, Path], object]
BYTES = 3000


def noise(_telescope: str, _number: int, path: Path) -> None:
    """A frame for nodes whose program does not look at it."""
    path.write_bytes(os.urandom(BYTES))


def real_frames(shared: Path, telescopes: Iterable[str]) -> Expose:
    """Small simulated frames for nodes that measure them, with each telescope's template where it belongs.

    It is the same one again and again: only its name makes it another.
    """
    from skysim.night import expose, frame_name, plan, template
    from skysim.settings import NightSettings

    night = plan(NightSettings(frames=1, size_pixels=256))
    kept = shared.parent / "kept"
    kept.mkdir()
    template(night, kept / "template.fits")
    expose(night, 0, kept)
    for telescope in telescopes:
        (shared / "templates" / telescope).mkdir(parents=True)
        shutil.copy(kept / "template.fits", shared / "templates" / telescope)
    return lambda _telescope, _number, path: shutil.copy(kept / frame_name(0), path)


@dataclass
class Camera:
    """All telescopes of a site; `sent`: telescope -> frame's name -> when (monotonic), in order.

    Each delivers one frame every `cadence` seconds from `start` to `stop`; they take turns.  `expose` makes a frame's file.
    """

    pools: Path
    telescopes: Iterable[str]
    cadence: float
    expose: Expose = noise
    sent: dict[str, dict[str, float]] = field(default_factory=dict)
    problem: str = ""

    def __post_init__(self) -> None:
        self.telescopes = sorted(self.telescopes)
        self._enough = threading.Event()
        self._thread: threading.Thread | None = None
        self._aside = self.pools.parent / "aside"
        self._aside.mkdir(exist_ok=True)
        for telescope in self.telescopes:
            (self.pools / telescope).mkdir(parents=True, exist_ok=True)
            self.sent[telescope] = {}

    def start(self) -> None:
        """Frames come from now on."""
        self._enough.clear()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """No more frames; raises what kept the camera from delivering."""
        self._enough.set()
        if self._thread:
            self._thread.join()
            self._thread = None
        if self.problem:
            raise OSError(self.problem)

    def deliver(self, telescope: str) -> str:
        """One frame, now; -> its name."""
        number = len(self.sent[telescope])
        name = f"{telescope}-{number:05d}.fits"
        aside = self._aside / name
        self.expose(telescope, number, aside)
        self.sent[telescope][name] = time.monotonic()
        aside.rename(self.pools / telescope / name)
        return name

    def _run(self) -> None:
        names = list(self.telescopes)
        due, turn = time.monotonic(), 0
        try:
            while not self._enough.wait(max(due - time.monotonic(), 0.0)):
                self.deliver(names[turn % len(names)])
                turn += 1
                due += self.cadence / len(names)
        except OSError as error:
            self.problem = f"the camera cannot deliver: {error}"
