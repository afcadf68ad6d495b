"""What Linewatch needs of Aravis 0.8 (libaravis, a GenICam implementation), through ctypes: no compiler, no package.

Signatures: https://aravisproject.github.io/aravis/aravis-stable/. An object that a function returns belongs to the
caller, who gives it back with unref().
"""

from __future__ import annotations

import ctypes
from functools import cache
from typing import Any

from edge.cameras import CameraError

LIBRARY = "libaravis-0.8.so.0"
GOBJECT = "libgobject-2.0.so.0"
MISSING = "GenICam needs Aravis 0.8, which is not installed; Debian: apt-get install libaravis-0.8-0"
BUFFERS = 8
SUCCESS = 0  # ARV_BUFFER_STATUS_SUCCESS
POINTER, WORD, INT, UINT, REAL = ctypes.c_void_p, ctypes.c_char_p, ctypes.c_int, ctypes.c_uint, ctypes.c_double
FUNCTIONS: dict[str, tuple[Any, ...]] = {  # name -> result, arguments; of arv_camera_* a GError** follows
    "arv_enable_interface": (None, WORD),
    "arv_update_device_list": (None,),
    "arv_camera_new": (POINTER, WORD),
    "arv_camera_get_model_name": (WORD, POINTER),
    "arv_camera_set_pixel_format_from_string": (None, POINTER, WORD),
    "arv_camera_set_region": (None, POINTER, INT, INT, INT, INT),
    "arv_camera_set_frame_rate": (None, POINTER, REAL),
    "arv_camera_get_frame_rate": (REAL, POINTER),
    "arv_camera_set_exposure_time_auto": (None, POINTER, INT),
    "arv_camera_set_exposure_time": (None, POINTER, REAL),
    "arv_camera_get_exposure_time": (REAL, POINTER),
    "arv_camera_set_gain_auto": (None, POINTER, INT),
    "arv_camera_set_gain": (None, POINTER, REAL),
    "arv_camera_get_gain": (REAL, POINTER),
    "arv_camera_is_exposure_auto_available": (INT, POINTER),
    "arv_camera_is_gain_auto_available": (INT, POINTER),
    "arv_camera_get_payload": (UINT, POINTER),
    "arv_camera_create_stream": (POINTER, POINTER, POINTER, POINTER),
    "arv_camera_start_acquisition": (None, POINTER),
    "arv_camera_stop_acquisition": (None, POINTER),
    "arv_stream_push_buffer": (None, POINTER, POINTER),
    "arv_stream_timeout_pop_buffer": (POINTER, POINTER, ctypes.c_uint64),
    "arv_buffer_new_allocate": (POINTER, ctypes.c_size_t),
    "arv_buffer_get_status": (INT, POINTER),
    "arv_buffer_get_timestamp": (ctypes.c_uint64, POINTER),
    "arv_buffer_get_data": (POINTER, POINTER, ctypes.POINTER(ctypes.c_size_t)),
    "arv_buffer_get_image_width": (INT, POINTER),
    "arv_buffer_get_image_height": (INT, POINTER),
    "arv_buffer_get_image_pixel_format": (ctypes.c_uint32, POINTER),
}


class GError(ctypes.Structure):
    """GLib's: why a call failed."""

    _fields_ = (("domain", ctypes.c_uint32), ("code", INT), ("message", WORD))


@cache
def library() -> ctypes.CDLL:
    """Load it once; raises CameraError when it is not there."""
    try:
        found = ctypes.CDLL(LIBRARY)
    except OSError as error:
        raise CameraError(f"{MISSING} ({error})") from error
    for name, (result, *arguments) in FUNCTIONS.items():
        function = getattr(found, name)
        function.restype = result
        failing = [ctypes.POINTER(ctypes.POINTER(GError))] if name.startswith("arv_camera_") else []
        function.argtypes = arguments + failing
    return found


def camera_call(name: str, *arguments: Any) -> Any:
    """arv_camera_NAME; raises CameraError with Aravis's own words."""
    error = ctypes.POINTER(GError)()
    result = getattr(library(), f"arv_camera_{name}")(*arguments, ctypes.byref(error))
    if error:
        words = (error.contents.message or b"").decode(errors="replace")
        raise CameraError(f"{name.replace('_', ' ')} failed: {words or error.contents.code}")
    return result


def unref(thing: int | None) -> None:
    """Give an object back."""
    if thing:
        release = ctypes.CDLL(GOBJECT).g_object_unref
        release.argtypes, release.restype = (POINTER,), None
        release(thing)
