"""The keys of the configuration: meaning, unit, limits, default, and who may change each.

The defaults here and in `conf/ast3d.yaml` are the same.
"""

from dataclasses import dataclass, field, fields
from functools import cache
from typing import Annotated, get_type_hints

from ast3d.common.cluster_schema import ClusterNode, Ha
from ast3d.common.rules import NAME, Either, File, Folder, Group, ListOf, Number, OneOf, Setting, Switch, Text

_UNIX_GROUP = Text(r"[A-Za-z_][A-Za-z0-9_.-]{0,31}", "the name of a Unix group")
_FILE_NAME = Text(r"[^/\x00-\x1f]*[^/.\x00-\x1f][^/\x00-\x1f]*", "a file name without '/'")
_PATTERN = Text(r"[^/\x00-\x1f]{1,255}", "a file name pattern such as '*.tmp'")
_INSTRUMENT = Text(
    r"[A-Za-z0-9][A-Za-z0-9_-]{0,63}(\.yaml)?", "a name of conf/instruments such as ast3, or a file name such as mine.yaml"
)
_ARGUMENT = Text(r"[^\x00]{1,4096}", "a word in quotes")
_PLANES = ("DIFF", "VAR", "MASK", "SCORE", "PSF")


@dataclass(frozen=True)
class Telescope(Group):
    """What is particular to one telescope."""

    template: Annotated[
        str | None,
        Setting(
            Either(None, _FILE_NAME),
            "the template's file name in templates/TELESCOPE; null: the only one there",
        ),
    ] = None
    instrument: Annotated[
        str | None,
        Setting(
            Either(None, _INSTRUMENT),
            "its camera: a name of conf/instruments, or an instrument file in calibrations/TELESCOPE; null: its frames are"
            " calibrated already, and their headers are believed",
        ),
    ] = None
    calibration: Annotated[
        str | None,
        Setting(
            Either(None, _FILE_NAME),
            "the name of the folder of masters in calibrations/TELESCOPE; null: the only one there",
        ),
    ] = None
    node: Annotated[
        str | None, Setting(Either(None, NAME), "the node whose telescope it is; null: there is only this node")
    ] = None
    array: Annotated[
        str | None, Setting(Either(None, NAME), "the array that it belongs to: operators move those of an array together")
    ] = None


@dataclass(frozen=True)
class Paths(Group):
    """Where things are at a site; with --root DIR everything is below DIR and these are not used."""

    incoming: Annotated[str, Setting(Folder(), "the task pools, one folder a telescope", by="site")] = (
        "/var/lib/ast3/incoming"
    )
    templates: Annotated[str, Setting(Folder(), "the templates, one folder a telescope", by="site")] = (
        "/var/lib/ast3/templates"
    )
    calibrations: Annotated[
        str, Setting(Folder(), "the masters and instrument files, one folder a telescope; the star catalog", by="site")
    ] = "/var/lib/ast3/calibrations"
    products: Annotated[str, Setting(Folder(), "what was measured: TELESCOPE/NIGHT/FRAME-ID", by="site")] = (
        "/var/lib/ast3/products"
    )
    archive: Annotated[str, Setting(Folder(), "the raw frames that are done", by="site")] = "/var/lib/ast3/archive"
    quarantine: Annotated[str, Setting(Folder(), "the frames that could not be processed, and why", by="site")] = (
        "/var/lib/ast3/quarantine"
    )
    state: Annotated[str, Setting(Folder(), "what ast3d remembers", by="site")] = "/var/lib/ast3/state"
    log: Annotated[str, Setting(Folder(), "the routine log", by="site")] = "/var/log/ast3"


@dataclass(frozen=True)
class Site(Group):
    """Where the telescopes stand, and the stars above them; longitude, latitude and height: all of them, or none."""

    longitude: Annotated[
        float | None, Setting(Either(None, Number(-360, 360)), "east of Greenwich, WGS84; null: not known", "degrees")
    ] = None
    latitude: Annotated[float | None, Setting(Either(None, Number(-90, 90)), "north, WGS84; null: not known", "degrees")] = (
        None
    )
    height: Annotated[
        float | None, Setting(Either(None, Number(-500, 10000)), "above the ellipsoid; null: not known", "metres")
    ] = None
    catalog: Annotated[
        str | None,
        Setting(
            Either(None, File()),
            "the file with the stars' positions and magnitudes; a relative path is below paths.calibrations; null: there is"
            " none",
            by="site",
        ),
    ] = None


@dataclass(frozen=True)
class Pool(Group):
    """When a file in the task pool is a whole frame."""

    settle_seconds: Annotated[
        float,
        Setting(Number(0.05, 3600), "a file whose size and time have not changed for so long is whole", "seconds"),
    ] = 2.0
    incomplete_seconds: Annotated[
        float,
        Setting(
            Number(1, 86400),
            "a frame still shorter than its header says after so long is discarded",
            "seconds",
        ),
    ] = 60.0
    scan_seconds: Annotated[
        float,
        Setting(
            Number(0.5, 3600),
            "the pools are looked through so often, whatever the kernel announces",
            "seconds",
        ),
    ] = 10.0
    ignore: Annotated[tuple[str, ...], Setting(ListOf(_PATTERN), "names that are no frames")] = (
        ".*",
        "*.tmp",
        "*.part",
        "*.done",
    )


@dataclass(frozen=True)
class Worker(Group):
    """How frames are worked on."""

    slots: Annotated[
        int | str,
        Setting(Either("auto", Number(1, 256, whole=True)), "frames at once; auto: as many as the node has cores"),
    ] = "auto"
    soft_seconds: Annotated[float, Setting(Number(1, 86400), "a worker that takes longer is asked to stop", "seconds")] = (
        600.0
    )
    hard_seconds: Annotated[
        float,
        Setting(Number(1, 86400), "a worker that takes longer is killed; more than soft_seconds", "seconds"),
    ] = 660.0
    silence_seconds: Annotated[
        float, Setting(Number(1, 86400), "a worker that says nothing for so long is taken as hung", "seconds")
    ] = 300.0
    attempts: Annotated[
        int,
        Setting(Number(1, 100, whole=True), "a frame that fails so often is discarded into quarantine", "attempts"),
    ] = 3
    backoff_seconds: Annotated[
        float,
        Setting(Number(0, 86400), "the wait before the second attempt; it doubles with each", "seconds"),
    ] = 5.0
    backoff_limit_seconds: Annotated[
        float, Setting(Number(0, 86400), "the longest such wait; not less than backoff_seconds", "seconds")
    ] = 300.0


@dataclass(frozen=True)
class Pipeline(Group):
    """What works on a frame."""

    command: Annotated[
        tuple[str, ...] | None,
        Setting(
            Either(None, ListOf(_ARGUMENT, 1, 256)),
            "a program to run on each frame in place of photometry, as a list of words, in which {frame} is"
            " the raw frame, {out} the folder for what it makes, {telescope} the telescope; null: photometry",
            by="site",
        ),
    ] = None


@dataclass(frozen=True)
class Control(Group):
    """Who may give orders over the control socket, apart from root and the daemon's owner."""

    group: Annotated[
        str | None,
        Setting(Either(None, _UNIX_GROUP), "members may look; null: the daemon's own primary group", by="site"),
    ] = None
    operators: Annotated[str, Setting(_UNIX_GROUP, "members may look and change things", by="site")] = "ast3-operators"


@dataclass(frozen=True)
class Roulog(Group):
    """The routine log."""

    level: Annotated[str, Setting(OneOf(("DEBUG", "INFO", "ERROR", "FATAL")), "the least important that is written")] = (
        "INFO"
    )


@dataclass(frozen=True)
class Protect(Group):
    """How ast3d and protectd keep each other alive: each tells the other that it goes on, and replaces one that does not."""

    enabled: Annotated[bool, Setting(Switch(), "each replaces the other; false: they only look on")] = True
    period_seconds: Annotated[
        float, Setting(Number(0.1, 60), "each tells the other so often that it goes on", "seconds")
    ] = 1.0
    misses: Annotated[
        int,
        Setting(Number(2, 100, whole=True), "one that is silent for so many periods is looked at, and replaced", "periods"),
    ] = 3


@dataclass(frozen=True)
class Photometry(Group):
    """How a frame is measured; handed to photometry as it is."""

    max_megapixels: Annotated[
        float, Setting(Number(0.01, 2000), "a frame with more pixels is refused", "million pixels")
    ] = 200.0
    max_masked_fraction: Annotated[
        float, Setting(Number(0, 1), "a frame with a larger part unusable is refused", "fraction")
    ] = 0.5
    gain: Annotated[
        float | None,
        Setting(
            Either(None, Number(1e-3, 1e3)),
            "how many electrons one unit of the frame is; null: as its header says",
            "electrons per unit",
        ),
    ] = None
    read_noise: Annotated[
        float | None,
        Setting(
            Either(None, Number(0, 1e4)), "the noise of reading a pixel out; null: as the frame's header says", "electrons"
        ),
    ] = None
    saturation: Annotated[
        float | None,
        Setting(
            Either(None, Number(1, 1e9)),
            "pixels from here up are saturated; null: as the frame's header says",
            "the frame's unit",
        ),
    ] = None
    background_mesh_pixels: Annotated[
        int, Setting(Number(8, 4096, whole=True), "the sky is measured in squares of this side", "pixels")
    ] = 64
    detection_threshold_sigma: Annotated[
        float, Setting(Number(1, 1000), "a star is so far above the sky's noise", "sigma")
    ] = 5.0
    aperture_radii_pixels: Annotated[
        tuple[float, ...],
        Setting(
            ListOf(Number(0.5, 200), 1, 10, rising=True),
            "brightness is measured in circles of these radii",
            "pixels",
        ),
    ] = (3.0, 5.0, 8.0)
    transient_threshold: Annotated[float, Setting(Number(3, 1000), "a transient's score is at least this", "sigma")] = 5.5
    difference_planes: Annotated[
        tuple[str, ...], Setting(ListOf(OneOf(_PLANES), 1, 5, needs="DIFF"), "what difference.fits keeps")
    ] = ("DIFF", "MASK", "PSF")
    preview_pixels: Annotated[int, Setting(Number(64, 8192, whole=True), "the longer side of preview.png", "pixels")] = 512
    gpu: Annotated[
        str,
        Setting(
            OneOf(("auto", "require", "off")),
            "auto: subtract on a GPU where one works, else on the CPU; require: on a GPU or not at all;"
            " 'off', in quotes: on the CPU",
        ),
    ] = "auto"


@dataclass(frozen=True)
class Config(Group):
    """The whole configuration, by group: `config.worker.attempts`."""

    telescopes: dict[str, Telescope] = field(default_factory=lambda: {"ast3-1": Telescope()})
    paths: Paths = field(default_factory=Paths)
    site: Site = field(default_factory=Site)
    pool: Pool = field(default_factory=Pool)
    worker: Worker = field(default_factory=Worker)
    pipeline: Pipeline = field(default_factory=Pipeline)
    control: Control = field(default_factory=Control)
    protect: Protect = field(default_factory=Protect)
    roulog: Roulog = field(default_factory=Roulog)
    photometry: Photometry = field(default_factory=Photometry)
    nodes: dict[str, ClusterNode] = field(default_factory=dict)
    ha: Ha = field(default_factory=Ha)


@cache
def settings_of(group: type) -> dict[str, Setting]:
    """What each key of a group means and may hold."""
    hints = get_type_hints(group, include_extras=True)
    return {f.name: hints[f.name].__metadata__[0] for f in fields(group)}
