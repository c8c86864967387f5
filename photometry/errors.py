"""What can go wrong with a frame, as types: whose fault it is, and whether trying again can help.

Each message is one line that says what is wrong, with the numbers, and what to do where something can be done.
"""

from typing import ClassVar, Literal

Blame = Literal["frame", "environment"]


class PhotometryError(Exception):
    """Something went wrong; `blame` says whose fault it is, `retriable` whether the same call may succeed later."""

    blame: ClassVar[Blame] = "frame"
    retriable: ClassVar[bool] = True


class BadFrameError(PhotometryError):
    """The frame itself cannot be processed: torn, empty, not a FITS image, too large, nothing to see on it."""

    retriable: ClassVar[bool] = False


class TemplateMismatchError(BadFrameError):
    """Frame and template do not belong together: another size, or no common stars."""


class SubtractionFailedError(PhotometryError):
    """No difference passed its self-check; the figures say by how much.  The rest of the frame's products stand."""

    retriable: ClassVar[bool] = False


class AstrometryFailedError(PhotometryError):
    """Where the frame lies on the sky is not known, or not for certain.  The rest of the frame's products stand."""

    retriable: ClassVar[bool] = False


class EnvironmentFailedError(PhotometryError):
    """The machine's fault, not the frame's: no space, an I/O error, memory, a missing template."""

    blame: ClassVar[Blame] = "environment"


class GpuUnavailableError(EnvironmentFailedError):
    """There is no GPU that works: no device, no driver, no compiler, out of device memory, or it failed or is silent."""


class GpuAbsentError(GpuUnavailableError):
    """PyCUDA is not installed: this node is not set up for a GPU."""


class BadInputError(PhotometryError):
    """The call is wrong: an option, a path, a setting."""

    blame: ClassVar[Blame] = "environment"
    retriable: ClassVar[bool] = False
