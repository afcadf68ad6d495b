"""The command line, as a person uses it: real processes, exit statuses, one line for whatever is wrong."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import onnx
import pytest

from edge.__main__ import VERBS
from edge.history.eventlog import EventLog
from edge.inference.bundle import INT8_ONNX, Bundle, write_bundle
from tests.edge.engine.parts import inspection
from tests.edge.web.standin import StandIn
from tests.tiny import bad_image, good_image

ROOT = Path(__file__).parents[3]
KEYS = {"file", "verdict", "reason", "score", "threshold", "typical", "distance", "defect_probability"} | {
    "regions",
    "timings_ms",
    "bundle",
}


def edge(*arguments: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "edge", *(str(a) for a in arguments)]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120, check=False)


def complained(result: subprocess.CompletedProcess[str], status: int = 1) -> str:
    """Return the one line of a command that refused."""
    lines = result.stderr.splitlines()
    assert result.returncode == status
    assert len(lines) == 1, result.stderr
    assert lines[0].startswith("linewatch: ")
    return lines[0]


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("images")
    for name, image in (("a/part", good_image()), ("b/part", bad_image())):
        (folder / name).parent.mkdir()
        cv2.imwrite(str(folder / f"{name}.png"), image)
    return folder


def test_help_has_one_line_per_verb() -> None:
    text = edge("--help").stdout
    for verb in VERBS:
        assert f"\n    {verb}" in text


@pytest.mark.parametrize("verb", VERBS)
def test_every_verb_has_help_of_its_own(verb: str) -> None:
    result = edge(verb, "--help")
    assert (result.returncode, result.stderr) == (0, "")
    assert result.stdout.startswith(f"usage: python -m edge {verb} [-h]")


def test_help_imports_neither_opencv_nor_a_runtime_nor_a_verb() -> None:
    code = (
        "import sys; from edge.__main__ import VERBS, main\n"
        "try: main(['--help'])\n"
        "finally: print({'cv2', 'onnxruntime', 'openvino', *(m for m, _ in VERBS.values())} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout.splitlines()[-1]) == (0, "set()")


def test_a_verb_that_was_removed_says_what_to_do_instead() -> None:
    line = complained(edge("tune", "--config", "station.toml"), status=2)
    assert line.startswith("linewatch: `edge tune` was removed; set inspection.threads")


def test_check_says_the_bundle_is_good_in_one_line(tiny_bundle: Bundle) -> None:
    result = edge("check", tiny_bundle.path)
    assert (result.returncode, result.stderr) == (0, "")
    assert len(result.stdout.splitlines()) == 1
    assert result.stdout.startswith(f"{tiny_bundle.title}: 2 of 2 references reproduced")
    assert "openvino" in result.stdout
    assert "onnxruntime" in result.stdout


def test_check_finds_a_flipped_byte(tiny_bundle: Bundle, tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(tiny_bundle.path, copy)
    model = copy / "model_int8.bin"
    data = bytearray(model.read_bytes())
    data[len(data) // 2] ^= 1
    model.write_bytes(data)
    assert "model_int8.bin" in complained(edge("check", copy))


def test_check_finds_scores_that_this_cpu_does_not_reproduce(tiny_bundle: Bundle, tmp_path: Path) -> None:
    facts = tiny_bundle.manifest.model_dump(mode="json", exclude={"format", "files"})
    facts["references"][0]["score"] = 40.0
    write_bundle(tmp_path / "other", facts, {name: tiny_bundle.file(name) for name in tiny_bundle.manifest.files})
    line = complained(edge("check", tmp_path / "other"))
    assert "references/good.png" in line
    assert "expected 40" in line


def test_check_finds_a_second_runtime_that_answers_otherwise(tiny_bundle: Bundle, tmp_path: Path) -> None:
    """The INT8 file of ONNX Runtime is not what OpenVINO runs: its middle grey is moved, so every score is."""
    model = onnx.load(tiny_bundle.file(INT8_ONNX))
    (middle,) = [constant for constant in model.graph.initializer if constant.name == "mid"]
    middle.CopyFrom(onnx.helper.make_tensor("mid", onnx.TensorProto.FLOAT, [], [100.0]))
    onnx.save(model, tmp_path / INT8_ONNX)
    facts = tiny_bundle.manifest.model_dump(mode="json", exclude={"format", "files"})
    files = {name: tiny_bundle.file(name) for name in tiny_bundle.manifest.files} | {INT8_ONNX: tmp_path / INT8_ONNX}
    write_bundle(tmp_path / "other", facts, files)
    line = complained(edge("check", tmp_path / "other"))
    assert "with onnxruntime on this CPU" in line


def test_inspect_json_has_exactly_the_promised_keys(tiny_bundle: Bundle, images: Path) -> None:
    result = edge("inspect", "--bundle", tiny_bundle.path, "--json", images)
    records = [json.loads(line) for line in result.stdout.splitlines()]
    assert (result.returncode, result.stderr) == (0, "")
    assert [set(record) for record in records] == [KEYS, KEYS]
    good, bad = records
    assert (good["verdict"], good["reason"], good["regions"]) == ("OK", "score", [])
    assert (bad["verdict"], bad["reason"]) == ("NG", "score")
    assert bad["file"] == str(images / "b" / "part.png")
    assert bad["score"] >= bad["threshold"] > good["score"]
    assert good["defect_probability"] < 0.5 < bad["defect_probability"]
    assert set(bad["regions"][0]) == {"x", "y", "w", "h", "area_px", "peak", "label"}
    assert set(bad["timings_ms"]) == {"prepare", "infer", "decide", "total"}
    assert bad["bundle"] == tiny_bundle.title


def test_both_runtimes_agree(tiny_bundle: Bundle, images: Path) -> None:
    scores = [
        [
            json.loads(line)["score"]
            for line in edge(
                "inspect", "--bundle", tiny_bundle.path, "--json", "--runtime", runtime, images
            ).stdout.splitlines()
        ]
        for runtime in ("openvino", "onnxruntime")
    ]
    assert len(scores[0]) == 2
    assert scores[0] == pytest.approx(scores[1], rel=1e-4)


def test_an_unreadable_image_is_an_error_and_the_others_are_still_inspected(
    tiny_bundle: Bundle, images: Path, tmp_path: Path
) -> None:
    broken, empty = tmp_path / "broken.png", tmp_path / "empty.png"
    broken.write_bytes(b"not an image")
    empty.write_bytes(b"")
    result = edge(
        "inspect", "--bundle", tiny_bundle.path, "--json", broken, empty, tmp_path / "absent.png", images / "a"
    )
    records = [json.loads(line) for line in result.stdout.splitlines()]
    assert result.returncode == 1
    assert [r["verdict"] for r in records] == ["ERROR", "ERROR", "ERROR", "OK"]
    assert {r["reason"] for r in records[:3]} == {"bad_frame"}
    assert [r["score"] for r in records[:3]] == [None] * 3
    lines = result.stderr.splitlines()
    assert [name in line for name, line in zip(("broken", "empty", "absent"), lines, strict=True)] == [True] * 3
    assert all(line.startswith("linewatch: ") for line in lines)


def test_a_frame_that_shows_nothing_is_an_error(tiny_bundle: Bundle, tmp_path: Path) -> None:
    cv2.imwrite(str(tmp_path / "black.png"), np.zeros((96, 128, 3), np.uint8))
    line = complained(edge("inspect", "--bundle", tiny_bundle.path, tmp_path / "black.png"))
    assert "black.png" in line


def test_without_json_there_is_one_readable_line_per_file(tiny_bundle: Bundle, images: Path) -> None:
    lines = edge("inspect", "--bundle", tiny_bundle.path, images).stdout.splitlines()
    assert [line.split()[0] for line in lines] == ["OK", "NG"]
    assert len({line.index(" ms  ") for line in lines}) == 1, "the columns are aligned"


def test_heatmaps_of_images_with_the_same_name_do_not_overwrite_each_other(
    tiny_bundle: Bundle, images: Path, tmp_path: Path
) -> None:
    result = edge("inspect", "--bundle", tiny_bundle.path, "--heatmap", tmp_path / "new" / "heat", images)
    assert result.returncode == 0
    good, bad = (cv2.imread(str(tmp_path / "new" / "heat" / n)) for n in ("part_heat.png", "part_2_heat.png"))
    assert good.shape == bad.shape == (96, 128, 3)
    assert not np.array_equal(good, bad)
    assert not np.array_equal(bad, bad_image())


def test_inspect_refuses_an_empty_folder_a_bad_bundle_and_an_unusable_heatmap_folder(
    tiny_bundle: Bundle, images: Path, tmp_path: Path
) -> None:
    (tmp_path / "file").write_text("")
    (tmp_path / "empty").mkdir()
    for arguments, words in (
        ((tiny_bundle.path, tmp_path / "empty"), "no image in this folder"),
        ((tmp_path / "nowhere", images), "no such bundle folder"),
        ((tiny_bundle.path, "--heatmap", tmp_path / "file" / "x", images), "--heatmap"),
    ):
        assert words in complained(edge("inspect", "--bundle", *arguments))


def test_a_reader_that_has_seen_enough_is_no_error_to_talk_about(tiny_bundle: Bundle, images: Path) -> None:
    many = " ".join([str(images)] * 200)
    command = f"{sys.executable} -m edge inspect --bundle {tiny_bundle.path} --json {many} | head -n 1"
    result = subprocess.run(  # noqa: S602 - a pipe is what is tested
        command, shell=True, cwd=ROOT, capture_output=True, text=True, timeout=120, check=False
    )
    assert len(result.stdout.splitlines()) == 1
    assert result.stderr == ""


def station(folder: Path, bundle: Path) -> Path:
    file = folder / "station.toml"
    file.write_text(
        f'name = "S"\nbundle = "{bundle}"\nstate_dir = "state"\nrun_dir = "run"\n'
        'bundle_signatures = "optional"\n'
        '[camera]\ntype = "folder"\npath = "camera"\n[trigger]\ntype = "free_run"\nrate_hz = 1\n'
    )
    return file


def test_log_shows_the_last_rows_as_a_table(tiny_bundle: Bundle, tmp_path: Path) -> None:
    file = station(tmp_path, tiny_bundle.path)
    assert "no history yet" in complained(edge("log", "--config", file))
    events = EventLog(tmp_path / "state" / "events.db")
    for number in range(1, 8):
        events.append(inspection(number))
    events.close()
    table = edge("log", "--config", file, "-n", 3)
    assert [line.split()[0] for line in table.stdout.splitlines()] == ["id", "5", "6", "7"]


def test_check_config_says_valid_or_names_the_key(tiny_bundle: Bundle, tmp_path: Path) -> None:
    file = station(tmp_path, tiny_bundle.path)
    (tmp_path / "camera").mkdir()
    assert edge("check-config", file).stdout.endswith("valid\n")
    file.write_text(file.read_text().replace("rate_hz = 1", "rate_hz = -1"))
    assert "trigger.rate_hz" in complained(edge("check-config", file), status=2)
    assert "absent.toml" in complained(edge("check-config", tmp_path / "absent.toml"), status=2)


def test_check_config_warns_of_a_stream_whose_damage_may_pass_unseen(tiny_bundle: Bundle, tmp_path: Path) -> None:
    file = station(tmp_path, tiny_bundle.path)
    text = file.read_text()
    for source, warns in (("rtsp://10.0.0.7/1", True), ("http://10.0.0.7/video.cgi", False), ("/dev/video0", False)):
        camera = {"type": "video", "source": source, "fps": 25, "latency_ms": 100}
        lines = "\n".join(f"{key} = {json.dumps(value)}" for key, value in camera.items())
        file.write_text(text.replace('type = "folder"\npath = "camera"', lines))
        result = edge("check-config", file)
        assert result.returncode == 0
        assert ("only damage that the decoder reports is seen" in result.stdout) is warns


def test_page_refuses_a_bad_station(tmp_path: Path) -> None:
    assert "absent.toml" in complained(edge("page", "--config", tmp_path / "absent.toml"), status=2)


def test_doctor_prints_facts_and_finds_a_bad_bundle(tiny_bundle: Bundle, tmp_path: Path) -> None:
    file = station(tmp_path, tiny_bundle.path)
    engine = StandIn(tmp_path, tiny_bundle)
    engine.start()
    result = edge("doctor", "--config", file)
    engine.stop()
    assert result.returncode == 0
    for word in ("openvino", "cpu", "cameras", tiny_bundle.title, "writable", "history"):
        assert word in result.stdout
    file.write_text(file.read_text().replace(str(tiny_bundle.path), "nowhere"))
    result = edge("doctor", "--config", file)
    assert result.returncode == 1
    assert "WRONG" in result.stdout
    assert edge("doctor").returncode == 0


@pytest.mark.parametrize("arguments", [(), ("fly",), ("inspect",), ("run",), ("inspect", "--bundle", "b")])
def test_a_wrong_command_line_is_status_2_without_a_traceback(arguments: tuple[str, ...]) -> None:
    result = edge(*arguments)
    assert result.returncode == 2
    assert "Traceback" not in result.stderr
    assert "linewatch" in result.stderr
