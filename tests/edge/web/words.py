"""Every text of the page that a catalogue has to know, found in the code: `python -m tests.edge.web.words`.

The command adds what is new to each catalogue, with an empty translation, and removes what is not said any more.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import jinja2

from edge.core.catalogue import LANGUAGES, Entry, read_entries
from edge.core.types import Reason
from edge.people.roles import Role

EDGE = Path(__file__).parents[3] / "edge"
STATIC, TEMPLATES = EDGE / "web" / "static", EDGE / "web" / "templates"
LITERAL = r'"((?:[^"\\]|\\.)*)"'
IN_SCRIPT = re.compile(rf"\btn?\(\s*{LITERAL}(?:,\s*{LITERAL})?")
# What says something to a person, in Python: a call, with the number of its arguments before the words ...
CALLS = {
    "abort": 1, "refused": 1, "RefusalError": 2, "ServiceUnavailable": 0, "TrialError": 1, "Unauthorized": 0,
    "UploadError": 1, "Notice": 3, "Words": 1, "_joined": 0, "Verification": 1, "_answer": 1, "_too_large": 0,
    "EngineError": 0, "WrongError": 0, "PeopleError": 0, "ThrottledError": 0, "MaskError": 0, "text": 0, "said": 0,
    "HistoryError": 0, "ExchangeError": 0, "FrameError": 0, "OverrunError": 0, "__init__": 0, "record": 0,
    "record_done": 0,
}  # fmt: skip
# ... or a function or a constant that holds nothing else.
NAMES = {
    "ERRORS", "FACT_NAMES", "STAGES", "TITLES", "UNNAMED", "REJECTED", "STRANGE", "_dry_run", "_drift", "_measured",
    "_output", "_quality", "_rejected", "_self_test", "fact_texts", "_too_large", "busy", "chain_proof", "defect_words",
    "messages", "no_picture", "promises", "reference_facts", "unproven", "version_facts", "verdict_words", "replayed",
    "_refuse_early", "title", "text", "waits", "said", "remedy", "_tested", "form_fault", "order_number", "describe",
    "_deed", "PLAIN",
}  # fmt: skip
# Rooms whose errors and names reach the page.
SAID = {"web", "people", "history", "exchange", "triggers", "proof.py", "decision.py", "shift.py"}
# Of the engine's texts those that answer a command of the page, or say why a model or a limit is refused.
REFUSE = {f"engine/{name}.py" for name in ("inspector", "loop", "pins", "recipes", "station")}
KEYWORDS = {"text", "error", "baseline"}
FORMS = ("1,234.5", "%Y-%m-%d", "English", "{start} to {end}", *["Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun"])
WORDS = (
    "safe", "judges", "not confirmed", "judged before", "of an earlier set-up", "a viewer", "an operator",
    "an engineer", "Early", "Late", "Night", "Order {1}", "anomaly", "bundle", "signed by",
    "a bad part, which would pass", "a good part, which would be rejected", "asked", "trigger", "recipe", "self-test",
    "review", "limit", "order", "seen", "region", "certificate", "replay", "unsure", "refused ({1}): {2}",
    "refused: {1}", "part {1}", "part {1}: {2}", "set-up {1}",
)  # fmt: skip
HEAD = """\
msgid ""
msgstr ""
"Content-Type: text/plain; charset=UTF-8\\n"
"Language: {language}\\n"
"Plural-Forms: nplurals=2; plural=(n != 1);\\n"
"""

Message = tuple[str, ...]  # one text, or one and many


def messages_of_page() -> dict[Message, str]:
    """Return each text with the file that says it."""
    found: dict[Message, str] = {}
    for path in sorted(TEMPLATES.glob("*.html")):
        for one in in_template(path.read_text(encoding="utf-8")):
            found.setdefault(one, path.name)
    for path in sorted(STATIC.glob("*.js")):
        for one in in_script(path.read_text(encoding="utf-8")):
            found.setdefault(one, path.name)
    for path in sorted(EDGE.rglob("*.py")):
        place = path.relative_to(EDGE)
        if SAID & set(place.parts) or place.as_posix() in REFUSE:
            for text in in_python(path.read_text(encoding="utf-8")):
                found.setdefault((text,), path.name)
    closed = [*(reason.value.replace("_", " ") for reason in Reason), *Role, *FORMS, *WORDS]
    return found | {(text,): "words.py" for text in closed if (text,) not in found}


def in_template(text: str) -> Iterator[Message]:
    """Yield what a template says."""
    for _, function, said in jinja2.Environment(autoescape=True, extensions=["jinja2.ext.i18n"]).extract_translations(
        text, ("_", "_n")
    ):
        words = [one for one in ([said] if isinstance(said, str) else said) if isinstance(one, str)]
        yield tuple(words[: 2 if function == "_n" else 1])


def in_script(text: str) -> Iterator[Message]:
    """Yield what a script says."""
    for found in IN_SCRIPT.finditer(text):
        words = tuple(str(ast.literal_eval(f'"{one}"')) for one in found.groups() if one is not None)
        yield words if found[0].startswith("tn") else words[:1]


def in_python(text: str) -> Iterator[str]:
    """Yield the sentences that are composed in English, with numbered holes."""
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Call):
            name = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
            if name in CALLS:
                yield from _strings(*node.args[CALLS[name] :])
            yield from _strings(*(word.value for word in node.keywords if word.arg in KEYWORDS))
        elif isinstance(node, ast.FunctionDef) and node.name in NAMES:
            yield from _strings(*(one for one in node.body if not _is_docstring(one)))
        elif isinstance(node, ast.Assign | ast.AnnAssign) and node.value is not None:
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            if NAMES & {name.id for target in targets for name in ast.walk(target) if isinstance(name, ast.Name)}:
                yield from _strings(node.value)


def _is_docstring(node: ast.AST) -> bool:
    return isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)


def _strings(*nodes: ast.AST) -> Iterator[str]:
    for node in nodes:
        if isinstance(node, ast.JoinedStr):
            yield from _worth(_with_holes(node))
            for part in node.values:
                if isinstance(part, ast.FormattedValue):
                    yield from _strings(part.value)
        elif isinstance(node, ast.Constant):
            if isinstance(node.value, str):
                yield from _worth(node.value)
        elif isinstance(node, ast.Subscript):
            yield from _strings(node.value)
        elif isinstance(node, ast.Dict):
            yield from _strings(*node.values)
        elif isinstance(node, ast.Compare):
            continue
        else:
            yield from _strings(*ast.iter_child_nodes(node))


def _with_holes(node: ast.JoinedStr) -> str:
    number, text = 0, ""
    for part in node.values:
        if isinstance(part, ast.Constant):
            text += str(part.value)
        else:
            number += 1
            text += f"{{{number}}}"
    return text


def _worth(text: str) -> Iterator[str]:
    """Yield a text that holds words; a name in the code, a format and a separator hold none."""
    own = re.sub(r"\{\d\}", "", text)
    letters = len(re.sub(r"[^A-Za-z]", "", own))
    sentence = letters > 5 if own != text else " " in text or re.match(r"[A-Z][a-z]|[A-Z]{4}|[A-Z]{3}-", text)
    if letters > 2 and sentence and text not in {"ERROR", "INFINITY"} and "_" not in own.split()[0]:
        yield text.strip()


def refresh(path: Path) -> tuple[int, int]:
    """Bring a catalogue up to the code; returns how many texts are new and how many went."""
    known: dict[str, Entry] = {entry["msgid"]: entry for entry in read_entries(path)} if path.exists() else {}
    found = messages_of_page()
    lines = path.read_text(encoding="utf-8").split("\n\n")[0].split("\n") if path.exists() else []
    pieces = ["\n".join(lines).strip() or HEAD.format(language=path.stem).strip()]
    by_file = sorted(found.items(), key=lambda one: one[1])
    for message, file in by_file:
        entry = known.get(message[0], {})
        said = [name for name in sorted(entry) if name.startswith("msgstr")]
        text = [f"#: {file}", f"msgid {_quoted(message[0])}"]
        if len(message) > 1:
            text.append(f"msgid_plural {_quoted(message[1])}")
        fresh = ["msgstr"] if len(message) < 2 else ["msgstr[0]", "msgstr[1]"]
        names = said if said and (len(said) > 1) == (len(message) > 1) else fresh
        text += [f"{name} {_quoted(entry.get(name, ''))}" for name in names]
        pieces.append("\n".join(text))
    path.write_text("\n\n".join(pieces) + "\n", encoding="utf-8")
    texts = {message[0] for message in found}
    return len(texts - set(known)), len(set(known) - texts - {""})


def _quoted(text: str) -> str:
    escaped = text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
    return f'"{escaped}"'


if __name__ == "__main__":
    for catalogue_file in sorted(LANGUAGES.glob("*.po")):
        new, gone = refresh(catalogue_file)
        print(f"{catalogue_file.name}: {new} new, {gone} gone")
