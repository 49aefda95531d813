"""params.yaml, read once, typed and checked; an error names the line and the remedy."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Self, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError
from pydantic.fields import FieldInfo
from ruamel.yaml import YAML
from ruamel.yaml.comments import CommentedMap
from ruamel.yaml.error import YAMLError

from tasks.core.errors import ParamsError

PARAMS_FILE = Path("params.yaml")
PINS = Path("data/pins.json")  # what the registry said when the flow started; null for what nothing asks for
Model = TypeVar("Model", bound=BaseModel)


class Section(BaseModel):
    """A section of params.yaml: frozen, and it refuses keys that it does not know."""

    model_config = ConfigDict(frozen=True, extra="forbid", coerce_numbers_to_str=True)


class StageParams(Section):
    """What one stage reads of params.yaml: its fields are the top-level keys that dvc.yaml declares for it."""

    @classmethod
    def load(cls, file: Path = PARAMS_FILE) -> Self:
        """Reads the keys of this class. Raises ParamsError naming the line of what is wrong."""
        return cls.of(read_document(file), file)

    @classmethod
    def of(cls, document: CommentedMap, file: Path = PARAMS_FILE) -> Self:
        """From a document that was read from `file`. Raises ParamsError naming the line of what is wrong."""
        return validated(cls, {key: document[key] for key in cls.sections() if key in document}, document, file)

    @classmethod
    def sections(cls) -> tuple[str, ...]:
        """The top-level keys of params.yaml that this class reads."""
        return tuple(field.alias or name for name, field in cls.model_fields.items())


def read_document(file: Path) -> CommentedMap:
    """params.yaml with its comments and line numbers. Raises ParamsError if it is missing or not a YAML mapping."""
    try:
        document = YAML().load(file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ParamsError(
            f"{file} is missing; run from the repository's root, or restore it: git checkout {file}"
        ) from None
    except UnicodeDecodeError as error:
        raise ParamsError(f"{file} is not UTF-8 ({error}); save it so, or restore it: git checkout {file}") from None
    except YAMLError as error:
        raise ParamsError(f"{file} is not valid YAML: {error}") from None
    if not isinstance(document, CommentedMap):
        raise ParamsError(f"{file} must be a mapping of sections; restore it: git checkout {file}")
    return document


def validated(model: type[Model], values: Any, document: CommentedMap, file: Path) -> Model:  # noqa: ANN401
    """`values` as `model`. Raises ParamsError with line, key and remedy of each fault."""
    try:
        return model.model_validate(values)
    except ValidationError as error:
        faults = [_explain(model, fault["loc"], fault["msg"], document, file) for fault in error.errors()]
        raise ParamsError("\n".join(faults)) from None


def _explain(
    model: type[BaseModel], loc: tuple[int | str, ...], message: str, document: CommentedMap, file: Path
) -> str:
    message = message.removeprefix("Value error, ")
    if not loc:  # values do not go together: the message begins with one of them
        return f"{file} line {_line(document, tuple(message.partition(':')[0].split('.')))}: {message}"
    key = ".".join(str(part) for part in loc)
    meaning = _meaning(model, loc)
    return f"{file} line {_line(document, loc)}: {key}: {message}" + (f" ({meaning})" if meaning else "")


def _line(document: CommentedMap, loc: tuple[int | str, ...]) -> int:
    """The 1-based line of the deepest part of `loc` that the document has."""
    line, node = 1, document
    for part in loc:
        if not isinstance(node, CommentedMap) or part not in node:
            break
        line = node.lc.key(part)[0] + 1
        node = node[part]
    return line


def _meaning(model: type[BaseModel], loc: tuple[int | str, ...]) -> str | None:
    """What the parameter at `loc` is for, as its class says."""
    field = field_at(model, loc)
    return field.description if field else None


def field_at(model: type[BaseModel], loc: Sequence[int | str]) -> FieldInfo | None:
    """The field that these keys lead to, if there is one."""
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


INIT = "init"  # the earlier model whose backbone this one starts from
