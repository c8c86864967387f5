import os
import subprocess

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ast3d import remote

MOUNTINFO = """\
22 1 254:0 / / rw,relatime - ext4 /dev/root rw
23 22 0:21 / /proc rw - proc proc rw
40 22 0:52 / /srv/a\\040b rw,relatime shared:3 master:2 - nfs4 10.0.0.1:/x rw,vers=4.2
41 22 0:53 / /mnt rw - fuse.sshfs host: rw
42 22 0:54 / /mnt/2 rw - fuseblk /dev/sdb1 rw
43 22 0:55 /sub /mnt/3 rw - tmpfs - rw
44 22 0:56 / /merged rw - overlay overlay rw,lowerdir=/a
45 22 x:y / /odd rw - nfs a rw
46 22 9999999999:99999999999 / /odd rw - nfs a rw
no line at all
47 22
"""


def test_those_that_tell_nothing_of_what_others_write():
    assert remote.silent_devices(MOUNTINFO) == {
        os.makedev(0, 52): "nfs4",
        os.makedev(0, 53): "fuse.sshfs",
        os.makedev(0, 56): "overlay",
    }


@given(st.text())
def test_no_text_raises(text):
    remote.silent_devices(text)
    remote.silent_devices(f"1 2 {text} - nfs a")


def test_this_machines_own_is_read():
    assert all(isinstance(device, int) for device in remote.read())


@pytest.mark.skipif(os.geteuid() != 0, reason="mounting needs root")
def test_an_overlay_is_one(tmp_path):
    for name in ("lower", "upper", "work", "merged"):
        (tmp_path / name).mkdir()
    tmpfs = subprocess.run(["mount", "-t", "tmpfs", "none", tmp_path / "upper"], capture_output=True)
    if tmpfs.returncode:
        pytest.skip("no mounts here")
    try:
        for name in ("u", "w"):
            (tmp_path / "upper" / name).mkdir()
        options = f"lowerdir={tmp_path}/lower,upperdir={tmp_path}/upper/u,workdir={tmp_path}/upper/w"
        if subprocess.run(
            ["mount", "-t", "overlay", "o", "-o", options, tmp_path / "merged"], capture_output=True
        ).returncode:
            pytest.skip("no overlay here")
        try:
            silent = remote.read()
            assert (tmp_path / "merged").stat().st_dev in silent
            assert (tmp_path / "upper").stat().st_dev not in silent
        finally:
            subprocess.run(["umount", tmp_path / "merged"], check=True)
    finally:
        subprocess.run(["umount", tmp_path / "upper"], check=True)
