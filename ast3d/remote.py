"""Which file systems tell nothing of what is written elsewhere: inotify sees there only what this very kernel does.

By the type, from /proc/self/mountinfo, of the device that a folder's `st_dev` names.
"""

import os
from pathlib import Path

MOUNTINFO = Path("/proc/self/mountinfo")
SILENT = frozenset({"nfs", "nfs4", "cifs", "smb3", "smbfs", "9p", "afs", "ceph", "gfs2", "glusterfs", "lustre", "ocfs2",
                    "overlay", "virtiofs"})  # fmt: skip


def silent_devices(mountinfo: str) -> dict[int, str]:
    """Device -> type, of the mounts that tell nothing.  A line that cannot be understood is passed over."""
    found = {}
    for line in mountinfo.splitlines():
        before, _, after = line.partition(" - ")
        fields, kind = before.split(" "), after.partition(" ")[0]
        if not (kind in SILENT or kind == "fuse" or kind.startswith("fuse.")) or len(fields) < 3:
            continue
        major, _, minor = fields[2].partition(":")
        if major.isdecimal() and minor.isdecimal() and len(major) + len(minor) < 16:
            found[os.makedev(int(major), int(minor))] = kind
    return found


def read() -> dict[int, str]:
    """As it is mounted now; empty where the kernel does not say."""
    try:
        return silent_devices(MOUNTINFO.read_text(encoding="utf-8", errors="replace"))
    except OSError:
        return {}
