"""List what an installation archive holds: sbom.json (CycloneDX 1.6), and the licences of every package.

The folder holds linewatch-*.whl and wheels/*.whl; the facts are those of the wheels themselves.
"""

from __future__ import annotations

import hashlib
import json
import sys
import zipfile
from email.parser import Parser
from pathlib import Path
from typing import Any

LICENCE_WORDS = ("licen", "copying", "notice", "authors")
LARGEST = 4 * 1024 * 1024  # bytes of one licence


def main(folder: Path) -> None:
    """Write sbom.json and licences/ into the folder."""
    wheels = [*folder.glob("*.whl"), *(folder / "wheels").glob("*.whl")]
    components = sorted((_component(wheel, folder / "licences") for wheel in wheels), key=lambda one: one["purl"])
    sbom = {"bomFormat": "CycloneDX", "specVersion": "1.6", "version": 1, "components": components}
    (folder / "sbom.json").write_text(json.dumps(sbom, indent=1) + "\n", encoding="utf-8")


def _component(wheel: Path, licences: Path) -> dict[str, Any]:
    """Return the entry of one wheel, and write its licences below its name."""
    with zipfile.ZipFile(wheel) as archive:
        names = sorted(archive.namelist())
        metadata = next(name for name in names if name.endswith(".dist-info/METADATA") and name.count("/") == 1)
        facts = Parser().parsestr(archive.read(metadata).decode("utf-8", "replace"), headersonly=True)
        for name in names:
            if _is_licence(name) and archive.getinfo(name).file_size <= LARGEST:
                target = licences / str(facts["Name"]) / name.partition("/")[2].replace("/", "_")
                target.parent.mkdir(parents=True, exist_ok=True)
                target.write_bytes(archive.read(name))
    name, version = str(facts["Name"]), str(facts["Version"])
    component: dict[str, Any] = {
        "type": "application" if name == "linewatch" else "library",
        "name": name,
        "version": version,
        "purl": f"pkg:pypi/{name.lower().replace('_', '-').replace('.', '-')}@{version}",
        "hashes": [{"alg": "SHA-256", "content": hashlib.sha256(wheel.read_bytes()).hexdigest()}],
    }
    expression, words = facts["License-Expression"], facts["License"]
    if expression:
        component["licenses"] = [{"expression": str(expression)}]
    elif words and len(str(words)) < 100:
        component["licenses"] = [{"license": {"name": str(words)}}]
    elif known := [one for one in facts.get_all("Classifier", []) if one.startswith("License ::")]:
        component["licenses"] = [{"license": {"name": one.split(" :: ")[-1]}} for one in known]
    return component


def _is_licence(name: str) -> bool:
    near = ".dist-info/" in name or name.count("/") == 1
    return near and not name.endswith((".py", "/")) and any(word in Path(name).name.lower() for word in LICENCE_WORDS)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
