"""Who may use the control socket.

Root, the daemon's owner and members of the operators' group change things; members of the daemon's group look;
nobody else does anything.  Primary and supplementary groups both count, as the kernel knew them when the peer
connected.
"""

import grp
import os
import socket
import struct
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

Role = Literal["read", "change"]

_SO_PEERGROUPS = 59  # linux/socket.h; Python does not name it
_MOST_BYTES = 1024  # what Python's getsockopt may ask for: 256 groups


@dataclass(frozen=True)
class Peer:
    """The process at the other end, as the kernel knows it."""

    uid: int
    pid: int
    gids: frozenset[int]


@dataclass(frozen=True)
class Admission:
    """The rule, with the groups as numbers; None is a group that this machine does not have."""

    owner_uid: int
    group: int | None
    operators: int | None

    @classmethod
    def of(cls, group: str | None, operators: str) -> "Admission":
        """The rule for this process; `group` None is its own primary group."""
        return cls(os.geteuid(), os.getegid() if group is None else _gid(group), _gid(operators))

    def role(self, peer: Peer) -> Role | None:
        """What the peer may do; None is nothing."""
        if peer.uid in {0, self.owner_uid} or self.operators in peer.gids:
            return "change"
        return "read" if self.group in peer.gids else None


def peer_of(connection: socket.socket) -> Peer:
    """Who connected.  A peer in more than 256 groups is known by its primary one only."""
    size = struct.calcsize("iII")
    pid, uid, gid = struct.unpack("iII", connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, size))
    return Peer(uid, pid, frozenset({gid, *_supplementary(connection)}))


def _supplementary(connection: socket.socket) -> Iterable[int]:
    try:
        packed = connection.getsockopt(socket.SOL_SOCKET, _SO_PEERGROUPS, _MOST_BYTES)
    except OSError:  # too many, or a kernel before 4.13
        return ()
    return struct.unpack(f"{len(packed) // 4}I", packed)


def _gid(name: str) -> int | None:
    try:
        return grp.getgrnam(name).gr_gid
    except KeyError:
        return None
