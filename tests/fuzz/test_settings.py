"""Whatever a configuration or a manifest holds, it is taken, or refused in one line that names what is wrong."""

import hashlib
import json
import shutil
from pathlib import Path

import numpy as np
from hypothesis import strategies as st

from edge.config.load import check_camera, check_files, load_config
from edge.config.station import ConfigError
from edge.inference.bundle import DIGEST, MANIFEST, Bundle, BundleError, open_bundle
from tests.fuzz.campaign import campaign, damaged, mutated, refused_in_one_line, toml

STATION = {
    "name": "Cell 4",
    "bundle": "bundle",
    "state_dir": "state",
    "run_dir": "run",
    "recipes": {"left": "bundle"},
    "camera": {"type": "video", "source": "rtsp://u:p@10.0.0.9/1", "width": 640, "height": 480, "fps": 10.0},
    "trigger": {"type": "modbus", "page_button": True},
    "inspection": {"deadline_ms": 100, "runtime": "openvino", "threads": 0, "watch_drift": True},
    "quality": {"frozen_frames": 5},
    "storage": {"ok_every": 10, "max_image_mb": 1000, "keep_free_mb": 100},
    "page": {"host": "127.0.0.1", "port": 8080, "stations": ["other.toml"]},
    "output": [
        {"type": "modbus", "host": "127.0.0.1", "port": 5020},
        {"type": "gpio", "chip": "fake", "ok_line": 5, "ng_line": 6, "error_line": 7, "safe": "error"},
        {"type": "mqtt", "host": "broker", "topic": "a/b", "keepalive_s": 30, "user": "u", "password_file": "p"},
        {"type": "webhook", "url": "https://host:8443/x?y=z", "secret_file": "secret", "timeout_s": 5.0},
    ],
}
OTHER_CAMERAS = [
    {"type": "folder", "path": "samples", "seconds_per_image": 1.0},
    {"type": "genicam", "device": "any", "exposure_us": 1000.0},
]
DEEP = [b"[" * 5000, b'{"a":' * 3000, b"a = " + b"[" * 5000, b"[a." + b"b." * 3000 + b"c]"]


def test_configuration(tmp_path: Path, seconds: float) -> None:
    file = tmp_path / "station.toml"

    def target(content: bytes) -> None:
        file.write_bytes(content)

        def read() -> None:
            config = load_config(file)
            check_camera(config)
            check_files(config)

        refused_in_one_line(read, ConfigError)

    stations = [STATION, *({**STATION, "camera": camera} for camera in OTHER_CAMERAS)]
    texts = st.one_of([mutated(one).map(lambda found: toml(found).encode("utf-8")) for one in stations])
    campaign(target, texts | damaged(toml(STATION).encode()) | st.sampled_from(DEEP), seconds)


def test_manifest(tmp_path: Path, tiny_bundle: Bundle, seconds: float) -> None:
    folder = Path(shutil.copytree(tiny_bundle.path, tmp_path / "bundle"))
    manifest = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))

    def target(content: bytes) -> None:
        (folder / MANIFEST).write_bytes(content)
        (folder / DIGEST).write_bytes(f"{hashlib.sha256(content).hexdigest()}  {MANIFEST}\n".encode())
        if refused_in_one_line(lambda: open_bundle(folder), BundleError):
            limits = open_bundle(folder).manifest.limits
            assert np.isfinite([limits.threshold, limits.marking]).all()

    documents = mutated(manifest).map(lambda found: json.dumps(found).encode())
    campaign(target, documents | damaged(json.dumps(manifest).encode()) | st.sampled_from(DEEP), seconds)
