"""make predict, with the registered model of a finished project."""

from __future__ import annotations

import re
import shutil
import signal
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pandas as pd
import pytest

from flows.registry.predictions import files_of
from tasks.core.errors import EXIT_BROKEN
from tasks.core.files import read_json
from tasks.scorer.decode import decode
from tests.dask_cluster import dask_cluster
from tests.data.hostile import gray_tags, tiff
from tests.drawn import drawn
from tests.project import Project, environment, wait_until

COLUMNS = ["path", "label", "probability", "confident", "reason", "distribution"]


@pytest.fixture
def finished(finished, tmp_path):
    """Returns the test's own copy of a finished project, in which predictions are stored."""
    return finished.copy(tmp_path / "finished")


@pytest.fixture
def pictures(tmp_path, finished):
    """Returns a folder with the test images, two broken files, and two that are left out."""
    folder = tmp_path / "pictures"
    shutil.copytree(finished.root / "data" / "raw" / "test", folder)
    (folder / "notes.txt").write_text("about")
    (folder / "bar" / "@eaDir").mkdir()
    (folder / "bar" / "@eaDir" / "0.png").touch()
    (folder / "bar" / "broken.png").write_bytes(b"junk")
    (folder / "empty.jpg").touch()
    return folder


def predict(finished, *arguments: object):
    return finished.flows("predict", *map(str, arguments), "--model", "challenger")


def test_a_folder_becomes_tables_and_a_page(finished, pictures, tmp_path):
    out = tmp_path / "out"
    done = predict(finished, pictures, "--out", out)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "12 answers by version 1 of rootstock; 2 broken files and 2 left out" in done.stdout
    table = pd.read_parquet(out / "predictions.parquet")
    assert list(table.columns) == COLUMNS
    reasons = table.dropna(subset="reason").set_index("path")["reason"].to_dict()
    assert list(reasons) == ["bar/broken.png", "empty.jpg", "notes.txt", "bar/@eaDir/0.png"]
    assert reasons["bar/broken.png"].startswith("not an image but text")
    assert reasons["empty.jpg"].startswith("not an image but an empty file")
    assert reasons["notes.txt"] == "left out: not an image (.txt)"
    files = {path.relative_to(pictures).as_posix() for path in pictures.rglob("*") if path.is_file()}
    assert sorted(table["path"]) == sorted(files)
    flat = pd.read_csv(out / "predictions.csv")
    assert list(flat.columns) == COLUMNS[:-1]
    evaluated = pd.read_parquet(finished.root / "data" / "evaluate" / "predictions.parquet")
    both = evaluated.assign(path=evaluated["path"].str.removeprefix("test/")).merge(table, on="path")
    assert (both["predicted"] == both["label_y"]).all()
    apart = np.stack(both["distribution_x"]) - np.stack(both["distribution_y"])
    assert np.abs(apart).max() < 1e-4
    threshold = read_json(finished.root / "data" / "evaluate" / "spec.json")["threshold"]
    assert (both["confident"].astype(bool) == (both["probability_y"] >= threshold)).all()
    page = (out / "predictions.html").read_text()
    assert "bar/broken.png" in page
    assert "http" not in page


def test_a_manifest_names_files_beside_it(finished, pictures, tmp_path):
    manifest = pictures / "some.csv"
    manifest.write_text("path,note\nring/0.png,a\nbar/missing.png,b\n")
    done = predict(finished, manifest, "--out", tmp_path / "out")
    assert "1 answers by version 1 of rootstock; 1 broken files" in done.stdout, done.stdout + done.stderr


def test_names_in_a_manifest_are_texts_and_an_empty_one_is_no_file(tmp_path):
    (tmp_path / "m.csv").write_text("path,n\n001,1\n,2\nNA,3\n")
    assert files_of(tmp_path / "m.csv").files == ["001", "", "NA"]


def test_a_table_is_read_as_in_training(tmp_path):
    (tmp_path / "deep").mkdir()
    drawn("bar", 1).save(tmp_path / "deep" / "a.png")
    (tmp_path / "m.tsv").write_text("image id\tn\ndeep\\a.png\t1\na\t2\n no.png \t3\n")
    (tmp_path / "m.jsonl").write_text('{"n": 1, "shot": "deep/a.png"}\n')
    assert files_of(tmp_path / "m.tsv").files == ["deep/a.png", "deep/a.png", "no.png"]
    assert files_of(tmp_path / "m.jsonl", "shot").files == ["deep/a.png"]
    assert files_of(tmp_path / "m.tsv", "shot").files == files_of(tmp_path / "m.tsv").files


@pytest.mark.slow
def test_predictions_for_another_source_of_the_same_name_go_to_a_separate_folder(finished, pictures, tmp_path):
    """Two simultaneous predictions for one source wait for each other."""
    others = tmp_path / "others" / "pictures"
    shutil.copytree(pictures / "ring", others)
    with ThreadPoolExecutor() as pool:
        done = list(pool.map(lambda source: predict(finished, source), (pictures, pictures)))
    done.append(predict(finished, others))
    assert [one.returncode for one in done] == [0] * 3, [one.stderr for one in done]
    places = [re.search(r"^(.*): predictions\.parquet", one.stdout, re.MULTILINE)[1] for one in done]
    assert places[0] == places[1] == str(finished.root / "data" / "predicted" / "pictures")
    assert places[2].startswith(f"{places[0]}-")
    whole, some = (len(pd.read_parquet(f"{place}/predictions.parquet")) for place in (places[0], places[2]))
    assert whole > some


@pytest.mark.slow
def test_a_checkout_that_was_moved_has_its_models(finished, pictures, tmp_path):
    before = finished.copy(tmp_path / "before")
    assert before.flows("release").returncode == 0  # any command: it records where it runs
    shutil.move(before.root, tmp_path / "now")
    done = predict(Project(tmp_path / "now"), pictures / "ring" / "0.png")
    assert done.returncode == 0, done.stderr
    assert not before.root.exists()


def test_the_prediction_for_a_single_image_is_one_line(finished, pictures):
    done = predict(finished, pictures / "ring" / "0.png")
    assert re.search(r"0\.png: (bar|disc|ring) \d+\.\d%.*; then \w+ \d+\.\d%, \w+ \d+\.\d%", done.stdout), done.stderr


@pytest.mark.slow
def test_a_killed_prediction_resumes_and_ends_with_the_same_output(finished, pictures, tmp_path, monkeypatch):
    many = tmp_path / "many"
    many.mkdir()
    for number in range(1300):
        shutil.copy(pictures / "ring" / f"{number % 4}.png", many / f"{number:04d}.png")
    assert predict(finished, many, "--out", tmp_path / "whole").returncode == 0
    project = finished.copy(tmp_path / "project")
    command = [sys.executable, "-m", "flows", "predict", str(many), "--out", str(tmp_path / "cut")]
    command += ["--model", "challenger"]
    process = subprocess.Popen(command, cwd=project.root, env=environment(**project.more))
    wait_until(lambda: list((project.root / ".state" / "predict").rglob("part-*.parquet")))
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert not (tmp_path / "cut" / "predictions.parquet").exists()
    part = next((project.root / ".state" / "predict").rglob("part-*.parquet"))
    stale = part.parent.with_name("of files that have changed meanwhile")
    stale.mkdir()
    shutil.copy(part, stale)
    assert project.flows(*command[3:]).returncode == 0
    assert (tmp_path / "cut" / "predictions.csv").read_bytes() == (tmp_path / "whole" / "predictions.csv").read_bytes()
    assert not list((project.root / ".state" / "predict").rglob("part-*.parquet"))


@pytest.mark.slow
def test_workers_of_a_cluster_answer_the_same(finished, pictures, tmp_path):
    assert predict(finished, pictures, "--out", tmp_path / "here").returncode == 0
    with dask_cluster(tmp_path / "cluster", workers=1):
        done = predict(finished, pictures, "--out", tmp_path / "there")
    assert done.returncode == 0, done.stderr
    assert "computing on 1 workers" in done.stdout
    for name in ("predictions.csv", "predictions.parquet"):
        assert (tmp_path / "there" / name).read_bytes() == (tmp_path / "here" / name).read_bytes()
    assert not list((finished.root / ".state" / "predict").rglob("version"))


@pytest.mark.parametrize(
    ("arguments", "code", "fact"),
    [
        (("nowhere",), 1, "nowhere does not exist"),
        pytest.param(("{empty}",), 1, "no images in", marks=pytest.mark.slow),
        (("{broken}",), 5, "not an image but text"),
        pytest.param(("{table}",), 5, "has no column path; it has kind", marks=pytest.mark.slow),
        pytest.param(("{bytes}",), 5, "l.csv: line 2 is not UTF-8", marks=pytest.mark.slow),
    ],
)
def test_mistakes_are_messages_without_a_traceback(finished, pictures, tmp_path, arguments, code, fact):
    (tmp_path / "empty").mkdir()
    (tmp_path / "t.csv").write_text("kind\na.png\n")
    places = {"empty": tmp_path / "empty", "broken": pictures / "bar" / "broken.png", "table": tmp_path / "t.csv"}
    places["bytes"] = tmp_path / "l.csv"
    places["bytes"].write_bytes(b"path\nK\x81fer.png\n")
    done = predict(finished, *(argument.format(**places) for argument in arguments))
    assert (done.returncode, "Traceback" in done.stderr) == (code, False), done.stderr
    assert fact in done.stderr


@pytest.mark.parametrize(
    "model", ["live", *(pytest.param(name, marks=pytest.mark.slow) for name in ("9", "elsewhere"))]
)
def test_a_missing_version_is_an_error_that_lists_the_aliases(finished, pictures, model):
    done = finished.flows("predict", str(pictures / "ring" / "0.png"), "--model", model)
    assert done.returncode == 1
    assert "its aliases are challenger (version 1)" in done.stderr
    assert "--model challenger" in done.stderr


def test_a_wrong_path_is_refused_before_the_registry_is_asked(finished, tmp_path):
    (finished.root / "photos").mkdir()
    for arguments in (("nowhere",), ("photo", "--model", "none"), (str(tmp_path / "x.csv"),)):
        done = finished.flows("predict", *arguments)
        assert "does not exist" in done.stderr
        assert "not in the registry" not in done.stderr
    assert "photo does not exist; did you mean photos?" in finished.flows("predict", "photo").stderr


@pytest.mark.parametrize("model", ["challenger", "live", "7"])
def test_nothing_is_advised_that_cannot_work(finished, prepared, pictures, tmp_path, model):
    picture = str(pictures / "ring" / "0.png")
    done = prepared.copy(tmp_path / "empty").flows("predict", picture, "--model", model)
    assert "make run registers one" in done.stderr
    assert "--model" not in done.stderr
    finished.mlflow().delete_registered_model_alias("rootstock", "challenger")
    done = finished.flows("predict", picture, "--model", model)
    assert "to use the newest version: --model 1" in done.stderr


def test_predict_without_a_registered_version_is_an_error(prepared, pictures, tmp_path):
    done = prepared.copy(tmp_path / "prepared").flows("predict", str(pictures / "ring" / "0.png"))
    assert done.returncode == 1
    assert "it holds no version of rootstock yet; make run registers one" in done.stderr


def test_code_that_differs_from_what_was_registered_is_not_run(finished, pictures, tmp_path):
    project = finished.copy(tmp_path / "project")
    (file,) = (project.root / ".registry" / "artifacts").rglob("answer.py")
    file.write_text("raise SystemExit('run')\n")
    done = predict(project, pictures / "ring" / "0.png")
    assert done.returncode == 1
    assert "does not hold what was registered" in done.stderr


@pytest.mark.slow
def test_drawn_images_of_any_size_get_a_prediction(finished, tmp_path):
    drawn("disc", 5, 400).save(tmp_path / "large.jpg")
    assert "large.jpg: " in predict(finished, tmp_path / "large.jpg").stdout


@pytest.mark.slow
def test_pillows_warnings_about_a_file_are_not_shown(finished, tmp_path):
    (tmp_path / "odd.tif").write_bytes(tiff([*gray_tags(8, 8), (270, 2, 2**32 - 1, 8)]))
    with pytest.warns(UserWarning, match="Tag data larger than file"):
        decode((tmp_path / "odd.tif").read_bytes())
    done = predict(finished, tmp_path / "odd.tif")
    assert "odd.tif: " in done.stdout
    assert "Tag data" not in done.stdout + done.stderr


@pytest.mark.slow
def test_names_that_no_file_can_have_are_listed_as_broken(finished, pictures, tmp_path):
    good = next((pictures / "disc").glob("*.png"))
    table = tmp_path / "some.csv"
    table.write_text(f"path\n{good}\nhttps://somewhere/{'x' * 300}.png\n")
    done = predict(finished, table, "--out", tmp_path / "out")
    assert done.returncode == 0, done.stdout + done.stderr
    rows = pd.read_csv(tmp_path / "out" / "predictions.csv")
    assert list(rows["reason"].fillna("")) == ["", "file not found"]
    done = predict(finished, table, "--out", table)
    assert done.returncode == EXIT_BROKEN
    assert "some.csv is a file; name a folder for the answers" in done.stderr
    assert "Traceback" not in done.stderr
