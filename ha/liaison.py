"""The liaison: the helper process that tells this node's ast3d what to work for, and hears how it is.

ast3d may be away, stopped or starved: whoever asks it may have to wait, and the agent may not.
"""

import sys
from pathlib import Path
from typing import Any

from ast3d.common.clock import boot_id, boottime
from ast3d.common.control_client import ControlError, call
from ast3d.common.link import HelperEnd, Message
from ast3d.common.parent import die_with_parent

ANSWER_SECONDS = 2.0


def tell(socket: Path, claims: dict[str, Any]) -> Message:
    """What ast3d answers to its claims; `problem` says why it does not."""
    answer, problem = None, ""
    try:
        answer = call(socket, "assign", {"boot": boot_id(), "claims": claims}, ANSWER_SECONDS)
    except ControlError as error:
        problem = str(error)
    return {"told": {"at": boottime(), "claimed": list(claims), "answer": answer, "problem": problem}}


def main() -> None:
    """The socket to ast3-ha, and its pid."""
    die_with_parent(int(sys.argv[2]))
    link = HelperEnd(int(sys.argv[1]))
    try:
        while True:
            for message in link.receive():
                if asked := message.get("tell"):
                    link.send(tell(Path(asked["socket"]), asked["claims"]))
                elif "ping" in message:
                    link.send({"pong": message["ping"]})
    except EOFError:
        return


if __name__ == "__main__":
    main()
