"""A disk of a node's own for its state, which can fail as disks do: ext4 in a file, read-only after an error.

It is mounted in the node's own mounts only, so a power cut takes the mount with it.  ext4's own test hook makes the error:
from then on whoever writes there gets EROFS or EIO, whatever he had open before.  A repair is `e2fsck` and a boot.
"""

import subprocess
from pathlib import Path

from tests.cluster.network import run

MEGABYTES = 96


def image(root: Path) -> Path:
    """The file that is the disk."""
    return root / "state.img"


def make(root: Path) -> None:
    """A fresh one."""
    with image(root).open("wb") as file:
        file.truncate(MEGABYTES << 20)
    run("mkfs.ext4", "-q", "-F", image(root))


def fail(init: int, folder: Path) -> None:
    """The disk that the process `init` has mounted at `folder` has an error, now."""
    mounts = [line.split() for line in Path(f"/proc/{init}/mounts").read_text().splitlines()]
    device = next(words[0] for words in mounts if words[1] == str(folder))
    Path("/sys/fs/ext4", Path(device).name, "trigger_fs_error").write_text("1")


def repair(root: Path) -> None:
    """While it is not mounted; what a boot does to a disk that had an error."""
    done = subprocess.run(["e2fsck", "-p", "-f", image(root)], capture_output=True, text=True, check=False)
    if done.returncode > 2:  # 1 and 2: errors were corrected
        raise OSError(f"e2fsck: {done.stdout}{done.stderr}")
