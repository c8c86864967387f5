"""The porter: the helper process that moves frames out of the pool, and back.

A frame is moved by link and unlink, never over another.  Before it moves, its id is made anew from its bytes: if another
file has taken its name, that stays where it is.  Each order can be given twice; what was done already is found done.
"""

import contextlib
import json
import re
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from ast3d.common import clock
from ast3d.common.files import escape, move_by_link, one_line, remove, sync_dir, unescape, write_durable
from ast3d.entry import SIDECAR, identify, published
from ast3d.frameid import suffix
from ast3d.link import HelperEnd, Message
from ast3d.task import Entry, Place

WHY = "why.json"
ALIVE_SECONDS = 5.0
SAFE = re.compile(r"[A-Za-z0-9_.+-]+")  # what a frame-id is made of


class Porter:
    """Serves one ast3d until it is gone."""

    def __init__(self, link: HelperEnd) -> None:
        self.link = link
        self.folders: dict[str, Path] = {}
        self.told_at = 0.0
        self.orders: dict[str, Callable[[dict[str, Any]], Message | None]] = {
            "archive": self.archive,
            "quarantine": self.quarantine,
            "restore": self.restore,
            "sweep": self.sweep,
            "tidy": self.tidy,
        }

    def run(self) -> None:
        """Until ast3d is gone: EOFError."""
        while True:
            for message in self.link.receive():
                self.serve(message)

    def serve(self, message: Message) -> None:
        """Do one order and answer it."""
        verb, asked = next(iter(message.items()))
        if verb == "folders":
            self.folders = {name: Path(path) for name, path in asked.items()}
        elif verb == "ping":
            self.link.send({"pong": asked})
        elif (answer := self.orders[verb](asked)) is not None:
            self.link.send(answer)

    def archive(self, asked: dict[str, Any]) -> Message:
        """Into archive/TELESCOPE/NIGHT/FRAME-ID.EXT."""
        return self.filed(asked, *self.file(asked, self.folders["archive"] / asked["telescope"] / asked["night"]))

    def quarantine(self, asked: dict[str, Any]) -> Message:
        """Into quarantine/TELESCOPE/FRAME-ID/, with why.json and what each attempt said; unless its products stand."""
        task = asked["task"]
        if night := published(self.folders["products"] / asked["telescope"], task):
            return self.filed(asked, "published", night)
        folder = self.folders["quarantine"] / asked["telescope"] / task
        why = asked["why"] | {"name": escape(asked["name"]), "telescope": asked["telescope"], "discarded": clock.stamp()}
        try:
            folder.mkdir(parents=True, exist_ok=True)
            for path in self.attempts(task):
                if path.suffix == ".out":
                    shutil.copyfile(path, folder / path.name)
            write_durable(folder / WHY, json.dumps(why, indent=1).encode())
        except OSError as error:
            return self.filed(asked, "failed", one_line(error))
        outcome, detail = self.file(asked, folder)
        if outcome in ("changed", "vanished"):
            clear(folder)
        return self.filed(asked, outcome, detail)

    def filed(self, asked: dict[str, Any], outcome: str, detail: str) -> Message:
        """The answer; what the attempts left is of no use any more, unless the order comes again."""
        if outcome not in ("failed", "published"):
            for path in (*self.attempts(asked["task"]), self.folders["state"] / "attempts" / f"{asked['task']}.lock"):
                remove(path)
        return {"filed": {"task": asked["task"], "outcome": outcome, "detail": detail}}

    def file(self, asked: dict[str, Any], folder: Path) -> tuple[str, str]:
        """-> (outcome, detail): see `ast3d.inputs.FrameFiled`."""
        task, name = asked["task"], asked["name"]
        source = self.folders["incoming"] / asked["telescope"] / name
        target = folder / (task + suffix(name))
        try:
            about = source.lstat()
        except FileNotFoundError:
            return ("filed", str(target)) if target.exists() else ("vanished", f"{escape(name)} is not in the pool any more")
        except OSError as error:
            return "failed", one_line(error)
        entry = Entry(Place(asked["telescope"], name), about.st_size, about.st_mtime_ns)
        if identify(source, entry) != task:
            return "changed", f"another file is called {escape(name)} now"
        try:
            folder.mkdir(parents=True, exist_ok=True)
            target = move_beside(source, target, self.alive)
        except OSError as error:
            return "failed", f"{one_line(error)}, moving it to {escape(str(folder))}"
        remove(source.parent / (name + SIDECAR))
        return "filed", str(target)

    def alive(self) -> None:
        """During long work: this is not stuck."""
        if (now := clock.boottime()) - self.told_at > ALIVE_SECONDS:
            self.told_at = now
            self.link.send({"pong": 1})

    def restore(self, asked: dict[str, Any]) -> Message:
        """From quarantine back into the pool, under the name that the frame had."""
        task, answer = asked["task"], {"task": asked["task"], "request": asked["request"]}
        if not SAFE.fullmatch(task):
            return {"restored": answer | {"problem": "that is no frame-id"}}
        found = sorted(self.folders["quarantine"].glob(f"*/{task}/{WHY}"))
        if not found:
            return {"restored": answer | {"problem": f"no task {task}, neither at work nor in quarantine"}}
        try:
            why = json.loads(found[0].read_bytes())
            name = unescape(why["name"])
            pool, folder = self.folders["incoming"] / why["telescope"], found[0].parent
            move_by_link(folder / (task + suffix(name)), pool / name)
            clear(folder)
        except FileExistsError:
            return {"restored": answer | {"problem": f"the pool holds another {escape(name)}; move that first"}}
        except (OSError, ValueError, KeyError) as error:
            return {"restored": answer | {"problem": f"{task}: {one_line(error)}"}}
        return {"restored": answer | {"problem": ""}}

    def sweep(self, asked: dict[str, Any]) -> None:
        """Remove what an attempt left half-written."""
        remove(self.folders["products"] / ".tmp" / f"{asked['task']}.{asked['attempt']}")

    def tidy(self, asked: dict[str, Any]) -> Message:
        """At start: remove what attempts left that nobody runs any more."""
        keep = set(asked["keep"])
        for folder in (self.folders["products"] / ".tmp").glob("*"):
            if folder.name not in keep:
                remove(folder)
        for path in (self.folders["state"] / "attempts").glob("*"):
            held = path.suffix == ".lock" and any(name.startswith(path.stem + ".") for name in keep)
            if path.stem not in keep and not held:
                remove(path)
        return {"tidied": True}

    def attempts(self, task: str) -> list[Path]:
        """The files of a task's attempts: TASK.N.out, .json, .stage."""
        return [path for path in sorted((self.folders["state"] / "attempts").glob(f"{task}.*.*")) if is_attempt(path, task)]


def is_attempt(path: Path, task: str) -> bool:
    """Whether a file is TASK.N.SUFFIX and not that of a task with a longer name."""
    return path.stem.removeprefix(task + ".").isdecimal()


def clear(folder: Path) -> None:
    """Remove a quarantine folder that holds no frame any more; with a frame in it, nothing is removed."""
    task = folder.name
    own = [path for path in folder.iterdir() if path.name == WHY or (path.suffix == ".out" and is_attempt(path, task))]
    if len(own) < len(list(folder.iterdir())):
        return
    for path in own:
        remove(path)
    with contextlib.suppress(OSError):
        folder.rmdir()
        sync_dir(folder.parent)


def move_beside(source: Path, target: Path, progress: Callable[[], None]) -> Path:
    """Move to `target`, or beside it where other bytes lie under that name; -> where."""
    candidates = [target, *(target.with_name(f"{target.name}.{n}") for n in range(2, 100))]
    for candidate in candidates:
        try:
            move_by_link(source, candidate, progress)
        except FileExistsError:
            continue
        return candidate
    raise FileExistsError(f"{target}: a hundred frames of this name")


def main() -> None:
    """The socket to ast3d is the descriptor that the first argument names."""
    try:
        Porter(HelperEnd(int(sys.argv[1]))).run()
    except EOFError:
        return


if __name__ == "__main__":
    main()
