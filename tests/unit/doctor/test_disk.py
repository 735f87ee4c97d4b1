"""Disks: too little space, a filesystem in memory or far away, one that takes no file."""

import os
import shutil
import subprocess
import tempfile
from pathlib import Path

import pytest

from bastion.doctor.disk import Mount, examine_disk, filesystem, mount_of
from bastion.doctor.findings import Level

pytestmark = pytest.mark.slow
FLOOR, FOLDER = '# disk_floor = "1 GiB"', 'directory = "recordings"'


def bad(look, *edit):
    return [one for one in examine_disk(look(*edit)) if one.level is not Level.OK]


def test_nothing_is_wrong_with_the_disk_of_the_tests(look, gateway):
    assert bad(look, (FLOOR, 'disk_floor = "1 MiB"')) == []
    assert os.listdir(gateway / "recordings") == [], "the probe is gone"


def test_too_little_space_fails_and_nearly_too_little_warns(look, gateway):
    free = shutil.disk_usage(gateway).free
    (one,) = bad(look, (FLOOR, "disk_floor = 1125899906842624"))
    assert (
        one.level is Level.FAIL
        and "no session begins" in one.text
        and one.type == f"df -h {gateway}/recordings"
    )
    (one,) = bad(look, ("disk_floor = 1125899906842624", f"disk_floor = {free * 3 // 4}"))
    assert one.level is Level.WARN


def test_a_folder_that_is_not_there(look, gateway):
    (gateway / "recordings").rmdir()
    (one,) = bad(look)
    assert one.level is Level.FAIL and one.type == f"mkdir -m 700 {gateway}/recordings"


@pytest.mark.skipif(not os.path.ismount("/dev/shm"), reason="there is no /dev/shm")
def test_a_filesystem_in_memory(look):
    folder = Path(tempfile.mkdtemp(dir="/dev/shm"))
    try:
        found = bad(look, (FOLDER, f'directory = "{folder}"'), (FLOOR, "disk_floor = 4096"))
    finally:
        folder.rmdir()
    (one,) = (one for one in found if "tmpfs" in one.text)
    assert one.level is Level.WARN and "reboot" in one.text


def test_a_folder_that_takes_no_file(look):
    found = bad(look, (FOLDER, 'directory = "/proc/self/task"'), (FLOOR, "disk_floor = 0"))
    assert any(one.level is Level.FAIL and "no file can be made" in one.text for one in found)


def test_few_inodes(look, tmp_path):
    small = tmp_path / "small"
    small.mkdir()
    words = ["mount", "-t", "tmpfs", "-o", "size=8m,nr_inodes=64", "none", str(small)]
    if subprocess.run(words, capture_output=True).returncode != 0:
        pytest.skip("nothing can be mounted here")
    try:
        found = bad(look, (FOLDER, f'directory = "{small}"'), (FLOOR, "disk_floor = 4096"))
    finally:
        subprocess.run(["umount", str(small)], check=True)
    assert any("inodes are free" in one.text and one.type == f"df -i {small}" for one in found)


MOUNTS = """\
22 1 8:1 / / rw,relatime shared:1 - ext4 /dev/sda1 rw
40 22 0:40 / /srv rw,relatime - nfs4 server:/x rw,vers=4.2
41 22 0:41 / /srv/with\\040blank ro,relatime - xfs /dev/sdb rw
42 22 0:42 / /s rw,relatime - fuse.sshfs h:/ rw
43 40 0:43 / /srv rw - ext4 /dev/sdc ro
"""


def test_the_mount_of_a_path():
    assert mount_of("/var/lib", MOUNTS) == Mount("/", "ext4", False)
    assert mount_of("/srv2", MOUNTS) == Mount("/", "ext4", False)
    assert mount_of("/s/x", MOUNTS) == Mount("/s", "fuse.sshfs", False)
    assert mount_of("/srv/with blank/x", MOUNTS) == Mount("/srv/with blank", "xfs", True)
    assert mount_of("/srv", MOUNTS) == Mount("/srv", "ext4", True), "what was mounted last covers the other"
    assert mount_of("/srv/x", MOUNTS.replace("43 40", "").replace("/srv rw - ext4", "")) == Mount(
        "/srv", "nfs4", False
    )


@pytest.mark.parametrize(
    ("path", "word"), [("/srv/x", "nfs4"), ("/s", "fuse.sshfs"), ("/srv/with blank", "read-only")]
)
def test_a_far_or_read_only_filesystem_fails(path, word):
    """There is no server to mount from here: the kernel's table is what is told."""
    table = "".join(line + "\n" for line in MOUNTS.splitlines() if not line.startswith("43"))
    found = [one for one in filesystem(Path(path), table) if one.level is Level.FAIL]
    assert any(word in one.text for one in found)
