"""The parameter form of a deployed retraining: every parameter is typed and defaults to its value in params.yaml."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from copy import copy
from typing import Any

from pydantic import BaseModel, create_model
from pydantic.fields import FieldInfo

from flows.config.parameters import FlowParams, stage_params
from tasks.core.params import PARAMS_FILE, Section, StageParams, read_document
from tasks.core.schema import STAGES

FIXED = {
    "compare",
    "gate",
    "paths",
    "presets",
    "pretrain",
    "predict",
    "retention",
    "serve",
    "up",
}  # not part of the form


def form() -> type[Section]:
    """Returns a class with a field for each section of params.yaml. Defaults are the current values.

    Raises ParamsError if params.yaml is not valid.
    """
    document = read_document(PARAMS_FILE)
    fields: dict[str, tuple[FieldInfo, Any]] = {}
    classes: list[type[StageParams]] = [FlowParams, *(stage_params(stage) for stage in STAGES)]
    for params in classes:
        typed = params.of(document)
        for name, field in params.model_fields.items():
            if (key := field.alias or name) not in FIXED and "." not in key:  # a dotted key is in its section
                fields[name] = (field, getattr(typed, name))
    return _with_defaults("Parameters", Section, fields)


def _with_defaults(name: str, base: type[Section], fields: Mapping[str, tuple[FieldInfo, Any]]) -> type[Section]:
    """Returns a subclass of `base` in which these fields, and recursively those of sections, have defaults."""
    definitions = {key: _field(field, value) for key, (field, value) in fields.items()}
    model: type[Section] = create_model(name, __base__=base, **definitions)  # type: ignore[call-overload]
    return model


def _field(field: FieldInfo, value: Any) -> tuple[Any, FieldInfo]:  # noqa: ANN401 - any YAML value
    kind, default = field.annotation, value
    if isinstance(value, Section):
        inner = {name: (inside, getattr(value, name)) for name, inside in type(value).model_fields.items()}
        kind = _with_defaults(type(value).__name__, type(value), inner)
        default = kind()
    copied = copy(field)
    copied.default, copied.annotation = default, kind
    return kind, copied


def changes(requested: BaseModel) -> dict[str, Any]:
    """Returns the requested values that differ from params.yaml, by dotted name."""
    values = requested.model_dump(mode="json", by_alias=True, exclude_unset=True)
    return dict(_changes(values, read_document(PARAMS_FILE), ""))


def _changes(requested: Mapping[str, Any], current: Mapping[str, Any], prefix: str) -> Iterator[tuple[str, Any]]:
    for key, value in requested.items():
        if isinstance(value, Mapping) and isinstance(current.get(key), Mapping):
            yield from _changes(value, current[key], f"{prefix}{key}.")
        elif current.get(key) != value:
            yield f"{prefix}{key}", value
