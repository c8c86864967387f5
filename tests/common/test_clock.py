import re
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

from ast3d.common import clock


def test_boottime_is_the_kernels_and_does_not_go_back():
    before = time.clock_gettime(time.CLOCK_BOOTTIME)
    first, second = clock.boottime(), clock.boottime()
    assert before <= first <= second


def test_boot_id_is_the_kernels():
    assert clock.boot_id() == Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()


def test_stamp_is_utc_with_milliseconds():
    text = clock.stamp()
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", text)
    shown = datetime.fromisoformat(text)
    assert shown.utcoffset() == timedelta(0)
    assert abs(datetime.now(UTC) - shown) < timedelta(seconds=5)
