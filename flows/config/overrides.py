"""Command-line overrides, written to params.yaml so that the file always shows the parameters of the last run."""

from __future__ import annotations

import difflib
import io
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.comments import CommentedMap
from ruamel.yaml.error import YAMLError

from flows.config.parameters import FlowParams, check
from flows.local.lock import flow_lock
from tasks.core.errors import EXIT_USAGE, ParamsError, as_user_error
from tasks.core.files import replacing, write_text
from tasks.core.near_names import did_you_mean
from tasks.core.params import PARAMS_FILE, field_at, read_document
from tasks.core.paths import PathsParams
from tasks.core.redaction import redact

NULL = "tag:yaml.org,2002:null"
NULLS = ("", "null", "~")
PRESET = "preset"
USAGE = "give overrides as pairs --section.key value, such as --data.source ../my-images"


Check = Callable[[FlowParams], None]


@dataclass
class Tentative:
    """Overrides on trial: they are taken back if the command fails before anything has run with them."""

    kept: bool = False


_TENTATIVE: ContextVar[Tentative | None] = ContextVar("tentative", default=None)


@contextmanager
def overridden(arguments: Sequence[str], what: str, check_more: Check = lambda _params: None) -> Iterator[None]:
    """Applies overrides to params.yaml, prints the changes, and holds the checkout's lock until the block ends.

    Restores params.yaml if the block fails before it calls `keep`, or later because of a parameter. Raises
    RootstockError if another flow holds the lock, and ParamsError, before writing, for overrides that are invalid or
    fail `check_more`.
    """
    with flow_lock(PathsParams.load().paths.state, what):
        if not arguments:
            yield
            return
        before, tentative = PARAMS_FILE.read_bytes(), Tentative()
        token = _TENTATIVE.set(tentative)
        try:
            print(apply(arguments, PARAMS_FILE, check_more), end="", flush=True)
            yield
        except Exception as error:
            if not tentative.kept or getattr(as_user_error(error), "exit_code", None) == EXIT_USAGE:
                _take_back(before)
            raise
        finally:
            _TENTATIVE.reset(token)


def keep() -> None:
    """Keeps the overrides of this command from now on, since something is about to run with them."""
    if tentative := _TENTATIVE.get():
        tentative.kept = True


def _take_back(before: bytes) -> None:
    if PARAMS_FILE.read_bytes() != before:
        with replacing(PARAMS_FILE) as beside:
            beside.write_bytes(before)
        print(f"{PARAMS_FILE} is as before: the overrides were taken back", flush=True)


def apply(arguments: Sequence[str], file: Path = PARAMS_FILE, check_more: Check = lambda _params: None) -> str:
    """Writes `--section.key value` pairs to params.yaml, keeping its comments.

    Returns the diff, empty if unchanged, without credentials in addresses. Raises ParamsError, and writes nothing, for
    an unknown key or a value that is not allowed or fails `check_more`.
    """
    values: dict[str, Any] = {}
    for name, text in _pairs(arguments):
        values |= _preset(text, file) if name == PRESET else {name: _value(name, text)}
    return write_values(values, file, check_more)


def _preset(name: str, file: Path) -> dict[str, Any]:
    """Returns the overrides of a preset in params.yaml. Raises ParamsError, listing the presets, if it is unknown."""
    presets = read_document(file).get("presets", {})
    if name not in presets:
        remedy = did_you_mean(name, presets) or f"; it has {', '.join(presets)}"
        raise ParamsError(f"--preset {name}: {file} has no such preset{remedy}", key=PRESET)
    return dict(presets[name])


def write_values(values: Mapping[str, Any], file: Path = PARAMS_FILE, check_more: Check = lambda _params: None) -> str:
    """Writes values by dotted name to params.yaml; otherwise like `apply`."""
    before = file.read_text(encoding="utf-8") if file.exists() else ""
    document = read_document(file)
    for name, value in values.items():
        _set(document, name, value)
    after = io.StringIO()
    yaml = YAML()
    yaml.representer.add_representer(type(None), lambda representer, _: representer.represent_scalar(NULL, "null"))
    yaml.width = 10_000
    yaml.indent(mapping=2, sequence=4, offset=2)
    yaml.dump(document, after)
    check_more(check(document, file))
    if after.getvalue() == before or not values:
        return ""
    write_text(file, after.getvalue())
    lines = difflib.unified_diff(before.splitlines(True), after.getvalue().splitlines(True), "before", file.name, n=0)
    return redact("".join(lines))


def _pairs(arguments: Sequence[str]) -> list[tuple[str, str]]:
    names, values = arguments[::2], arguments[1::2]
    if len(names) != len(values) or not all(name.startswith("--") for name in names):
        raise ParamsError(f"cannot read {' '.join(arguments)}: {USAGE}", key="usage")
    return [(name.removeprefix("--"), value) for name, value in zip(names, values, strict=True)]


def _value(name: str, text: str) -> Any:  # noqa: ANN401 - any YAML value
    """Parses the text as YAML. For a parameter of type str, the text is the value unless it is null or quoted."""
    if _is_text(name) and text not in NULLS and text[0] not in "'\"":
        return text
    try:
        return YAML(typ="safe", pure=True).load(text)
    except (YAMLError, ValueError):  # ValueError: a date that does not exist
        raise ParamsError(f"--{name}: {text!r} is not a YAML value", key=name) from None


def _is_text(name: str) -> bool:
    """Returns whether the parameter's type is str or str | None."""
    field = field_at(FlowParams, name.split("."))
    annotation: Any = field.annotation if field else None
    return annotation is str or annotation == str | None


def _set(document: CommentedMap, name: str, value: Any) -> None:  # noqa: ANN401
    *sections, key = name.split(".")
    node: Any = document
    for section in sections:
        node = node.get(section) if isinstance(node, CommentedMap) else None
    if not isinstance(node, CommentedMap) or key not in node:
        remedy = did_you_mean(name, _names(document)) or f": {USAGE}"
        raise ParamsError(f"params.yaml has no {name}{remedy}", key=name)
    node[key] = value


def _names(node: CommentedMap, prefix: str = "") -> list[str]:
    names = []
    for key, value in node.items():
        names += _names(value, f"{prefix}{key}.") if isinstance(value, CommentedMap) else [f"{prefix}{key}"]
    return names
