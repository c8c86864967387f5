"""`ast3-skysim demo DIR`: a short night through a real ast3d, from an empty folder to a report and pictures.

It passes (exit code 0) only if every frame was processed, the supernova was found in every frame in which its true S/N is at
least 7, and no frame lists more than 2 false transients.  DIR is taken only if it is new, empty, or an earlier demo's.
"""

import shutil
import sys
import time
from pathlib import Path

from skysim.lightcurve import curve, forced
from skysim.night import Night, expose, plan, template
from skysim.node import DemoFailedError, Node, ask
from skysim.pictures import draw_pictures
from skysim.report import best_frame, collect, failures, summary, table
from skysim.settings import NightSettings
from skysim.truth import FrameTruth, write_truth

TELESCOPE = "ast3-1"
MARK = ".ast3-demo"
LIMIT_SECONDS = 600.0
POLL_SECONDS = 1.0


def run_demo(settings: NightSettings, folder: Path) -> int:
    """The demo; returns the exit code.  ValueError: DIR cannot be taken."""
    began = time.monotonic()
    folder = folder.absolute()
    take_folder(folder)
    try:
        frames = _night_through_ast3d(settings, folder)
    except DemoFailedError as error:
        print(f"ast3-skysim demo: {error}", file=sys.stderr)
        return 1
    return _report(folder, frames, began)


def take_folder(folder: Path) -> None:
    """Make `folder` an empty demo folder; ValueError if it is somebody else's, or an ast3d still runs in it."""
    if folder.exists() and not folder.is_dir():
        raise ValueError(f"{folder} is not a folder; name a new one")
    if (folder / MARK).exists():
        if (status := ask(folder, "status")) is not None:
            raise ValueError(f"an ast3d runs in {folder} (pid {status['pid']}): stop it first, or name another folder")
        shutil.rmtree(folder)
    elif folder.exists() and any(folder.iterdir()):
        raise ValueError(f"{folder} is not empty and no earlier demo's; name a new folder")
    folder.mkdir(parents=True, exist_ok=True)
    (folder / MARK).write_text("made by ast3-skysim demo, which will replace this folder\n")


def configuration() -> Path:
    """conf/demo.yaml, of the checkout or installed."""
    places = [Path(__file__).parent.parent / "conf", Path(sys.prefix) / "share" / "ast3" / "conf"]
    found = [place / "demo.yaml" for place in places if (place / "demo.yaml").is_file()]
    if not found:
        raise DemoFailedError(f"demo.yaml is in none of {', '.join(map(str, places))}; install the suite again")
    return found[0]


def _night_through_ast3d(settings: NightSettings, folder: Path) -> list[FrameTruth]:
    progress = Progress(settings.frames)
    etc, pool, templates = folder / "etc", folder / "incoming" / TELESCOPE, folder / "templates" / TELESCOPE
    for place in (etc, pool, templates):
        place.mkdir(parents=True)
    shutil.copyfile(configuration(), etc / "ast3d.yaml")
    night = plan(settings)
    template(night, templates / "template.fits")
    with Node(folder) as node:
        print(f"ast3d is ready below {folder}")
        frames = _expose_all(night, pool, node, progress)
        write_truth(frames, settings, folder)
        _wait(node, progress)
        progress.end()
    return frames


def _expose_all(night: Night, pool: Path, node: Node, progress: "Progress") -> list[FrameTruth]:
    frames = []
    for i in range(night.settings.frames):
        frames.append(expose(night, i, pool))
        node.must_live()
        progress.show(len(frames), None)
    return frames


def _wait(node: Node, progress: "Progress") -> None:
    deadline = time.monotonic() + LIMIT_SECONDS
    while True:
        status = node.status() or {"tasks": {}, "state": "silent", "reasons": ["no answer"]}
        tasks = status["tasks"]
        progress.show(progress.frames, tasks)
        if tasks.get("done", 0) + tasks.get("discarded", 0) >= progress.frames:
            return
        if time.monotonic() > deadline:
            why = "; ".join([status["state"], *status["reasons"]])
            raise DemoFailedError(f"not all frames are done after {LIMIT_SECONDS:g} s ({why}); see {node.root / 'log'}")
        time.sleep(POLL_SECONDS)


def _report(folder: Path, frames: list[FrameTruth], began: float) -> int:
    results = collect(folder / "products", frames)
    print("\n" + table(results))
    print("\n" + summary(results))
    if (best := best_frame(results)) is not None:
        light_curve = curve(results, forced(results, best))
        for picture in draw_pictures(folder, best, light_curve):
            print(f"picture: {picture}")
    wrong = failures(results)
    for line in wrong:
        print(f"FAILED {line}")
    if any(result.folder is None for result in results):
        print(f"`ast3ctl --root {folder} why FRAME` says what became of a frame")
    print(f"{'FAILED' if wrong else 'passed'} in {time.monotonic() - began:.0f} s")
    return 1 if wrong else 0


class Progress:
    """One line that is written over on a terminal; elsewhere a line each time something changed."""

    def __init__(self, frames: int) -> None:
        self.frames = frames
        self._began = time.monotonic()
        self._last = ""
        self._over = sys.stdout.isatty()

    def show(self, exposed: int, tasks: dict[str, int] | None) -> None:
        """`tasks`: what ast3d says, or None where it was not asked."""
        words = f"exposed {exposed}/{self.frames}"
        if tasks:
            words += "".join(f"  {name} {tasks[name]}" for name in ("ready", "running", "done", "discarded"))
        if words != self._last or self._over:
            line = f"{words}  {time.monotonic() - self._began:5.0f} s"
            print(f"\r{line}   " if self._over else line, end="" if self._over else "\n", flush=True)
        self._last = words

    def end(self) -> None:
        """Leave the line as it is."""
        if self._over:
            print()
