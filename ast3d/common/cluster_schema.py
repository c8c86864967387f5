"""The keys of the configuration by which several nodes work together: see `ast3d.common.schema`."""

from dataclasses import dataclass
from typing import Annotated

from ast3d.common.rules import NAME, Either, Folder, Group, ListOf, Number, OneOf, Setting, Switch, Text

_ADDRESS = Text(r"(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9.-]+):[0-9]{1,5}", "an address and a port, such as '10.0.0.1:4471'")
_URL = Text(
    r"https?://(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9.-]+):[0-9]{1,5}", "a URL with its port, such as 'http://10.0.0.1:2379'"
)


@dataclass(frozen=True)
class ClusterNode(Group):
    """One computer of the cluster."""

    address: Annotated[str, Setting(_ADDRESS, "where its ast3-ha answers the others", by="site")] = "127.0.0.1:4471"
    spare: Annotated[
        bool, Setting(Switch(), "it has no telescope of its own, and is the first to take over in mode redundant", by="site")
    ] = False


@dataclass(frozen=True)
class Ha(Group):
    """Which node works for which telescope: see docs/failover.md.  Without `node` all of it is left alone."""

    node: Annotated[str | None, Setting(Either(None, NAME), "this node, one of `nodes`; null: no failover", by="site")] = (
        None
    )
    mode: Annotated[
        str,
        Setting(
            OneOf(("cyclic", "redundant")),
            "cyclic: the next node in the order of `nodes` takes over; redundant: a spare one, then the next",
        ),
    ] = "cyclic"
    takeover: Annotated[
        str,
        Setting(
            OneOf(("temporary", "permanent")),
            "temporary: a node that returns gets its telescope back; permanent: an operator gives it back",
        ),
    ] = "temporary"
    no_quorum: Annotated[
        str,
        Setting(
            OneOf(("provisional", "park")),
            "where most of etcd is gone, the telescopes of nodes that do not answer: provisional: are worked for,"
            " perhaps by two; park: wait",
        ),
    ] = "provisional"
    etcd: Annotated[tuple[str, ...], Setting(ListOf(_URL, 0, 16), "the members of etcd", by="site")] = ()
    etcd_ca: Annotated[
        str | None, Setting(Either(None, Folder()), "the file with the authority of etcd's certificates", by="site")
    ] = None
    etcd_cert: Annotated[
        str | None, Setting(Either(None, Folder()), "the file with this node's certificate; without a CN", by="site")
    ] = None
    etcd_key: Annotated[str | None, Setting(Either(None, Folder()), "the file with that certificate's key", by="site")] = (
        None
    )
    etcd_user: Annotated[str | None, Setting(Either(None, NAME), "etcd's user; null: nobody logs in", by="site")] = None
    etcd_password_file: Annotated[
        str | None, Setting(Either(None, Folder()), "the file with that user's password, on one line", by="site")
    ] = None
    prefix: Annotated[str, Setting(NAME, "in etcd all keys begin with /PREFIX/", by="site")] = "ast3"
    key_file: Annotated[
        str,
        Setting(Folder(), "the file with what the nodes know and nobody else: 32 bytes or more, the same on all", by="site"),
    ] = "/etc/ast3/ha.key"
    serial: Annotated[
        str | None,
        Setting(
            Either(None, Folder()), "a serial line to another node, such as /dev/ttyS1: one more way to ask it", by="site"
        ),
    ] = None
    lease_seconds: Annotated[
        int,
        Setting(
            Number(2, 60, whole=True), "a node that etcd has not heard for so long is asked whether it lives", "seconds"
        ),
    ] = 6
    able_seconds: Annotated[
        float,
        Setting(
            Number(5, 3600),
            "a node with frames to work on that has finished none for so long, for they fail or none is begun, is not able",
            "seconds",
        ),
    ] = 40.0
    handback_after_seconds: Annotated[
        float, Setting(Number(1, 86400), "a node that has been well for so long gets its telescope back", "seconds")
    ] = 120.0
    flap_seconds: Annotated[
        float,
        Setting(
            Number(1, 86400), "a node that loses its telescope again within this time is waited for twice as long", "seconds"
        ),
    ] = 1800.0
    quorum_seconds: Annotated[
        float, Setting(Number(2, 3600), "etcd that has not answered for so long has lost its quorum", "seconds")
    ] = 8.0
