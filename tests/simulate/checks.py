"""What must hold at every instant, and at the end."""

from typing import TYPE_CHECKING

from ast3d import effects
from tests.simulate.books import ViolationError
from tests.simulate.frames import EVER, Frame
from tests.simulate.world import Folder, World

if TYPE_CHECKING:
    from tests.simulate.node import Node

SUSPECT_CUTS = 2  # power cuts alone at work that make a frame guilty


def carried_out(world: World, node: "Node", effect: effects.Effect) -> None:
    """What an effect rests on is durable, and there was room for it."""
    books, state = world.books, node.core.state
    forgetful = books.broken or bool(state.relog_problem)
    match effect:
        case effects.Start():
            _started(world, node, effect, forgetful=forgetful)
        case effects.End():
            _ended(node)
        case effects.Archive(task):
            if task not in books.judged and not forgetful:
                raise ViolationError(f"{task} leaves the pool and nothing durable says that it is done")
        case effects.Quarantine():
            if effect.task not in books.judged and not forgetful:
                raise ViolationError(f"{effect.task} leaves the pool and nothing durable says that it is given up")
            _discarded(world, effect)


def _started(world: World, node: "Node", start: effects.Start, *, forgetful: bool) -> None:
    state, task = node.core.state, start.task
    if (task, start.attempt) not in world.books.started and not forgetful:
        raise ViolationError(f"{task}.{start.attempt} starts and nothing durable says so")
    running = list(state.within("RUNNING"))
    if len(running) > state.policy.slots:
        raise ViolationError(f"{len(running)} at work, allowed {state.policy.slots}")
    if len(running) > 1 and any(one.solo for one in running):
        raise ViolationError(f"a suspect is not alone: {[one.id for one in running]}")
    if len(running) > 1 and state.breaker:
        raise ViolationError(f"the breaker is open and {len(running)} are at work")
    if any(one.id == task and one.suspect and not one.solo for one in running):
        raise ViolationError(f"the suspect {task} does not run alone")
    if state.halting:
        raise ViolationError(f"{task} starts although it is to end")
    if world.boottime < state.paused_until:
        raise ViolationError(f"{task} starts in a pause")


def _ended(node: "Node") -> None:
    state = node.core.state
    if state.halting is None:
        raise ViolationError("it ends and nobody asked it to")
    if state.halting.mode == "drain" and state.phases["RUNNING"]:
        raise ViolationError(f"it ends and {list(state.phases['RUNNING'])} are at work")


def _discarded(world: World, effect: effects.Quarantine) -> None:
    frame = next((frame for frame in world.frames if frame.task == effect.task), None)
    counted = sum(failure.counts for failure in effect.failures)
    if counted > world.policy.attempts:
        raise ViolationError(f"{effect.task} was tried {counted} times")
    if effect.blame == "environment":
        world.justified += 1
        if world.alone_at_cuts[effect.task] < SUSPECT_CUTS:
            raise ViolationError(f"{effect.task} is given up after {world.alone_at_cuts[effect.task]} power cuts alone")
    elif frame and not effect.incomplete and frame.kind in ("good", "sloppy", "mute", "hungry"):
        raise ViolationError(f"{effect.task} is {frame.kind} and is given up: {effect.reason}")


def settled(world: World, node: "Node") -> bool:
    """Nothing is left to do but what will never end."""
    if not node.up or node.inputs or node.core.state.waiting or not node.core.state.scanned:
        return False
    endless = {frame.task for frame in world.frames if frame.kind == "hungry" and frame.times == EVER}
    left = [frame for frame in world.pool.values() if frame.task not in endless]
    left += [worker for worker in world.workers.values() if worker.key[0] not in endless]
    archived = {id(frame) for frame in world.archive.values()}  # grown while it moved, it may have a name in both
    grown = [task for task, folder in world.quarantine.items() if _grown(task, folder) and id(folder.frame) not in archived]
    porter = node.crew.get("porter")
    grown = [] if world.books.losses else grown  # what waits to grow may be forgotten with the rest
    quiet = porter is not None and porter.doing is None and not porter.orders
    return quiet and not left and not grown and node.core.state.tasks.keys() <= endless


def _grown(task: str, folder: Folder) -> bool:
    return folder.frame is not None and folder.frame.task != task


def final(world: World) -> None:
    """Where each frame is."""
    world.look_for_lost()
    archived = {id(frame): task for task, frame in world.archive.items()}
    kept = {id(folder.frame): task for task, folder in world.quarantine.items()}
    for frame in world.frames:
        if frame.doomed:
            continue
        if task := archived.get(id(frame)):
            if task not in world.products:
                raise ViolationError(f"{task} is in the archive and was never published")
        elif task := kept.get(id(frame)):
            _rightly_kept(world, frame, task)
        elif frame.kind != "hungry":
            raise ViolationError(f"{frame.task} is still in the pool")
        more = world.late[frame.task] + len(world.books.pardoned[frame.task])
        if frame.failed > world.policy.attempts + more and not world.books.losses:
            raise ViolationError(f"{frame.task} failed {frame.failed} times")


def _rightly_kept(world: World, frame: Frame, task: str) -> None:
    guilty = frame.kind in ("bad", "hopeless", "hang", "killer", "slow") or frame.size < frame.needs
    guilty = guilty or (frame.task != task and world.books.losses > 0)  # it has grown, and nobody knew that it would
    guilty = guilty or (frame.kind == "flaky" and world.long_suspend)  # its one attempt more may have taken too long
    if task in world.products:
        raise ViolationError(f"{task} is published and in quarantine")
    alone = world.alone_at_cuts[task] >= SUSPECT_CUTS
    if frame.size >= frame.needs and frame.tried_under not in ("", world.fingerprint) and not alone:
        raise ViolationError(f"{task} stays in quarantine, tried as {frame.tried_under} and not as {world.fingerprint}")
    if not guilty and frame.failed < world.policy.attempts and not alone:
        raise ViolationError(f"{task}, {frame.kind}, is in quarantine")
