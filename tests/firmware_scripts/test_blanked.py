"""What collect-logs.sh hides, and what it must leave."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).resolve().parents[2] / "firmware_scripts/blanked.py"


def blanked(text: str) -> str:
    done = subprocess.run([sys.executable, SCRIPT], input=text, capture_output=True, text=True, timeout=30, check=True)
    return done.stdout


SECRETS = {
    "the query of an address": "rtsp://cam/s?user=a&pwd=hunter2",
    "a key in the query": "camera http://cam/?key=hunter2 does not answer",
    "the path of an address": 'source = "rtsp://cam/hunter2/1"',
    "a slash in the password": 'source = "rtsp://viewer:hun/ter2@cam/1"',
    "an @ in the password": 'source = "rtsp://viewer:hun@ter2@cam/1"',
    "an @ in a path": 'source = "rtsp://cam/x@hunter2"',
    "a space in the password": 'source = "rtsp://viewer:hun ter2@cam/1"',
    "a quote in the password": "source = 'rtsp://viewer:hun\"ter2@cam/1'",
    "a space in the path": 'source = "http://cam/a hunter2"',
    "an address without a host": "rtsp://viewer:hunter2",
    "an escaped address": r"http:\/\/viewer:hunter2@cam\/x",
    "signs around an address": "a;rtsp://cam/hunter2 |http://cam/hunter2| x:rtsp://cam/hunter2 _x://cam/hunter2",
    "a scheme in the password": "rtsp://viewer:hunter2://@cam/1",
    "a slash too few": 'source = "http:/cam/hunter2"',
    "two addresses": "rtsp://a:hunter2@cam/1 and rtsp://b:hunter2@cam/2",
    "an address without a scheme": "viewer:hun/ter2@cam",
    "a misspelt address": 'source = "rtsp//viewer:hun ter2@cam"',
    "a query without an address": "GET /video.cgi?hunter2",
    "a quoted key": '"api key" = "hunter2"',
    "several words": "password = 'one two three'",
    "several words without quotes": "MQTT_PASSWORD=one two three",
    "a quote inside the value": 'password = "hun"ter2"',
    "a comma inside the value": "psk: hun,ter2",
    "an arrow": "private key => hunter2",
    "an escaped name": r"{\"client_secret\": \"hunter2\"}",
    "XML": "<password>hunter2</password>",
    "a pair": "('passwd', 'hunter2')",
    "no sign between": "password 'hunter2' was refused",
    "a header": "Authorization: Digest a, response=hunter2",
    "a header without its name": "sent 'Bearer hunter2hunter2'",
    "a cookie": "Cookie: a=hunter2",
    "an option": "mosquitto_pub --password hunter2",
    "an environment file": "export MQTT_PASS=hunter2 A=b",
    "a unit": "Environment=A=b API_TOKEN=hunter2",
    "several lines": 'password = """\none\ntwo three"""',
    "an address over several lines": "source = '''\nrtsp://viewer:hun\\\nter2@cam'''",
    "a list over several lines": 'tokens = [\n "hunter2",\n "hunter2]"\n]',
    "a value on the next line": "secret: |\n  hunter2",
    "a line that goes on": "A_TOKEN=one \\\n two three",
    "a private key": "-----BEGIN PRIVATE KEY-----\nhunter2\n-----END PRIVATE KEY-----",
    "a line of JSON": '{"a": {"pwd": ["hunter2"]}}\n{"a": {"pwd": ["hunter2"]}}',
    "text in JSON": '{"detail": "line 1: password = hunter2\\nrtsp://a:hunter2@b"}',
    "a person in JSON": '{"commissioning": {"who": "hunter2"}, "own_limit": "hunter2, 2026"}',
    "a person in a sentence": "the last act: confirm by hunter2 at 2026-01-01 10:00",
    "an address of mail": "ask hunter2@example.org",
}


@pytest.mark.parametrize("text", [pytest.param(text, id=name) for name, text in SECRETS.items()])
def test_a_secret_is_blanked_and_the_next_line_stays(text: str) -> None:
    shown = blanked(f"{text}\nname = 5\n")
    assert not [one for one in ("hun", "ter2", "three") if one in shown]
    assert shown.endswith("name = 5\n")


def test_what_is_no_secret_stays() -> None:
    text = """name = "bats"
author = "x"; monkey = 5; spinning: 3; camera.source: unknown key; remove it
engine.service: Main process exited, code=exited, status=1/FAILURE
http://127.0.0.1:8080 and rtsp://[fd00::1]:554
"""
    assert blanked(text) == text
    assert "rtsp://***@10.0.0.7:554/... is late" in blanked("rtsp://viewer:hunter2@10.0.0.7:554/1?a=b is late")


def test_json_stays_json() -> None:
    facts = {"works": True, "token": "hunter2", "words": ["http://a:b@c/ is down"], "pin": None, "n": 1.5}
    shown = {"works": True, "token": "***", "words": ["http://***@c is down"], "pin": None, "n": 1.5}
    assert json.loads(blanked(json.dumps(facts))) == shown
