"""The registered model answers what stands for an image in Python and in all JSON forms, each row by itself."""

from __future__ import annotations

import asyncio
import base64
import io
import json
from pathlib import Path
from types import SimpleNamespace

import httpx
import mlflow
import numpy as np
import pandas as pd
import pytest
from mlflow.pyfunc import scoring_server
from PIL import Image

from flows.registry import register
from flows.registry.logged_model import signature_of
from tasks.core.target import TargetKind, TargetSpec
from tasks.serving.golden import Golden
from tests.flows.registry.conftest import PICTURES
from tests.registered.drawing import SHAPES

COLUMNS = ["label", "probability", "confident", "distribution", "error"]


@pytest.fixture(scope="module")
def memory():
    return {}


@pytest.fixture
def registered(memory, request):
    """Returns a model, its golden picture and its example for servers, made once for all tests."""
    if not memory:
        stored = request.getfixturevalue("stored")
        memory["model"] = loaded(request.getfixturevalue("version"))
        memory["golden"] = Golden.read(stored / "artifacts")
        memory["sent"] = json.loads((stored / "serving_input_example.json").read_text())
    return SimpleNamespace(**memory)


@pytest.fixture
def model(registered):
    return registered.model


def loaded(version):
    return mlflow.pyfunc.load_model(f"models:/rootstock/{version.version}")


@pytest.fixture
def ask(model, monkeypatch):
    """Returns a function that sends JSON to MLflow's server and returns the predictions."""
    monkeypatch.setenv("_MLFLOW_IS_IN_SERVING_ENVIRONMENT", "false")  # which init sets
    transport = httpx.ASGITransport(scoring_server.init(model))

    async def post(form):
        async with httpx.AsyncClient(transport=transport, base_url="http://model") as server:
            return await server.post("/invocations", json=form)

    def predictions(**form):
        answer = asyncio.run(post(form))
        assert answer.status_code == 200, answer.text
        return json.loads(answer.text, parse_constant=lambda name: pytest.fail(f"{name} is not JSON"))["predictions"]

    return predictions


def text(picture: bytes) -> str:
    return base64.b64encode(picture).decode()


def answers(model, *values) -> pd.DataFrame:
    return model.predict(pd.DataFrame({"image": list(values)}))


def pil(picture: bytes) -> Image.Image:
    return Image.open(io.BytesIO(picture))


def test_answers_have_the_columns_and_types_of_versions_before_and_no_error(model):
    rows = answers(model, *PICTURES)
    assert list(rows.columns) == COLUMNS
    assert (rows["probability"].dtype, rows["confident"].dtype) == (np.float64, np.bool_)
    assert rows["error"].isna().all()
    assert [column.name for column in model.metadata.signature.outputs] == COLUMNS
    assert list(model.predict(pd.DataFrame({"image": []})).columns) == COLUMNS


def test_bytes_base64_paths_and_pil_images_get_the_same_answer(model, tmp_path):
    file = tmp_path / "picture"
    file.write_bytes(PICTURES[3])
    lines = base64.encodebytes(PICTURES[3]).decode()
    url = f"data:image/png;base64,{text(PICTURES[3])}"
    rows = answers(model, PICTURES[3], bytearray(PICTURES[3]), text(PICTURES[3]), lines, url, file, pil(PICTURES[3]))
    assert rows["error"].isna().all()
    assert all(row == rows["distribution"][0] for row in rows["distribution"])
    for one in ({"image": PICTURES[3]}, pd.Series([PICTURES[3]], name="image")):
        pd.testing.assert_frame_equal(model.predict(one), rows[:1])


def test_pil_images_are_encoded_without_loss_and_with_their_orientation(model):
    exif = Image.Exif()
    exif[274] = 6
    for mode in ("1", "L", "LA", "P", "I;16", "RGB", "RGBA", "CMYK"):
        image, file = pil(PICTURES[0]).resize((40, 20)).convert("L" if mode == "I;16" else mode), io.BytesIO()
        image.convert(mode).save(file, "TIFF" if mode == "CMYK" else "PNG", exif=exif)
        rows = answers(model, file.getvalue(), pil(file.getvalue()))
        assert (pil(file.getvalue()).mode, rows["error"].isna().all()) == (mode, True)
        assert rows["distribution"][0] == rows["distribution"][1]


BROKEN = [
    (None, "no image"),
    (float("nan"), "no image"),
    (7, "a value of type int"),
    ("picture.jpg", "not base64"),
    ("data:text/plain,picture", "not base64"),
    ("", "an empty file"),
    (PICTURES[1][:60], "broken image: image file is truncated"),
    (b"picture", "not an image but"),
    (Path("/absent/picture.jpg"), "picture.jpg cannot be read: No such file"),
    (Path("/"), "cannot be read: Is a directory"),
    (Image.new("I", (9, 9)), "32 bits"),
    (Image.new("HSV", (9, 9)), "broken image"),
]


def test_broken_pictures_among_good_ones_get_errors_and_these_their_answers(model):
    good = answers(model, *PICTURES).to_dict("records")
    rows = answers(model, *(broken for broken, _ in BROKEN)).to_dict("records")
    for (broken, reason), row in zip(BROKEN, rows, strict=True):
        between = answers(model, PICTURES[0], broken, PICTURES[1]).to_dict("records")
        assert [between[0], between[2]] == good[:2]
        assert between[1] == row == {**dict.fromkeys(COLUMNS), "error": row["error"]}
        assert reason in row["error"]
        assert "absent" not in row["error"]


def test_all_json_forms_are_answered_alike(ask, model):
    first, second = text(PICTURES[0]), base64.encodebytes(PICTURES[1]).decode()
    for texts in ([first], [first, second], [first, "no base64", second], [first, None]):
        records = [{"image": each} for each in texts]
        forms = [
            {"dataframe_split": {"columns": ["image"], "data": [[each] for each in texts]}},
            {"dataframe_records": records},
            *({"instances": records}, {"instances": texts}, {"instances": {"image": texts}}),
            *({"inputs": records}, {"inputs": texts}, {"inputs": {"image": texts}}),
        ]
        expected = answers(model, *texts).to_dict("records")
        assert [ask(**form) for form in forms] == [expected] * len(forms)
    assert ask(inputs={"image": first}) == answers(model, first).to_dict("records")


def test_a_text_never_opens_a_file(ask, tmp_path, monkeypatch):
    """Even if it is base64 too."""
    (tmp_path / "file").write_bytes(PICTURES[0])
    monkeypatch.chdir(tmp_path)
    rows = ask(inputs=[str(tmp_path / "file"), "file", (tmp_path / "file").as_uri()])
    assert [row["label"] for row in rows] == [None] * 3
    assert not any("tmp" in row["error"] for row in rows)


def test_the_example_is_the_golden_picture_and_can_be_sent_as_it_is_stored(ask, registered):
    model, golden, sent = registered.model, registered.golden, registered.sent
    assert list(sent) == ["dataframe_split"]
    for rows in (ask(**sent), model.predict(model.input_example).iloc, answers(model, golden.picture).iloc):
        assert golden.difference(rows[0]) < register.TOLERANCE


def test_a_version_without_a_golden_picture_has_no_example(evaluated, monkeypatch, request, recwarn):
    monkeypatch.setattr(register, "golden_of", lambda _paths, _rows: None)
    stored = request.getfixturevalue("stored")
    assert not [file for file in stored.rglob("*") if "example" in file.name or "golden" in file.name]
    assert not [each for each in recwarn if "example" in str(each.message)]
    model = loaded(request.getfixturevalue("version"))
    assert answers(model, PICTURES[0])["label"][0] in SHAPES


def test_targets_keep_their_names():
    def names(*targets):
        outputs = signature_of(TargetSpec(TargetKind.REGRESSION, targets=targets)).outputs
        return [(column.name, column.required) for column in outputs]

    assert names("w") == [("w", True), ("error", False)]
    assert names("error") == [("error", True), ("reason", False)]
