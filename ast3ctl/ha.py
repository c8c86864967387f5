"""`ast3ctl ha`: which node works for which telescope, what would happen if, and telescopes moved by hand."""

import argparse
from collections.abc import Iterator
from typing import Any

from ast3ctl.answer import Answer
from ast3ctl.problem import ProblemError
from ast3ctl.words import duration, printable, table
from ast3d.common.control_client import ControlError, NotRunningError, call
from ast3d.common.layout import Layout

DESCRIPTION = "which node works for which telescope; hand telescopes over and back"
EPILOG = """\
examples:
  ast3ctl ha status                    every node and telescope, as this node sees them
  ast3ctl ha what-if --down B          who would work for B's telescope, and what nobody would
  ast3ctl ha handover A --to B         all that A works for (a telescope or an array does as well); each telescope stays
                                       there until the `handback` of the node whose it is
  ast3ctl ha handover A --to B --permanent   from now on they are B's
  ast3ctl ha handback A                A's telescopes, wherever they are, back to A

What is ordered is written into etcd and done when the frames at work have ended; `status` shows it done.  docs/failover.md
says more.
"""


def add_arguments(verb: argparse.ArgumentParser) -> None:
    """The actions."""
    verb.epilog, verb.formatter_class = EPILOG, argparse.RawDescriptionHelpFormatter
    actions = verb.add_subparsers(dest="action", required=True, metavar="ACTION")

    def action(name: str, words: str) -> argparse.ArgumentParser:
        sub = actions.add_parser(name, help=words, description=words, allow_abbrev=False)
        for option in ("--root", "--config"):
            sub.add_argument(option, default=argparse.SUPPRESS, help=argparse.SUPPRESS)
        sub.add_argument("--json", action="store_true", default=argparse.SUPPRESS, help=argparse.SUPPRESS)
        return sub

    action("status", "the nodes and the telescopes, as this node sees them")
    action("plan", "what is to move, by what this node sees now")
    down = action("what-if", "who would work for what if nodes were gone; exit code 1 if a telescope would be left alone")
    down.add_argument("--down", action="append", required=True, metavar="NODE", help="a node that is gone; may be repeated")
    over = action("handover", "move telescopes to another node, when the frames at work have ended")
    over.add_argument("what", metavar="WHAT", help="a node (all that it works for), a telescope, or an array")
    over.add_argument("--to", required=True, metavar="NODE", help="who is to work for them")
    over.add_argument("--permanent", action="store_true", help="they are that node's own from then on")
    back = action("handback", "a node's telescopes, wherever they are, back to it")
    back.add_argument("what", metavar="NODE", help="whose they are, or were by the configuration")


def run(layout: Layout, options: argparse.Namespace) -> Answer:
    """Ask this node's ast3-ha."""
    match options.action:
        case "status":
            data = _ask(layout, "status", {})
            return Answer(data, list(_status_lines(data)))
        case "plan":
            data = _ask(layout, "plan", {})
            return Answer(data, _plan_lines(data))
        case "what-if":
            data = _ask(layout, "what-if", {"down": options.down})
            alone = ", ".join(data["nobody"])
            return Answer(data, _plan_lines(data), f"nobody would work for {alone}" if alone else "")
        case "handover":
            args = {"what": options.what, "to": options.to, "permanent": options.permanent}
            return _ordered(_ask(layout, "handover", args))
    return _ordered(_ask(layout, "handback", {"what": options.what}))


def _ask(layout: Layout, verb: str, args: dict[str, Any]) -> Any:
    try:
        return call(layout.ha_socket, verb, args)
    except NotRunningError as error:
        raise ProblemError(f"ast3-ha is {error}; `ast3-ha` starts it, where the configuration names `ha.node`") from error
    except ControlError as error:
        raise ProblemError(str(error)) from error


def _ordered(data: dict[str, Any]) -> Answer:
    if not data["telescopes"]:
        return Answer(data, ["nothing is to move: they are there already"])
    return Answer(data, [printable(f"{' '.join(data['telescopes'])} -> {data['to']}, {data['when']}")])


def _status_lines(data: dict[str, Any]) -> Iterator[str]:
    quorum = "etcd answers" if data["quorum"] else "etcd does not answer"
    yield printable(f"{data['node']} of {', '.join(data['nodes'])}  {data['mode']}, {quorum}")
    rows = [["NODE", "STATE", "LEASE", "WITNESS", "WHY"]]
    for name, node in data["nodes"].items():
        rows.append([name, node["state"], "yes" if node["lease"] else "no", node["witness"], node["reason"]])
    yield from map(printable, table(rows))
    rows = [["TELESCOPE", "OF", "AT", "TOKEN", "BACKUP", "ARRAY", "NEXT"]]
    for name, tel in data["telescopes"].items():
        token = f"{tel['epoch']}.{tel['token']}"
        rows.append([name, tel["owner"], tel["holder"], token, tel["backup"] or "nobody", tel["array"] or "-", _next(tel)])
    yield from map(printable, table(rows))
    for problem in data["problems"]:
        yield printable(f"why    {problem}")


def _next(tel: dict[str, Any]) -> str:
    """What becomes of a telescope that is not where it belongs, or is about to move."""
    if tel["releasing_to"]:
        return f"goes to {tel['releasing_to']} when its frames have ended"
    if tel["ordered_to"] not in (None, tel["holder"]):
        return f"ordered to {tel['ordered_to']}, which is not able"
    if tel["provisional"]:
        return "worked for here without etcd's word"
    if tel["pinned"]:
        return f"stays until `ast3ctl ha handback {tel['owner']}`"
    if tel["returns_in_seconds"] is not None:
        return f"back to {tel['owner']} in {duration(tel['returns_in_seconds'])} if it is well"
    return f"waits for {tel['owner']} to be well" if tel["holder"] != tel["owner"] else ""


def _plan_lines(data: dict[str, Any]) -> list[str]:
    lines = [f"able: {', '.join(data['able']) or 'nobody'}"]
    lines += [f"{move['telescope']}  {move['from']} -> {move['to']}  ({move['kind']})" for move in data["moves"]]
    lines += [f"{telescope}  nobody" for telescope in data["nobody"]]
    return [printable(line) for line in (lines if len(lines) > 1 else [*lines, "nothing moves"])]
