"""[camera] of station.toml: where the frames come from, one class for each kind of camera."""

from __future__ import annotations

import re
from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from edge.config.section import FramesPerSecond, GivenPath, Pixels, Section
from edge.core.types import FULL, Bits

PixelFormat = Literal[
    "Mono8", "Mono10", "Mono12", "Mono14", "Mono16", "BayerRG8", "BayerGR8", "BayerGB8", "BayerBG8", "RGB8", "BGR8"
]
DEEP_FORMATS: dict[str, Bits] = {"Mono10": 10, "Mono12": 12, "Mono14": 14, "Mono16": 16}  # bits a sample uses
_SCHEME = re.compile(r"\s*([A-Za-z][A-Za-z0-9+.-]*)://(.*)", re.DOTALL)


def without_secrets(source: str) -> str:
    """Return a camera's source without anything that may be secret: of a URL, only the scheme and the host.

    Cameras take passwords before an @, in the query and in the path, and a password may itself hold / ? # and @.
    What has an @ or a ? and is no URL may be one that is misspelt.
    """
    source = "".join(letter if letter.isprintable() else "?" for letter in source)
    found = _SCHEME.match(source)
    if found is None and not {"@", "?"} & set(source):
        return source
    scheme, rest = ("", source) if found is None else (f"{found[1]}://", found[2])
    before, at, after = rest.rpartition("@")
    host = re.split(r"[/?#\\]", after, maxsplit=1)[0]
    hidden = "***@" if at or before else ""
    return f"{scheme}{hidden}{host}" + ("/..." if after[len(host) :].strip("/") else "")


class FolderCameraConfig(Section):
    """A folder whose images are shown as if parts passed by; for demos, tests and trials."""

    type: Literal["folder"]
    path: GivenPath
    fps: FramesPerSecond = 30.0
    seconds_per_image: Annotated[float, Field(ge=0.01, le=86_400)] = 1.0
    bits: Bits = FULL  # that a sample of a file with 16 bits a sample uses; as the bundle was trained


class VideoCameraConfig(Section):
    """A V4L2 device (/dev/v4l/by-id/...), an RTSP or HTTP URL, or a video file."""

    type: Literal["video"]
    source: str = Field(min_length=1, max_length=4096, repr=False)
    width: Pixels | None = None
    height: Pixels | None = None
    fps: FramesPerSecond | None = None
    loop: bool = False  # start a video file again when it ends
    # Of a stream: from exposure to arrival at most, when nothing delays it; `edge commission --latency` measures it.
    latency_ms: Annotated[float, Field(ge=0, le=10_000)] | None = None
    # Of a V4L2 device, in its driver's units (v4l2-ctl --list-ctrls): set when opened, and read back.
    exposure: Annotated[float, Field(ge=1e-6, le=1e9)] | None = None
    gain: Annotated[float, Field(ge=0, le=1e9)] | None = None
    white_balance_k: Annotated[float, Field(ge=1, le=100_000)] | None = None

    @property
    def is_device(self) -> bool:
        """True when source is a V4L2 device, and no stream or file."""
        return self.source.isdigit() or self.source.startswith("/dev/")

    @property
    def is_file(self) -> bool:
        """True when source is a video file."""
        return not self.is_device and "://" not in self.source

    @model_validator(mode="after")
    def _controls_need_a_device(self) -> Self:
        for key in ("exposure", "gain", "white_balance_k"):
            if getattr(self, key) is not None and not self.is_device:
                raise ValueError(f"{key} can only be set on a V4L2 device (/dev/...); remove it")
        return self


class GenicamCameraConfig(Section):
    """A GigE Vision or USB3 Vision camera, through Aravis (Debian: libaravis-0.8-0)."""

    type: Literal["genicam"]
    # Vendor-Model-Serial as arv-tool-0.8 lists it, or an address; "Fake_1" for trials
    device: str = Field(min_length=1)
    width: Pixels | None = None
    height: Pixels | None = None
    fps: FramesPerSecond | None = None
    # From exposure to arrival at most, when nothing delays a frame; one exposure and one period where it is not given
    latency_ms: Annotated[float, Field(ge=0, le=10_000)] | None = None
    pixel_format: PixelFormat | None = None
    exposure_us: Annotated[float, Field(ge=1e-3, le=1e12)] | None = None  # set when opened, and read back
    gain_db: Annotated[float, Field(ge=0, le=1000)] | None = None

    @model_validator(mode="after")
    def _a_region_has_two_sides(self) -> Self:
        if (self.width is None) != (self.height is None):
            raise ValueError("width and height belong together; give both or neither")
        return self


CameraConfig = Annotated[
    FolderCameraConfig | VideoCameraConfig | GenicamCameraConfig,
    Field(discriminator="type"),
]
