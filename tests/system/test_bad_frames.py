"""Real photometry under a real ast3d, fed with everything that a broken camera, disk or person can produce."""

import gzip
import os
import re

import numpy as np
import pytest
from astropy.io import fits

QUICK = """
pool: {settle_seconds: 0.3, scan_seconds: 0.5, incomplete_seconds: 2}
worker: {slots: 2, backoff_seconds: 0.2}
"""
PIXELS = 256


def sky(seed: int = 1, pixels: int = PIXELS) -> np.ndarray:
    """A frame of 40 stars; the same stars whatever the seed."""
    where, noise = np.random.default_rng(7), np.random.default_rng(seed)
    y, x = np.mgrid[:pixels, :pixels]
    light = np.full((pixels, pixels), 300.0)
    for _ in range(40):
        x0, y0 = where.uniform(10, pixels - 10, 2)
        light += where.uniform(300, 6000) * np.exp(-((x - x0) ** 2 + (y - y0) ** 2) / (2 * 1.6**2))
    return noise.poisson(light).astype(np.float32)


def card(text: str) -> bytes:
    return text.ljust(80).encode()


def header(*cards: str) -> bytes:
    return b"".join(map(card, (*cards, "END"))).ljust(2880)


def hostile(folder) -> dict[str, str]:
    """name -> words that the reason must contain; writes the files into `folder`."""
    good = folder / "good.bin"
    fits.PrimaryHDU(sky()).writeto(good)
    whole = good.read_bytes()
    nan = np.full((PIXELS, PIXELS), np.nan, np.float32)
    tiled = folder / "tiled.bin"
    fits.HDUList([fits.PrimaryHDU(), fits.CompImageHDU(sky().astype(np.int16))]).writeto(tiled)
    bomb = tiled.read_bytes()
    for axis in (1, 2):
        bomb = bomb.replace(
            b"ZNAXIS%d =                  %d" % (axis, PIXELS), b"ZNAXIS%d =               %d" % (axis, 100_000)
        )
    files = {
        "half.fits": (whole[: len(whole) // 2], "incomplete"),
        "half.fits.fz": (tiled.read_bytes()[: tiled.stat().st_size // 2], "incomplete"),
        "empty.fits": (b"", "incomplete"),
        "text.fits": (b"It was a dark and stormy night.\n" * 500, "FITS"),
        "zeros.fits": (to_bytes(folder, np.zeros((PIXELS, PIXELS), np.float32)), "pixels are 0"),
        "nan.fits": (to_bytes(folder, nan), "NaN|unusable|finite"),
        "other size.fits": (to_bytes(folder, sky(pixels=PIXELS + 16)), f"{PIXELS + 16} x .*{PIXELS} x {PIXELS}"),
        "huge.fits": (
            header("SIMPLE  =                    T", "BITPIX  =                   16", "NAXIS   =                    2",
                   "NAXIS1  =               100000", "NAXIS2  =               100000") + bytes(28800),
            "incomplete|100000|100,000|megapixel",
        ),
        "huge.fits.gz": (
            gzip.compress(header("SIMPLE  =                    T", "BITPIX  =                   16",
                   "NAXIS   =                    2", "NAXIS1  =               100000",
                   "NAXIS2  =               100000") + bytes(28800)),
            "100000|100,000|megapixel",
        ),
        "bomb.fits.fz": (bomb, "100000|100,000|megapixel"),
        os.fsdecode(b"na me\n\xff.fits"): (b"not a frame at all" * 300, "FITS"),
    }  # fmt: skip
    for name, (content, _) in files.items():
        (folder / name).write_bytes(content)
    good.unlink()
    tiled.unlink()
    return {name: words for name, (_, words) in files.items()}


def to_bytes(folder, pixels: np.ndarray) -> bytes:
    path = folder / "scratch.bin"
    fits.PrimaryHDU(pixels).writeto(path)
    content = path.read_bytes()
    path.unlink()
    return content


@pytest.mark.timeout(180)
def test_each_bad_frame_is_kept_with_one_line_that_says_why_and_good_ones_go_on(node, tmp_path):
    one = node(QUICK)
    templates = one.root / "templates" / "ast3-1"
    templates.mkdir(parents=True)
    fits.PrimaryHDU(sky(2)).writeto(templates / "template.fits")
    (tmp_path / "bad").mkdir()
    expected = hostile(tmp_path / "bad")
    for name in expected:
        (tmp_path / "bad" / name).rename(one.pool / name)
    some_nan = sky(3)
    some_nan[40:60, 50:53] = np.nan
    fits.PrimaryHDU(sky(3)).writeto(one.pool / "good.fits")
    fits.PrimaryHDU(some_nan).writeto(one.pool / "some nan.fits")
    one.settled(2, len(expected))
    discarded = {why["name"]: why for why in one.discarded()}
    assert len(discarded) == len(expected)
    for name, words in expected.items():
        why = next(why for shown, why in discarded.items() if shown == escaped(name))
        assert re.search(words, why["reason"]), (name, why["reason"])
        assert "\n" not in why["reason"]
        assert len(why["reason"]) < 300
        assert len(why["attempts"]) <= 1, "what cannot succeed is not tried again"
        folder = one.root / "quarantine" / "ast3-1" / why["task"]
        assert [path for path in folder.iterdir() if path.name.startswith(why["task"] + ".") and path.suffix != ".out"]
    assert one.status()["state"] == "READY"
    assert len(one.published()) == 2
    assert not [line for line in one.log().splitlines() if " FATAL " in line]


def escaped(name: str) -> str:
    return "".join(chr(b) if 0x20 < b < 0x7F else f"%{b:02X}" for b in os.fsencode(name))
