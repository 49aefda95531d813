"""The files of a registered version, downloaded once and checked before anything of them is used."""

from __future__ import annotations

import errno
import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

from flows.registry.outage import is_outage
from flows.registry.tags import Tag
from tasks.core.errors import RootstockError
from tasks.core.files import sha256_of
from tasks.evaluation.scorer_code import digest_of, read_code

if TYPE_CHECKING:
    from mlflow.entities.model_registry import ModelVersion

ARTIFACTS, SPEC, WEIGHTS = "artifacts", "spec.json", "model.safetensors"  # a version's folder, and files in it
UNREADABLE = "version-unreadable"  # key of the error for a version whose files are missing or damaged
FULL = {errno.ENOSPC, errno.EDQUOT, errno.EMFILE, errno.ENFILE}
META, CACHE = "registered_model_meta", "__pycache__"  # what MLflow adds when it downloads or loads a version


@dataclass(frozen=True)
class VersionFiles:
    """The downloaded files of a version, and the version's name for messages."""

    version: str
    folder: Path

    @property
    def spec(self) -> Path:
        """Returns the path of spec.json."""
        return self.folder / ARTIFACTS / SPEC

    @property
    def weights(self) -> Path:
        """Returns the path of the weights."""
        return self.folder / ARTIFACTS / WEIGHTS

    def code(self) -> dict[str, bytes]:
        """Returns the scorer's source files by name. Raises RootstockError if they cannot be read."""
        try:
            return read_code(self.spec.parent, self.spec.read_bytes())
        except (OSError, ValueError, AttributeError) as error:
            raise RootstockError(f"{self.version} cannot be loaded: {error}", key=UNREADABLE) from None

    def scorer_digest(self) -> str:
        """Returns the digest of code, spec and weights. Raises RootstockError if they cannot be read."""
        try:
            return digest_of(self.code(), self.spec.read_bytes(), self.weights)
        except OSError as error:
            raise RootstockError(f"{self.version} cannot be loaded: {error}", key=UNREADABLE) from None

    def model_code_is(self, code: bytes) -> bool:
        """Returns whether this is the code that MLflow's own loader runs."""
        file = self.folder / "model_code.py"
        return file.is_file() and file.read_bytes() == code

    def digest(self) -> str:
        """Returns the SHA-256 of the names and contents of all files but those that MLflow adds when it loads them."""
        files = sorted(path for path in self.folder.rglob("*") if path.is_file())
        names = {path.relative_to(self.folder).as_posix(): path for path in files}
        digests = [[name, sha256_of(path)] for name, path in names.items() if not _is_by_mlflow(name)]
        return hashlib.sha256(json.dumps(digests).encode()).hexdigest()


def _is_by_mlflow(name: str) -> bool:
    return name == META or CACHE in Path(name).parts  # bytecode is read by MLflow only


def downloaded(version: ModelVersion, target: Path) -> VersionFiles:
    """Copies a version's files to the folder `target`. Raises RootstockError if they cannot be read."""
    import mlflow

    address = f"models:/{version.name}/{version.version}"
    try:
        folder = Path(mlflow.artifacts.download_artifacts(address, dst_path=str(target)))
    except (OSError, ValueError, AttributeError, mlflow.exceptions.MlflowException) as error:
        if is_temporary(error):  # the files may be there
            raise
        raise RootstockError(f"{address} cannot be loaded: {error}", key=UNREADABLE) from None
    return VersionFiles(f"version {version.version} of {version.name}", folder)


def is_temporary(error: Exception) -> bool:
    """Returns whether an error says nothing about the files: no answer from MLflow, or no space here."""
    return is_outage(error) or getattr(error, "errno", None) in FULL


def digest_of_version(version: ModelVersion) -> str:
    """Returns the digest of all files of a version. Raises RootstockError if they cannot be read."""
    with TemporaryDirectory() as private:
        return downloaded(version, Path(private)).digest()


def check_tagged(version: ModelVersion, files: VersionFiles) -> None:
    """Raises RootstockError if code, spec or weights do not match the digest in the version's tags."""
    if files.scorer_digest() != version.tags.get(Tag.FILES):
        raise changed(files)


def changed(files: VersionFiles) -> RootstockError:
    """Returns the error for a version whose files are not those that were registered."""
    return RootstockError(
        f"{files.version} does not hold what was registered, so it is not used", key="version-changed"
    )
