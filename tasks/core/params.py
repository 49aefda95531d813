"""Reads params.yaml into typed, validated classes. Errors name the line, the key and the remedy."""

from __future__ import annotations

import copy
import re
from collections.abc import Iterator, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any, Self, TypedDict, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError
from pydantic.fields import FieldInfo
from ruamel.yaml import YAML
from ruamel.yaml.comments import CommentedMap
from ruamel.yaml.error import YAMLError

from tasks.core.errors import ParamsError
from tasks.core.near_names import did_you_mean

PARAMS_FILE = Path("params.yaml")
PINS = Path("data/pins.json")  # registry versions resolved when the flow started; null if not used
HEIF = "heif"  # key in pins.json: the version of pillow-heif, with which ingest reads more images
INIT = "init"  # key in pins.json: the registered version whose backbone is the starting point
CHOICE = "choice"  # key in pins.json: the backbone chosen for the images, which later runs keep
Model = TypeVar("Model", bound=BaseModel)


class Fault(TypedDict):
    """A validation error: the part of pydantic's ErrorDetails that is used here."""

    type: str
    loc: tuple[int | str, ...]
    msg: str
    input: Any


class Section(BaseModel):
    """A section of params.yaml. Instances are frozen; unknown keys, NaN and infinity are errors."""

    model_config = ConfigDict(frozen=True, extra="forbid", coerce_numbers_to_str=True, allow_inf_nan=False)


class StageParams(Section):
    """The parameters of one stage. Its fields are the sections and dotted keys that dvc.yaml declares for the stage."""

    @classmethod
    def load(cls, file: Path = PARAMS_FILE) -> Self:
        """Reads the keys of this class from `file`. Raises ParamsError naming the line of each fault."""
        return cls.of(read_document(file), file)

    @classmethod
    def of(cls, document: CommentedMap, file: Path = PARAMS_FILE) -> Self:
        """Validates a document read from `file`. Raises ParamsError naming the line of each fault."""
        return validated(cls, dict(values_of(document, cls.sections())), document, file)

    @classmethod
    def sections(cls) -> tuple[str, ...]:
        """Returns the keys of params.yaml that this class reads: sections, or dotted names of single parameters."""
        return tuple(field.alias or name for name, field in cls.model_fields.items())


def values_of(document: CommentedMap, keys: Sequence[str]) -> Iterator[tuple[str, Any]]:
    """Yields the keys that the document has, with their values."""
    for key in keys:
        section, _, name = key.partition(".")
        node = document.get(section)
        if not name and section in document:
            yield key, node
        elif isinstance(node, CommentedMap) and name in node:
            yield key, node[name]


def read_document(file: Path) -> CommentedMap:
    """Reads params.yaml with comments and line numbers. Raises ParamsError if it is missing or not a YAML mapping."""
    try:
        document = copy.deepcopy(_parsed(file.read_text(encoding="utf-8")))
    except FileNotFoundError:
        raise ParamsError(
            f"{file} is missing; run from the repository's root, or restore it: git checkout {file}",
            key="params-missing",
        ) from None
    except UnicodeDecodeError as error:
        raise ParamsError(
            f"{file} is not UTF-8 ({error}); save it as UTF-8, or restore it: git checkout {file}",
            key="params-encoding",
        ) from None
    except YAMLError as error:
        raise ParamsError(f"{file} is not valid YAML: {error}", key="params-syntax") from None
    if not isinstance(document, CommentedMap):
        raise ParamsError(
            f"{file} must be a mapping of sections; restore it: git checkout {file}", key="params-not-a-mapping"
        )
    return document


@lru_cache(maxsize=1)
def _parsed(text: str) -> Any:  # noqa: ANN401 - any YAML value
    """Parses YAML with comments, which takes longer than copying the result: a process does it once."""
    return YAML().load(text)


def validated(model: type[Model], values: Any, document: CommentedMap, file: Path) -> Model:  # noqa: ANN401
    """Validates `values` as `model`. Raises ParamsError naming the line and key of each fault."""
    try:
        return model.model_validate(values)
    except ValidationError as error:
        faults = error.errors()
        lines = [_explain(model, fault, document, file) for fault in faults]
        raise ParamsError("\n".join(lines), key=_key(faults[0])) from None


def _explain(model: type[BaseModel], fault: Fault, document: CommentedMap, file: Path) -> str:
    key, loc, message = _key(fault), fault["loc"], _message(fault)
    if not loc:
        return f"{file} line {_line(document, tuple(key.split('.')))}: {message}"
    meaning = _meaning(model, loc)
    near = did_you_mean(*_misspelling(model, fault))
    return f"{file} line {_line(document, loc)}: {key}: {message}" + (f" ({meaning})" if meaning else "") + near


def _misspelling(model: type[BaseModel], fault: Fault) -> tuple[str, list[str]]:
    """Returns the wrong key or value of a fault, and the names that are allowed there."""
    if fault["type"] in {"enum", "literal_error"}:
        return str(fault["input"]), re.findall(r"'([^']+)'", fault["msg"])
    if fault["type"] == "extra_forbidden":
        *section, key = fault["loc"]
        field = field_at(model, section)
        names = getattr(field.annotation if field else model, "model_fields", {})
        return str(key), [each.alias or name for name, each in names.items()]
    return "", []


def _key(fault: Fault) -> str:
    """Returns the dotted name of the invalid parameter.

    Errors from a model validator have no location, so their message names the parameter.
    """
    return ".".join(map(str, fault["loc"])) or _message(fault).partition(":")[0]


def _message(fault: Fault) -> str:
    return fault["msg"].removeprefix("Value error, ")


def _line(document: CommentedMap, loc: tuple[int | str, ...]) -> int:
    """Returns the 1-based line of the deepest part of `loc` that exists in the document."""
    line, node = 1, document
    for part in (*str(loc[0]).split("."), *loc[1:]):
        if not isinstance(node, CommentedMap) or part not in node:
            break
        line = node.lc.key(part)[0] + 1
        node = node[part]
    return line


def _meaning(model: type[BaseModel], loc: tuple[int | str, ...]) -> str | None:
    """Returns the description of the parameter at `loc`."""
    field = field_at(model, loc)
    return field.description if field else None


def field_at(model: type[BaseModel], loc: Sequence[int | str]) -> FieldInfo | None:
    """Returns the field that the keys in `loc` lead to, or None."""
    current: Any = model
    for part in loc[:-1]:
        field = _field(current, part)
        if field is None or not hasattr(field.annotation, "model_fields"):
            return None
        current = field.annotation
    return _field(current, loc[-1]) if loc else None


def _field(model: type[BaseModel], key: int | str) -> FieldInfo | None:
    fields = {field.alias or name: field for name, field in model.model_fields.items()}
    return fields.get(str(key))
