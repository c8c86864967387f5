"""The porter, step by step: it can end between link, sync, unlink and sync."""

from collections.abc import Iterator
from typing import Any

from ast3d import effects
from ast3d import inputs as i
from ast3d.task import Place
from tests.simulate.frames import Frame
from tests.simulate.helpers import Helper, Order
from tests.simulate.world import Folder


class Porter(Helper):
    """Moves, by link, sync, unlink, sync."""

    name = "porter"

    def serve(self, order: Order) -> Iterator[float]:
        match order:
            case ("ping",):
                self.tell(None)
            case ("tidy", keep):
                yield from self.tidy(keep)
            case effects.Archive(task, entry):
                yield from self.file(task, entry.place, self.world.archive, task)
            case effects.Quarantine():
                yield from self.set_aside(order)
            case effects.Restore(task, request):
                problem = yield from self.bring_back(task)
                self.tell(lambda now: i.FrameRestored(now, task, request, problem))
            case effects.Reconsider(fingerprint, but):
                for task, folder in sorted(self.world.quarantine.items()):
                    otherwise = folder.failures and not folder.incomplete and folder.fingerprint != fingerprint
                    if otherwise and task not in but:
                        problem = yield from self.bring_back(task)
                        self.tell(lambda now, task=task, problem=problem: i.FrameRestored(now, task, 0, problem))

    def tidy(self, keep: set[tuple[str, int]]) -> Iterator[float]:
        world = self.world
        held = {task for task in world.locks if world.is_held(task)}
        for key in [key for key in world.accounts if key not in keep and key[0] not in held]:
            world.accounts.pop(key, None)
            yield 0.0002
        for task in [task for task in world.locks if task not in {task for task, _ in keep} | held]:
            world.remove_lock(task)
        self.tell(None)

    def file(self, task: str, place: Place, names: dict[str, Any], name: str) -> Iterator[float]:
        """Move a frame out of the pool, tidy up behind it, and answer."""
        outcome, detail = yield from self.move(task, place, names, name)
        if outcome == "changed" and isinstance(names, _Inside):
            names.clear_folder()
        if outcome == "vanished" and isinstance(names, _Inside):
            names.clear_folder()
        if outcome != "failed":
            for key in [key for key in self.world.accounts if key[0] == task]:
                self.world.accounts.pop(key, None)
            if not self.world.is_held(task):
                self.world.remove_lock(task)
        self.world.tell("porter", task, outcome, detail)
        self.tell(lambda now: i.FrameFiled(now, task, outcome, detail))

    def move(self, task: str, place: Place, names: dict[str, Any], name: str) -> Iterator[float]:
        world = self.world
        frame = world.pool.get(place)
        if frame is None:
            if name not in names:
                return "vanished", ""
            world.sync()
            return "filed", name
        if frame.task != task:
            return "changed", ""
        yield world.soon()
        if world.trouble and world.rng.random() < 0.5:
            world.struck("porter_trouble")
            return "failed", "no space left on device"
        if frame.links and name not in names:
            world.link(names, name, frame)
        yield world.soon()
        world.sync()
        yield world.soon()
        if world.pool.get(place) is frame:
            world.unlink(world.pool, place)
            world.node.looked(place)
        yield world.soon()
        world.sync()
        return "filed", name

    def set_aside(self, order: effects.Quarantine) -> Iterator[float]:
        world, task = self.world, order.task
        if task in world.products:
            world.sync()
            self.tell(lambda now: i.FrameFiled(now, task, "published", "night"))
            return
        folder = world.quarantine.setdefault(task, Folder(order.entry.place, (), False, ""))
        folder.failures, folder.incomplete = order.failures, order.incomplete
        folder.fingerprint = order.failures[-1].fingerprint if order.failures else ""
        yield world.soon()
        yield from self.file(task, order.entry.place, _Inside(world.quarantine, task), task)

    def bring_back(self, task: str) -> Iterator[float]:
        world = self.world
        folder = world.quarantine.get(task)
        if folder is None:
            return "no such task"
        frame, place = folder.frame, folder.place
        if frame is not None:
            if world.pool.get(place, frame) is not frame:
                return "the pool holds another"
            frame.failed = 0
            if place not in world.pool:
                world.link(world.pool, place, frame)
                world.node.looked(place)
            yield world.soon()
            world.sync()
            yield world.soon()
            inside = _Inside(world.quarantine, task)
            if task in inside:
                world.unlink(inside, task)
            yield world.soon()
            world.sync()
        if folder.frame is None and world.quarantine.get(task) is folder:
            del world.quarantine[task]
        return ""


class _Inside(dict[str, Frame]):
    """The one place for a frame in a quarantine folder, as a mapping."""

    def __init__(self, quarantine: dict[str, Folder], task: str) -> None:
        super().__init__()
        self.quarantine, self.task = quarantine, task

    def __contains__(self, name: object) -> bool:
        folder = self.quarantine.get(self.task)
        return folder is not None and folder.frame is not None

    def __setitem__(self, name: str, frame: Frame) -> None:
        self.quarantine.setdefault(self.task, Folder(frame.place, (), False, "")).frame = frame

    def __delitem__(self, name: str) -> None:
        self.quarantine[self.task].frame = None

    def get(self, name: str, default: Any = None) -> Any:
        return self.quarantine[self.task].frame if name in self else default

    def pop(self, name: str, default: Any = None) -> Any:
        frame = self.get(name, default)
        self.quarantine[self.task].frame = None
        return frame

    def clear_folder(self) -> None:
        if self.task in self.quarantine and self.task not in self:
            del self.quarantine[self.task]
