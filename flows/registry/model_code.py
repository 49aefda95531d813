"""The registered model, loaded by MLflow from code: images in; label, probability and distribution out.

It runs the scorer stored with the weights, from memory, and unpickles nothing.
"""

from __future__ import annotations

import base64
import hashlib
import io
import json
import sys
from collections.abc import Iterable, Iterator, Mapping
from importlib import import_module
from importlib.abc import InspectLoader, MetaPathFinder
from importlib.machinery import ModuleSpec
from importlib.util import decode_source, spec_from_loader
from pathlib import Path
from types import CodeType, ModuleType
from typing import Any

import mlflow
import pandas as pd
from mlflow.pyfunc.model import PythonModel, PythonModelContext


class ImageModel(PythonModel):
    """Predicts from an `image` column of encoded images: bytes, base64, and, in Python, paths and PIL images."""

    def load_context(self, context: PythonModelContext) -> None:
        """Loads spec and weights with the version's own scorer. Raises ValueError if a file has changed.

        The expected digest is in MLmodel, beside the files: that detects damage but not an attack, since anyone who
        can write here can also replace the digest and this file. Against attacks, pass the digest from the registry,
        the version's tag rootstock.files: `load_model(uri, model_config={"files": digest})`.
        """
        artifacts = {name: Path(path) for name, path in context.artifacts.items()}
        spec = artifacts["spec"].read_bytes()
        code = read_code(artifacts["scorer"].parent, spec)
        if digest_of(code, spec, artifacts["weights"]) != context.model_config["files"]:
            raise ValueError(f"{artifacts['scorer'].parent} does not hold what was registered, so its code is not run")
        self.scorer = run_code(code).Scorer.load(artifacts["spec"], artifacts["weights"])
        outputs = (*self.scorer.classes, *self.scorer.targets)
        names = list(self.scorer.row(self.scorer.label_thresholds.new_zeros(len(outputs))))
        self.error = "reason" if "error" in names else "error"  # no target is called reason
        self.columns = [*names, self.error]

    def predict(
        self, context: PythonModelContext, model_input: pd.DataFrame, params: dict[str, Any] | None = None
    ) -> pd.DataFrame:
        """Returns a row per image: `label`, `probability`, `confident` and `distribution`; or one value per target.

        `confident` is true if the probability reaches the threshold chosen on validation for the accepted risk. `error`
        is null, or says why an image has no answer; the rest of its row is null.
        """
        answers = pd.DataFrame(self.rows(cells(model_input["image"])), columns=self.columns)
        has_errors = answers[self.error].notna().any()
        return answers.astype(object).where(answers.notna(), None) if has_errors else answers  # JSON has no NaN

    def rows(self, values: Iterable[object]) -> Iterator[dict[str, Any]]:
        """Yields the answer for each value, or the reason why it has none."""
        unreadable: dict[int, str] = {}

        def pictures() -> Iterator[bytes]:
            for number, value in enumerate(values):
                try:
                    yield encoded(value)
                except ValueError as reason:
                    unreadable[number] = str(reason)
                    yield b""  # so that each value has an answer of the scorer

        for number, (logits_C, reason) in enumerate(self.scorer.stream(pictures())):
            answer = {} if logits_C is None else self.scorer.row(logits_C)
            yield {**answer, self.error: unreadable.pop(number, reason) or None}


def cells(column: pd.Series[Any]) -> list[object]:
    """Returns the values of a column. MLflow makes one cell of the texts in JSON's {"inputs": {"image": [...]}}."""
    values = list(column)
    return values[0] if len(values) == 1 and isinstance(values[0], list) else values


def encoded(value: object) -> bytes:
    """Returns the encoded image that a value stands for. Raises ValueError with the reason if it stands for none.

    A text is never a path: whoever may ask a server could have it open files.
    """
    if isinstance(value, bytes | bytearray | memoryview):
        return bytes(value)
    if isinstance(value, str):
        return from_base64(value)
    if isinstance(value, Path):
        return from_file(value)
    if hasattr(value, "save") and hasattr(value, "mode"):  # without importing PIL
        return from_pil(value)
    if pd.Series([value], dtype=object).isna().all():
        raise ValueError("no image")
    raise ValueError(f"not an image but a value of type {type(value).__name__}")


def from_base64(text: str) -> bytes:
    """Decodes base64, in lines or not, and behind the head of a data: URL or not."""
    head, _, rest = text.partition(",")
    is_url = head[:5].lower() == "data:" and head.lower().endswith(";base64")
    try:
        return base64.b64decode("".join((rest if is_url else text).split()), validate=True)
    except ValueError:
        raise ValueError("not base64, which a text must be; in Python, a file can be a pathlib.Path") from None


def from_file(path: Path) -> bytes:
    """Reads a file, and names it without its folder if it cannot be read."""
    try:
        return path.read_bytes()
    except OSError as error:
        raise ValueError(f"{path.name} cannot be read: {error.strerror}") from None


def from_pil(image: Any) -> bytes:  # noqa: ANN401 - PIL.Image.Image
    """Encodes the pixels without loss, with the orientation: as PNG, or as TIFF in modes that PNG lacks, as CMYK."""
    kind = "PNG" if image.mode in {"1", "L", "LA", "P", "I;16", "RGB", "RGBA"} else "TIFF"
    file = io.BytesIO()
    try:
        image.save(file, kind, exif=image.info.get("exif", b""), compress_level=1, compression="raw")
    except Exception as error:  # Pillow raises all kinds of exceptions for broken images
        raise ValueError(f"broken image: {error}") from None
    return file.getvalue()


# --- the loader: the same text in scorer_code.py and model_code.py, which must not import this project
CODE_FILES = {  # by "format" in spec.json, absent in format 1; the last file defines Scorer
    1: ("scorer.py",),
    2: (
        *("scorer/decode.py", "scorer/preprocessing.py", "scorer/architectures.py", "scorer/heads.py"),
        *("scorer/network.py", "scorer/labels.py", "scorer/answer.py"),
    ),
    3: (
        *("scorer/memory.py", "scorer/formats.py", "scorer/readers.py", "scorer/decode.py", "scorer/preprocessing.py"),
        *("scorer/architectures.py", "scorer/heads.py", "scorer/network.py", "scorer/labels.py", "scorer/answer.py"),
    ),
}


def read_code(folder: Path, spec: bytes) -> dict[str, bytes]:
    """Reads the source files that the format in a version's spec.json lists, each once. Returns them by name.

    Raises ValueError if the format is unknown, and OSError if a file is missing.
    """
    number = json.loads(spec).get("format", 1)
    if number not in list(CODE_FILES):
        raise ValueError(f"its format is {number!r}; the newest one supported here is {max(CODE_FILES)}")
    return {name: (folder / name).read_bytes() for name in CODE_FILES[number]}


def digest_of(code: Mapping[str, bytes], spec: bytes, weights: Path) -> str:
    """Returns one SHA-256 of the source files in the order of the format, spec.json, and the weights."""
    with weights.open("rb") as file:
        last = hashlib.file_digest(file, "sha256").hexdigest()
    digests = [*(hashlib.sha256(content).hexdigest() for content in (*code.values(), spec)), last]
    return hashlib.sha256("".join(digests).encode()).hexdigest()


def run_code(code: Mapping[str, bytes]) -> ModuleType:
    """Executes all source files and returns the module of the last one."""
    loader = CodeLoader(code)
    if loader.package not in sys.modules:
        sys.meta_path.insert(0, loader)
    return [import_module(name) for name in loader.sources][-1]


class CodeLoader(MetaPathFinder, InspectLoader):
    """Imports source files from memory, so that neither a changed file nor a stale .pyc is run.

    They form a package named by their digest: versions loaded in one process never share code, and a version that is
    loaded twice is one module.
    """

    def __init__(self, code: Mapping[str, bytes]) -> None:
        contents = [part for name, content in code.items() for part in (name.encode(), content)]
        digest = hashlib.sha256("".join(hashlib.sha256(part).hexdigest() for part in contents).encode())
        self.package = f"rootstock_scorer_{digest.hexdigest()}"
        self.sources = {self.package: b""}
        self.sources |= {f"{self.package}.{Path(name).stem}": content for name, content in code.items()}

    def find_spec(self, fullname: str, _path: object = None, _target: object = None) -> ModuleSpec | None:
        """Returns the spec of a module of this package, None for all others."""
        return spec_from_loader(fullname, self) if fullname in self.sources else None

    def is_package(self, fullname: str) -> bool:
        """Returns whether the name is the package itself, which has no folder on disk that could hold other modules."""
        return fullname == self.package

    def get_source(self, fullname: str) -> str:
        """Returns the source, for tracebacks."""
        return decode_source(self.sources[fullname])

    def get_code(self, fullname: str) -> CodeType:
        """Compiles the source."""
        return self.source_to_code(self.sources[fullname], f"{fullname.replace('.', '/')}.py")


# --- end of loader

mlflow.models.set_model(ImageModel())
