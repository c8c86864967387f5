"""The porter: the helper process that moves frames out of the pool, and back.

A frame is moved by link and unlink, never over another.  Before it moves, its id is made anew from its bytes: if another
file has taken its name, that stays where it is.  Each order can be given twice; what was done already is found done.
What an earlier porter left in the middle of a move is put right when this one is told the folders.
"""

import contextlib
import fcntl
import json
import os
import re
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from ast3d import bundle
from ast3d.common import clock
from ast3d.common.files import escape, move_by_link, one_line, put_back, remove, sync_dir, sync_up, unescape, write_durable
from ast3d.common.link import HelperEnd, Message
from ast3d.common.parent import die_with_parent
from ast3d.entry import SIDECAR, identify, published
from ast3d.frameid import suffix
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
            "reconsider": self.reconsider,
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
            for pool in self.folders["incoming"].glob("*"):
                put_back(pool)
        elif verb == "ping":
            self.link.send({"pong": asked})
        elif (answer := self.orders[verb](asked)) is not None:
            self.link.send(answer)

    def archive(self, asked: dict[str, Any]) -> Message:
        """Into archive/TELESCOPE/NIGHT/FRAME-ID.EXT."""
        return self.filed(asked, *self.file(asked, "archive", asked["night"]))

    def quarantine(self, asked: dict[str, Any]) -> Message:
        """Into quarantine/TELESCOPE/FRAME-ID/, with why.json and what is needed to try again; unless its products stand."""
        task = asked["task"]
        if night := published(self.folders["products"] / asked["telescope"], task):
            return self.filed(asked, "published", night)
        folder = self.folders["quarantine"] / asked["telescope"] / task
        why = asked["why"] | {"name": escape(asked["name"]), "telescope": asked["telescope"], "discarded": clock.stamp()}
        try:
            folder.mkdir(parents=True, exist_ok=True)
            self.bundle(asked, folder)
            write_durable(folder / WHY, json.dumps(why, indent=1).encode())
        except OSError as error:
            return self.filed(asked, "failed", one_line(error))
        outcome, detail = self.file(asked, "quarantine", task)
        if outcome in ("changed", "vanished"):
            clear(folder)
        return self.filed(asked, outcome, detail)

    def bundle(self, asked: dict[str, Any], folder: Path) -> None:
        """Into the folder: what each attempt said, and what the last one was given."""
        last: Path | None = None
        for path in self.attempts(asked["task"]):
            if path.suffix == ".out":
                shutil.copyfile(path, folder / path.name)
            elif path.suffix == bundle.SUFFIX and (last is None or number(path) > number(last)):
                last = path
        source = self.folders["incoming"] / asked["telescope"] / asked["name"]
        if last and (order := bundle.completed(last, source, self.alive)):
            write_durable(folder / bundle.NAME, order)

    def filed(self, asked: dict[str, Any], outcome: str, detail: str) -> Message:
        """The answer; what the attempts left is of no use any more, unless the order comes again."""
        if outcome not in ("failed", "published"):
            for path in self.attempts(asked["task"]):
                remove(path)
            lock = self.folders["state"] / "attempts" / f"{asked['task']}.lock"
            if not is_held(lock):
                remove(lock)
        return {"filed": {"task": asked["task"], "outcome": outcome, "detail": detail}}

    def file(self, asked: dict[str, Any], top: str, below: str) -> tuple[str, str]:
        """-> (outcome, detail): see `ast3d.inputs.FrameFiled`."""
        task, name = asked["task"], asked["name"]
        folder = self.folders[top] / asked["telescope"] / below
        source = self.folders["incoming"] / asked["telescope"] / name
        target = folder / (task + suffix(name))
        try:
            folder.mkdir(parents=True, exist_ok=True)
            sync_up(folder, self.folders[top])
            if not os.path.lexists(source):
                if not target.exists():
                    return "vanished", f"{escape(name)} is not in the pool any more"
                sync_dir(source.parent)  # who moved it may have been killed before that
                return "filed", str(target)
            about = source.lstat()
            entry = Entry(Place(asked["telescope"], name), about.st_size, about.st_mtime_ns)
            if identify(source, entry) != task:
                return "changed", f"another file is called {escape(name)} now"
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
        task, problem = asked["task"], "that is no frame-id"
        if SAFE.fullmatch(task):
            found = sorted(self.folders["quarantine"].glob(f"*/{task}/{WHY}"))
            problem = self.bring_back(found[0]) if found else f"no task {task}, neither at work nor in quarantine"
        return {"restored": {"task": task, "request": asked["request"], "problem": problem}}

    def bring_back(self, path: Path) -> str:
        """-> what is wrong, or an empty string; `path` is the frame's why.json."""
        folder, task = path.parent, path.parent.name
        try:
            why = told(path)
            name, pool = unescape(why["name"]), self.folders["incoming"] / why["telescope"]
            put_back(folder)
            if not self.was_brought_back(folder, Place(why["telescope"], name)):
                move_by_link(folder / (task + suffix(name)), pool / name, self.alive)
            clear(folder)
        except FileExistsError:
            return f"the pool holds another {escape(name)}; move that first"
        except (OSError, ValueError) as error:
            return f"{task}: {one_line(error)}"
        return ""

    def was_brought_back(self, folder: Path, place: Place) -> bool:
        """Whether an earlier order has moved the very frame already, and was cut short before it cleared the folder."""
        here, there = folder / (folder.name + suffix(place.name)), self.folders["incoming"] / place.telescope / place.name
        if os.path.lexists(here) or not os.path.lexists(there):
            return False
        return identify(there, Entry(place, there.lstat().st_size, 0)) == folder.name

    def reconsider(self, asked: dict[str, Any]) -> None:
        """Back into the pool with every frame that was tried by other code, or under another configuration, than today's."""
        but = set(asked["but"])
        for path in sorted(self.folders["quarantine"].glob(f"*/*/{WHY}")):
            self.alive()
            if path.parent.name not in but and tried_otherwise(path, asked["fingerprint"]):
                answer = {"task": path.parent.name, "request": 0, "problem": self.bring_back(path)}
                self.link.send({"restored": answer})

    def sweep(self, asked: dict[str, Any]) -> None:
        """Remove what an attempt left half-written; not while a worker is at the frame, for it may be that one's."""
        if not is_held(self.folders["state"] / "attempts" / f"{asked['task']}.lock"):
            remove(self.folders["products"] / ".tmp" / f"{asked['task']}.{asked['attempt']}")

    def tidy(self, asked: dict[str, Any]) -> Message:
        """At start: remove what attempts left that nobody runs any more, known to ast3d (`keep`) or not."""
        keep, folder = set(asked["keep"]), self.folders["state"] / "attempts"
        held = {lock.stem for lock in folder.glob("*.lock") if is_held(lock)}
        for path in (self.folders["products"] / ".tmp").glob("*"):
            if path.name not in keep and path.name.rpartition(".")[0] not in held:
                remove(path)
        for path in folder.glob("*"):
            task = path.stem if path.suffix == ".lock" else path.stem.rpartition(".")[0]
            if path.stem not in keep and task not in held:
                remove(path)
        return {"tidied": True}

    def attempts(self, task: str) -> list[Path]:
        """The files of a task's attempts: TASK.N.out, .json, .stage, .order."""
        return [path for path in sorted((self.folders["state"] / "attempts").glob(f"{task}.*.*")) if is_attempt(path, task)]


def is_held(lock: Path) -> bool:
    """Whether a worker is at this frame: without the file that it has locked, another would not find out."""
    try:
        fd = os.open(lock, os.O_RDWR | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(fd)
    return False


def is_attempt(path: Path, task: str) -> bool:
    """Whether a file is TASK.N.SUFFIX and not that of a task with a longer name."""
    return path.stem.removeprefix(task + ".").isdecimal()


def number(path: Path) -> int:
    """The attempt that a file of an attempt belongs to."""
    return int(path.stem.rpartition(".")[2])


def told(path: Path) -> dict[str, Any]:
    """A why.json that says where its frame came from; OSError or ValueError, either of which names the file."""
    try:
        why = json.loads(path.read_bytes())
        names = [unescape(why["name"]), why["telescope"]]
        whole = not any(name in {"", ".", ".."} or {"/", "\0"} & set(name) for name in names)
    except (ValueError, RecursionError, LookupError, TypeError, AttributeError):
        whole = False
    if not whole:
        raise ValueError(f"{escape(str(path))} is damaged; move the frame that lies beside it into its pool by hand")
    return dict(why)


def tried_otherwise(path: Path, fingerprint: str) -> bool:
    """Whether a why.json tells of attempts at a whole frame under another fingerprint."""
    try:
        why = told(path)
        return bool(why["attempts"]) and not why["incomplete"] and why.get("fingerprint") != fingerprint
    except (OSError, ValueError, KeyError):
        return False


def clear(folder: Path) -> None:
    """Remove a quarantine folder that holds no frame any more; with a frame in it, nothing is removed."""
    task = folder.name
    own = [
        path
        for path in folder.iterdir()
        if path.name in (WHY, bundle.NAME) or (path.suffix == ".out" and is_attempt(path, task))
    ]
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
    """The socket to ast3d, and its pid: what outlived it would work beside its successor."""
    die_with_parent(int(sys.argv[2]))
    try:
        Porter(HelperEnd(int(sys.argv[1]))).run()
    except EOFError:
        return


if __name__ == "__main__":
    main()
