"""GigE Vision and USB3 Vision cameras, through Aravis."""

from __future__ import annotations

import ctypes
import time

import cv2
import numpy as np

from edge.cameras import CameraError, Shot
from edge.cameras.aravis import BUFFERS, SUCCESS, camera_call, library, unref
from edge.cameras.clock import SourceClock
from edge.config.cameras import GenicamCameraConfig
from edge.core.types import Bits, Image
from edge.inference.preprocess import ImageError, eight_bits

READ_TIMEOUT_S = 2.0
CONTROL_STEP = 0.02  # a camera rounds to its steps; more than this share is not what was asked for
FAKE = "Fake_"  # devices of Aravis's own, in this process: for trials
AUTO_OFF = 0  # ARV_AUTO_OFF
# Pixel formats of the PFNC (GenICam's pixel format naming convention): how many bytes a pixel, and how to make it BGR.
FORMATS: dict[int, tuple[int, int | None]] = {
    0x01080001: (1, cv2.COLOR_GRAY2BGR),  # Mono8
    0x01080008: (1, cv2.COLOR_BayerGRBG2BGR),  # BayerGR8
    0x01080009: (1, cv2.COLOR_BayerRGGB2BGR),  # BayerRG8
    0x0108000A: (1, cv2.COLOR_BayerGBRG2BGR),  # BayerGB8
    0x0108000B: (1, cv2.COLOR_BayerBGGR2BGR),  # BayerBG8
    0x02180014: (3, cv2.COLOR_RGB2BGR),  # RGB8
    0x02180015: (3, None),  # BGR8
}
DEEP: dict[int, Bits] = {  # of grey with 16 bits a sample: the bits that it uses, the low ones
    0x01100003: 10,  # Mono10
    0x01100005: 12,  # Mono12
    0x01100025: 14,  # Mono14
    0x01100007: 16,  # Mono16
}


class GenicamCamera:
    """One device. Each open() makes a new handle: one whose camera was unplugged never recovers."""

    def __init__(self, config: GenicamCameraConfig) -> None:
        self._config = config
        self._camera: int | None = None
        self._stream: int | None = None
        self._shown = config.device
        self._clock = SourceClock(None, None)

    def open(self) -> None:
        self.close()
        try:
            self._open()
        except CameraError as error:
            self.close()
            raise CameraError(f"camera {self._config.device}: {error}; check cable, power and camera.device") from error

    def _open(self) -> None:
        if self._config.device.startswith(FAKE):
            library().arv_enable_interface(b"Fake")
        library().arv_update_device_list()  # a camera that came back may have another address
        self._camera = camera_call("new", self._config.device.encode())
        self._set_up()
        self._stream = camera_call("create_stream", self._camera, None, None)
        size = camera_call("get_payload", self._camera)
        for _ in range(BUFFERS):
            library().arv_stream_push_buffer(self._stream, library().arv_buffer_new_allocate(size))
        self._clock = self._clock_of_device()
        camera_call("start_acquisition", self._camera)
        model = camera_call("get_model_name", self._camera) or b""
        self._shown = f"{self._config.device} {model.decode(errors='replace')}".strip()

    def _set_up(self) -> None:
        """Set what station.toml asks for, and nothing else; raises CameraError when the camera does not take it."""
        config, camera = self._config, self._camera
        if config.pixel_format is not None:
            camera_call("set_pixel_format_from_string", camera, config.pixel_format.encode())
        if config.width is not None and config.height is not None:
            camera_call("set_region", camera, 0, 0, config.width, config.height)
        if config.fps is not None:
            camera_call("set_frame_rate", camera, config.fps)
        self._control("exposure_us", config.exposure_us, "exposure_time", "is_exposure_auto_available")
        self._control("gain_db", config.gain_db, "gain", "is_gain_auto_available")

    def _control(self, key: str, value: float | None, feature: str, has_automatic: str) -> None:
        """Set by hand and read back."""
        if value is None:
            return
        if camera_call(has_automatic, self._camera):
            camera_call(f"set_{feature}_auto", self._camera, AUTO_OFF)
        camera_call(f"set_{feature}", self._camera, value)
        found = camera_call(f"get_{feature}", self._camera)
        if abs(found - value) > max(CONTROL_STEP * abs(value), 1e-6):
            raise CameraError(f"camera.{key} is {found:g}, asked was {value:g}")

    def _clock_of_device(self) -> SourceClock:
        """Return the clock of one connection: a frame is there one exposure and one readout after its begin.

        A device sends while it reads out, and a readout takes no longer than a period; camera.latency_ms is for one
        that stores frames first. Of a device that does not say its rate nothing is proven.
        """
        try:
            period_s = 1.0 / (self._config.fps or camera_call("get_frame_rate", self._camera))
            latency_s = camera_call("get_exposure_time", self._camera) / 1e6 + period_s
        except (CameraError, ZeroDivisionError):
            return SourceClock(None, None)
        stated_ms = self._config.latency_ms
        return SourceClock(latency_s if stated_ms is None else stated_ms / 1e3, period_s)

    def read(self) -> Shot:
        if self._stream is None:
            raise CameraError(f"camera {self._shown}: not open")
        give_up = time.monotonic() + READ_TIMEOUT_S
        torn = 0
        while (left_s := give_up - time.monotonic()) > 0:
            buffer = library().arv_stream_timeout_pop_buffer(self._stream, round(left_s * 1e6))
            if not buffer:
                break
            try:
                if library().arv_buffer_get_status(buffer) == SUCCESS:
                    return self._shot(buffer)
                torn += 1  # packets are missing: never judged, the next one may be whole
            finally:
                library().arv_stream_push_buffer(self._stream, buffer)
        raise CameraError(
            f"camera {self._shown}: no whole frame for {READ_TIMEOUT_S:g} s, {torn} torn ones; check cable and network"
        )

    def _shot(self, buffer: int) -> Shot:
        """The frame and its time: the device's own timestamp shows how long it waited in a buffer."""
        stamp_ns = library().arv_buffer_get_timestamp(buffer)
        exposed_after = self._clock.exposed_after(time.monotonic(), stamp_ns / 1e9 if stamp_ns else None)
        if behind := self._clock.fault():
            raise CameraError(f"camera {self._shown}: {behind}")
        return Shot(self._image(buffer), exposed_after)

    def _image(self, buffer: int) -> Image:
        """(H, W, 3) uint8 BGR, in memory of its own: Aravis fills the buffer again."""
        width, height, pixel_format = (_of_image(buffer, name) for name in ("width", "height", "pixel_format"))
        if pixel_format not in FORMATS and pixel_format not in DEEP:
            raise CameraError(f"camera {self._shown}: pixel format {pixel_format:#x}; set camera.pixel_format to Mono8")
        wanted = (self._config.width or width, self._config.height or height)
        if (width, height) != wanted:
            raise CameraError(f"camera {self._shown}: gives {width}x{height}, asked was {wanted[0]}x{wanted[1]}")
        depth, code = FORMATS.get(pixel_format, (2, cv2.COLOR_GRAY2BGR))
        size = ctypes.c_size_t()
        data = library().arv_buffer_get_data(buffer, ctypes.byref(size))
        if size.value < width * height * depth:
            raise CameraError(f"camera {self._shown}: a frame has {size.value} bytes, too few for {width}x{height}")
        raw = np.ctypeslib.as_array(ctypes.cast(data, ctypes.POINTER(ctypes.c_uint8)), (height, width, depth))
        if pixel_format in DEEP:
            raw = _upper(raw, DEEP[pixel_format], self._shown)
        return raw.copy() if code is None else np.asarray(cv2.cvtColor(raw, code), dtype=np.uint8)

    def close(self) -> None:
        stream, camera, self._stream, self._camera = self._stream, self._camera, None, None
        if camera is not None and stream is not None:
            try:
                camera_call("stop_acquisition", camera)
            except CameraError:
                self._shown = self._config.device  # it is gone, so it has stopped
        unref(stream)
        unref(camera)

    def describe(self) -> str:
        return self._shown


def _upper(raw: Image, bits: Bits, shown: str) -> Image:
    """(H, W, 2) bytes, the lower first -> the upper eight of the used bits, (H, W, 1): the scaling of training."""
    try:
        return eight_bits(raw.view("<u2").astype(np.uint16), bits)
    except ImageError as error:
        raise CameraError(f"camera {shown}: {error}") from error


def _of_image(buffer: int, name: str) -> int:
    return int(getattr(library(), f"arv_buffer_get_image_{name}")(buffer))
