from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from typing import Any, get_args, get_origin

import pytest
from pydantic import ValidationError

from flows.config.parameters import FlowParams, check, load, stage_params
from tasks.core.errors import ParamsError
from tasks.core.params import Section, read_document
from tasks.core.schema import STAGES
from tests.errors import raises
from tests.project import ROOT

NOT_FINITE = (float("nan"), float("inf"), float("-inf"), "nan", "inf")  # the texts, as on the command line


def sections_in(annotation: Any) -> Iterator[type[Section]]:
    """Yields the classes of sections in a type, and the classes of their sections."""
    if isinstance(annotation, type) and issubclass(annotation, Section):
        yield annotation
        for field in annotation.model_fields.values():
            yield from sections_in(field.annotation)
    for part in get_args(annotation):
        yield from sections_in(part)


def holds_float(annotation: Any) -> bool:
    return annotation is float or any(holds_float(part) for part in get_args(annotation))


@cache
def float_fields() -> dict[str, tuple[type[Section], str]]:
    """Returns the fields of all sections of params.yaml that hold a float, or several."""
    roots = [FlowParams, *map(stage_params, STAGES)]
    classes = {section for root in roots for section in sections_in(root)}
    fields = [(section, *item) for section in classes for item in section.model_fields.items()]
    return {f"{of.__name__}.{name}": (of, name) for of, name, field in fields if holds_float(field.annotation)}


def shaped(annotation: Any, value: object) -> object:
    """Returns the value as a field of this type holds it: alone, in a tuple, or in a mapping of metrics."""
    return {tuple: (value,), dict: {"accuracy": value}}.get(get_origin(annotation), value)


def test_no_parameter_is_nan_or_infinite():
    """An infinite margin would let every model pass, and nothing is below a limit that is NaN."""
    assert len(float_fields()) > 50
    for name, (section, field) in float_fields().items():
        for value in NOT_FINITE:
            with pytest.raises(ValidationError) as caught:
                section.model_validate({field: shaped(section.model_fields[field].annotation, value)})
            faults = {fault["type"] for fault in caught.value.errors() if fault["loc"][0] == field}
            assert "finite_number" in faults, f"{name}: {value}"


@pytest.mark.parametrize("value", NOT_FINITE)
def test_a_limit_that_is_not_finite_is_refused_by_name(value):
    document = read_document(ROOT / "params.yaml")
    document["gate"]["margin"] = value
    with raises(ParamsError, "gate.margin") as caught:
        check(document)
    assert "finite number" in str(caught.value)


def test_an_unknown_section_is_refused(tmp_path):
    text = (ROOT / "params.yaml").read_text().replace("seed: 0", "sead: 0", 1)
    (tmp_path / "params.yaml").write_text(text)
    with raises(ParamsError, "sead") as caught:
        load(tmp_path / "params.yaml")
    assert f"line {text[: text.index('sead')].count(chr(10)) + 1}:" in str(caught.value)


def test_a_head_that_cannot_be_fine_tuned_is_refused():
    document = read_document(ROOT / "params.yaml")
    document["head"]["kind"] = "knn"
    with raises(ParamsError, "finetune.epochs"):
        check(document)
    document["finetune"]["epochs"] = 0
    check(document)
