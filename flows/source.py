"""Brings in what data.source and backbone.weights name, as versions that DVC keeps: python -m flows.source."""

from __future__ import annotations

import hashlib
import os
import shutil
from dataclasses import asdict
from pathlib import Path

from flows import versioning
from flows.environment import HOME, ROOT
from flows.parameters import DIGITS, ROTATIONS, FlowParams
from flows.pins import REGISTRY, pin, registered_backbone, registered_teacher
from tasks.parts.archives import is_archive, single_folder, unpack
from tasks.parts.errors import DataRefusedError, ParamsError, RootstockError
from tasks.parts.files import read_json, write_json
from tasks.parts.params import NO_TEACHER, Objective

TORCHVISION = "torchvision:"
RANDOM = "random"
TABLES = (".csv", ".parquet")


def bring_in(params: FlowParams) -> dict[str, str]:
    """Makes paths.raw and paths.pretrained what the parameters name; what became of each, in a few words."""
    pin(params)
    became = {
        "images": _bring_in(images_of(params), params.paths.raw, params.paths.state),
        "weights": _bring_in(weights_of(params), params.paths.pretrained, params.paths.state),
        "teacher": _bring_in(teacher_of(params), params.paths.teacher, params.paths.state),
    }
    return became if params.teacher.weights else {name: became[name] for name in ("images", "weights")}


def images_of(params: FlowParams) -> Path:
    """The folder of images that data.source stands for: the digits rendered, an archive unpacked, a table's images.

    Raises RootstockError if there is no such source, and DataRefusedError for one that cannot be used.
    """
    if params.data.source == DIGITS:
        return rendered(params.paths.state / "source" / DIGITS, "render")
    place, trusted = HOME / params.data.source, True
    if params.data.source == ROTATIONS:
        place = rendered(params.paths.state / "source" / ROTATIONS, "render_rotations") / "manifest.csv"
    if place.is_file() and is_archive(place):
        trusted, place = False, unpacked(place, params.paths.state / "source", params.data.archive_limit)
        tables = [place / f"manifest{suffix}" for suffix in TABLES if (place / f"manifest{suffix}").is_file()]
        place = tables[0] if tables else place
    if place.is_file() and place.suffix.lower() in TABLES:
        from tasks.parts.tables import bring_together

        labels = (params.data.targets, params.data.separator)
        key = hashlib.sha256(repr((str(place.resolve()), labels)).encode()).hexdigest()
        return bring_together(place, params.paths.state / "source" / f"table-{key[:16]}", *labels, trusted=trusted)
    if not place.is_dir():
        raise RootstockError(
            f"data.source: {place} is no folder, table or archive; give a folder of class/*.jpg or "
            "train|val|test/class/*.jpg, a .csv or .parquet file with columns path and label, or a .zip or .tar of one"
        )
    if params.data.separator:
        raise RootstockError("data.separator: only the column label of a table can hold several labels; set it to null")
    refuse_empty_folders(place, params.paths.failed("source") / params.paths.validation_page.name)
    return place


def unpacked(archive: Path, folder: Path, most_gib: float) -> Path:
    """The archive's folder, unpacked once for its name, size and time."""
    key = hashlib.sha256(f"{archive.resolve()}:{listing(archive)}".encode()).hexdigest()
    target = folder / f"archive-{key[:16]}"
    return single_folder(target) if target.exists() else unpack(archive, target, most_gib)


def refuse_empty_folders(folder: Path, page: Path) -> None:
    """Raises DataRefusedError, and writes a report, if a folder has nothing in it: versions hold files only."""
    from tasks.parts.expectations import CRITICAL
    from tasks.parts.files import write_text
    from tasks.parts.findings import Finding, findings_page, sentence

    found = sorted(path.relative_to(folder) for path in folder.rglob("*") if path.is_dir() and not any(path.iterdir()))
    empty = tuple(str(path) for path in found if not path.parts[-1].startswith("."))
    if empty:
        finding = Finding(
            "Every folder holds images", CRITICAL, False, len(empty), empty, "add images, or remove the folder"
        )
        write_text(page, findings_page([finding]))
        raise DataRefusedError(f"data.source: {folder} was refused:\n{sentence(finding)}\nreport: {page}")


def rendered(folder: Path, by: str) -> Path:
    """Embedded data as a folder, rendered once by this function of tasks.parts.digits."""
    if not folder.exists():
        from tasks.parts import digits

        beside = folder.with_name(f".{folder.name}.{os.getpid()}.tmp")
        shutil.rmtree(beside, ignore_errors=True)
        getattr(digits, by)(beside)
        beside.rename(folder)
    return folder


def weights_of(params: FlowParams) -> Path:
    """The file that backbone.weights names; what matches of it, where that is asked for."""
    file = _named_weights(params)
    return matched(file, params) if params.backbone.match == "names" else file


def matched(file: Path, params: FlowParams) -> Path:
    """A whole weights file of the architecture, begun with what matches in `file`; says what was taken."""
    from tasks.parts import weights
    from tasks.parts.backbone import check_architecture, preprocessing_of
    from tasks.parts.files import sha256_of
    from tasks.parts.grafting import EARLIER, graft
    from tasks.parts.progress import say

    architecture = params.backbone.architecture
    check_architecture(architecture)
    target = params.paths.state / "source" / f"{architecture}-{sha256_of(file)[:16]}.safetensors"
    if not target.exists():
        state, description = weights.read(file)
        begun, report = graft(architecture, state)
        found = preprocessing_of(architecture, description, None, None)
        head = {name: tensor for name, tensor in state.items() if name.startswith(EARLIER)}
        known = {"classes": description["classes"]} if "classes" in description else {}
        weights.write(target, {**head, **begun}, {"preprocessing": asdict(found), "taken": report, **known})
    say(f"backbone: {weights.read(target)[1]['taken']}")
    return target


def _named_weights(params: FlowParams) -> Path:
    """The file that backbone.weights names; torchvision's are downloaded once, their checksum compared."""
    wanted = params.backbone.weights
    if wanted.startswith(REGISTRY):
        return registered_backbone(params)
    if wanted == RANDOM:
        return random_weights(params)
    return _file_of("backbone.weights", wanted, params.backbone.architecture, params.paths.state / "source")


def _file_of(key: str, wanted: str, architecture: str, folder: Path) -> Path:
    """The file that `wanted` names, the value of this key; torchvision's are downloaded into `folder`."""
    if wanted.startswith(TORCHVISION):
        return downloaded(architecture, wanted.removeprefix(TORCHVISION), folder)
    file = next((place for place in (ROOT / wanted, HOME / wanted) if place.is_file()), Path(wanted))
    if not file.is_file():
        raise RootstockError(
            f"{key}: {file} is no file; give a .safetensors or .pth file, torchvision:DEFAULT, "
            "models:/name@alias" + (", or random" if key == "backbone.weights" else "")
        )
    return file


def teacher_of(params: FlowParams) -> Path:
    """The file that teacher.weights names; one with nothing in it where there is no teacher.

    Raises ParamsError where there must be one.
    """
    wanted, folder = params.teacher, params.paths.state / "source"
    if wanted.weights is None:
        if params.objective is Objective.DISTILLATION:
            raise ParamsError(NO_TEACHER)
        nobody = folder / "no-teacher.safetensors"
        if not nobody.exists():
            from tasks.parts import weights

            weights.write(nobody, {})
        return nobody
    if wanted.weights.startswith(REGISTRY):
        return registered_teacher(wanted.weights, folder)
    if wanted.weights.startswith(TORCHVISION) and wanted.architecture is None:
        raise RootstockError("teacher.architecture: name it, such as resnet50, where teacher.weights is torchvision's")
    return _file_of("teacher.weights", wanted.weights, wanted.architecture or "", folder)


def random_weights(params: FlowParams) -> Path:
    """Seeded random weights, which know nothing: to see what pretraining is worth, or where nothing can be had."""
    import torch

    from tasks.parts import weights
    from tasks.parts.backbone import check_architecture, torchvision_preprocessing
    from tasks.parts.scorer import OWN, build_backbone

    wanted = params.backbone
    file = params.paths.state / "source" / f"{wanted.architecture}-{wanted.cut}-random.safetensors"
    if not file.exists():
        check_architecture(wanted.architecture)
        torch.manual_seed(0)
        module, _ = build_backbone(wanted.architecture, wanted.cut)
        like = "resnet18" if wanted.architecture in OWN else wanted.architecture
        weights.write(file, module.state_dict(), {"preprocessing": asdict(torchvision_preprocessing(like))})
    return file


def downloaded(architecture: str, name: str, folder: Path) -> Path:
    """Torchvision's weights of this name, with their preprocessing, as a file in `folder`.

    Downloaded once, into torch's cache, the checksum compared. Raises RootstockError if they cannot be had.
    """
    import torch
    from torchvision.models import get_model_weights

    from tasks.parts import weights
    from tasks.parts.backbone import check_architecture, torchvision_preprocessing

    check_architecture(architecture)
    try:
        wanted = get_model_weights(architecture)[name]
    except (ValueError, KeyError):
        known = ", ".join(each.name for each in get_model_weights(architecture))
        raise RootstockError(
            f"backbone.weights: torchvision has no {name} for {architecture}; it has DEFAULT, {known}"
        ) from None
    file = folder / f"{architecture}-{wanted.name}.safetensors"
    if not file.exists():
        cached = Path(torch.hub.get_dir()) / "checkpoints" / Path(wanted.url).name
        try:
            state = wanted.get_state_dict(check_hash=True, progress=False)
        except (OSError, RuntimeError) as error:
            raise RootstockError(
                f"backbone.weights: {wanted.url} could not be downloaded ({error}); fetch it elsewhere and put it at "
                f"{cached}, or set backbone.weights to the file"
            ) from None
        description = {"preprocessing": asdict(torchvision_preprocessing(architecture, wanted.name))}
        weights.write(file, dict(state), description)
    return file


def _bring_in(source: Path, target: Path, state: Path) -> str:
    """Tracks `source` as `target`, unless the listing of its files is the one that was brought in last."""
    note = state / "source" / f"{target.name}.json"
    now = {"source": str(source.resolve()), "listing": listing(source)}
    before = versioning.tracked_md5(target) if versioning.dvc_file(target).exists() else None
    if before and target.exists() and note.exists() and read_json(note) == {**now, "md5": before}:
        return f"unchanged: {_short(source)}"
    versioning.track(source, target)
    after = versioning.tracked_md5(target)
    write_json(note, {**now, "md5": after})
    return f"{'unchanged' if after == before else 'brought in'}: {_short(source)}"


def _short(source: Path) -> str:
    """A path below the main checkout without that."""
    return str(source.relative_to(HOME) if source.is_relative_to(HOME) else source)


def listing(source: Path) -> str:
    """A digest of the names, sizes and times of all files below `source`: as quick as walking the folder."""
    files = [source] if source.is_file() else sorted(path for path in source.rglob("*") if path.is_file())
    facts = [
        (str(path.relative_to(source)), status.st_size, status.st_mtime_ns)
        for path in files
        for status in [path.stat()]
    ]
    return hashlib.sha256(repr(facts).encode()).hexdigest()
