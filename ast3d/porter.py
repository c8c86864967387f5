"""The porter: the helper process that moves frames out of the pool, and back.

A frame is moved by link and unlink, never over another.  Before it moves, its id is made anew from its bytes: if another
file has taken its name, that stays where it is.  Each order can be given twice; what was done already is found done, also
where the porter of another node has done it, or does it at this very time.  What an earlier porter left in the middle of a
move is put right when this one is told the folders.
"""

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
from ast3d.common.unfinished import is_of_attempt, work_folder
from ast3d.entry import SIDECAR, identify, published
from ast3d.frameid import suffix
from ast3d.quarantine import WHY, clear, is_attempt, told, tried_otherwise
from ast3d.task import Entry, Place

ALIVE_SECONDS = 5.0
MEETINGS = 5  # with other nodes' porters at one frame
SAFE = re.compile(r"[A-Za-z0-9_.+-]+")  # what a frame-id is made of


class Porter:
    """Serves one ast3d until it is gone."""

    def __init__(self, link: HelperEnd) -> None:
        self.link = link
        self.folders: dict[str, Path] = {}
        self.node: str | None = None  # None: there is only this one
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
            self.node = message.get("node")
            for pool in self.folders["incoming"].glob("*"):
                put_back(pool)
        elif verb == "ping":
            self.link.send({"pong": asked})
        elif (answer := self.orders[verb](asked)) is not None:
            self.link.send(answer)

    def archive(self, asked: dict[str, Any]) -> Message:
        """Into archive/TELESCOPE/NIGHT/FRAME-ID.EXT; out of the quarantine, where another node has given the frame up."""
        outcome, detail = self.file(asked, "archive", asked["night"])
        if outcome == "vanished" and self.node:
            folder = self.folders["quarantine"] / asked["telescope"] / asked["task"]
            outcome, detail = self.file(asked, "archive", asked["night"], folder / (asked["task"] + suffix(asked["name"])))
            if outcome == "filed" and folder.is_dir():
                clear(folder)
        return self.filed(asked, outcome, detail)

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
        if outcome == "vanished" and (night := published(self.folders["products"] / asked["telescope"], task)):
            outcome, detail = "published", night  # just now, by another node
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

    def file(self, asked: dict[str, Any], top: str, below: str, source: Path | None = None) -> tuple[str, str]:
        """-> (outcome, detail): see `ast3d.inputs.FrameFiled`.  `source`: if it is not in the pool."""
        folder = self.folders[top] / asked["telescope"] / below
        source = source or self.folders["incoming"] / asked["telescope"] / asked["name"]
        for _ in range(MEETINGS):
            try:
                folder.mkdir(parents=True, exist_ok=True)
                sync_up(folder, self.folders[top])
                outcome, detail = self.move(asked, source, folder)
            except OSError as error:
                outcome, detail = "failed", f"{one_line(error)}, moving it to {escape(str(folder))}"
            if outcome in ("filed", "vanished") or self.node is None or os.path.lexists(source):
                break  # or else another node is moving it too: it is looked what has become of it
        if outcome == "filed":
            remove(source.parent / (asked["name"] + SIDECAR))
        return outcome, detail

    def move(self, asked: dict[str, Any], source: Path, folder: Path) -> tuple[str, str]:
        """As `file`, once; raises OSError."""
        task, name = asked["task"], asked["name"]
        target = folder / (task + suffix(name))
        if not os.path.lexists(source):
            if not target.exists():
                return "vanished", f"{escape(name)} is not in the pool any more"
            sync_dir(source.parent)  # who moved it may have been killed before that
            return "filed", str(target)
        about = source.lstat()
        entry = Entry(Place(asked["telescope"], name), about.st_size, about.st_mtime_ns)
        if identify(source, entry) != task:
            return "changed", f"another file is called {escape(name)} now"
        return "filed", str(move_beside(source, target, self.alive))

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
        but, telescopes = set(asked["but"]), asked.get("telescopes")
        for path in sorted(self.folders["quarantine"].glob(f"*/*/{WHY}")):
            self.alive()
            telescope = path.parent.parent.name
            if telescopes is not None and telescope not in telescopes:
                continue  # another node's, or nobody's
            fingerprint = (telescopes or {}).get(telescope, asked["fingerprint"])
            if path.parent.name not in but and tried_otherwise(path, fingerprint):
                answer = {"task": path.parent.name, "request": 0, "problem": self.bring_back(path)}
                self.link.send({"restored": answer})

    def sweep(self, asked: dict[str, Any]) -> None:
        """Remove what an attempt left half-written; not while a worker is at the frame, for it may be that one's."""
        if not is_held(self.folders["state"] / "attempts" / f"{asked['task']}.lock"):
            remove(self.unfinished() / f"{asked['task']}.{asked['attempt']}")

    def unfinished(self) -> Path:
        """Where this node's attempts write."""
        return work_folder(self.folders["products"], self.node)

    def tidy(self, asked: dict[str, Any]) -> Message:
        """At start: remove what attempts left that nobody runs any more, known to ast3d (`keep`) or not."""
        keep, folder = set(asked["keep"]), self.folders["state"] / "attempts"
        held = {lock.stem for lock in folder.glob("*.lock") if is_held(lock)}
        for path in self.unfinished().glob("*"):
            left = self.node is not None or is_of_attempt(path.name)  # or else it may be the folder of a node
            if left and path.name not in keep and path.name.rpartition(".")[0] not in held:
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


def number(path: Path) -> int:
    """The attempt that a file of an attempt belongs to."""
    return int(path.stem.rpartition(".")[2])


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
