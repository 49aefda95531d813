"""Features: embeds every usable image, and several views of the training images, with the frozen backbone."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pydantic import Field

from tasks.core.params import Section, StageParams
from tasks.core.paths import Paths
from tasks.core.sections import AugmentPolicy, BackboneParams, ComputeParams

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd

    from tasks.hardware.device import Device
    from tasks.models.backbone import Backbone


class FeaturesSection(Section):
    """The training rows of the head, and the feature cache."""

    views: int = Field(
        ge=0, description="planned views of each training image for the head, in addition to the clean one"
    )
    compile: int = Field(ge=0, description="number of new rows from which compiling the network is tried; 0: never")
    store: float = Field(gt=0, description="GiB for features of earlier runs; the least recently used are removed")


class FeaturesParams(StageParams):
    """The parameters that features reads."""

    backbone: BackboneParams
    compute: ComputeParams
    features: FeaturesSection


class FeaturesReport(Section):
    """The numbers of rows and of newly embedded rows, the feature width, device, precision, and whether compiled."""

    rows: int
    embedded: int
    width: int
    device: str
    precision: str
    compiled: bool


def features(paths: Paths, params: FeaturesParams) -> FeaturesReport:
    """Writes the feature matrix (N, D), one row per view in manifest order, and its index.

    Only rows missing from the store are embedded.
    """
    import pandas as pd
    import torchvision  # noqa: F401 - imported before the stage's time is measured

    from tasks.core.progress import say
    from tasks.core.schema import Column
    from tasks.data.decoding import load
    from tasks.embedding import compiled as compiling
    from tasks.embedding.extract import context, extract
    from tasks.embedding.feature_store import FeatureStore, key_of
    from tasks.embedding.index import rows_to_embed
    from tasks.embedding.pretrained import frozen_backbone
    from tasks.hardware.precision import device_for
    from tasks.images.transforms import VIEW_PARAMETERS, RenderStyle

    decoding, batch = load(paths.decoding), params.compute.batch
    backbone = frozen_backbone(paths.pretrained, params.backbone, decoding)
    device = device_for(params.compute.device, params.compute.precision, backbone.module, backbone.preprocessing.crop)
    style = RenderStyle.of(AugmentPolicy.read(paths.policy))
    index = rows_to_embed(pd.read_parquet(paths.manifest), pd.read_parquet(paths.plan), params.features.views)
    keys = [key_of(file, draw) for file, *draw in index[[Column.SHA256, *VIEW_PARAMETERS]].itertuples(index=False)]
    facts = context(paths.pretrained, params.backbone, backbone, device, style, batch)
    stores = [FeatureStore(paths.feature_store, {**facts, "compiled": how}) for how in (None, compiling.code())]
    missing_from = [[row for row, key in enumerate(keys) if key not in store] for store in stores]
    counts = (len(missing_from[0]), len(missing_from[1]))
    backbone, fast = compiled_if_faster(backbone, device, batch, counts, params.features.compile)
    store, missing = stores[fast], missing_from[fast]
    for rows, matrix in extract(paths.raw, index.iloc[missing], backbone, device, style, batch):
        store.add([keys[missing[row]] for row in rows], matrix)
    store.collect(params.features.store)
    write_features(paths, store[keys], index.drop(columns=[Column.SHA256, *VIEW_PARAMETERS]))
    say(f"{len(keys)} rows of {backbone.width}: {len(missing)} embedded, {len(keys) - len(missing)} from the store")
    return FeaturesReport(
        rows=len(keys),
        embedded=len(missing),
        width=backbone.width,
        device=device.device.type,
        precision=str(device.dtype).removeprefix("torch."),
        compiled=fast,
    )


def compiled_if_faster(
    backbone: Backbone, device: Device, batch: int, missing: tuple[int, int], threshold: int
) -> tuple[Backbone, bool]:
    """Returns the network to embed with, and whether to use the store of compiled features.

    `missing` are the numbers of rows missing from the plain and the compiled network's store. `threshold` is the
    minimum number of new rows for which compiling is considered.
    """
    from tasks.embedding import compiled

    if not compiled.pays(backbone, device, batch, *missing, threshold):
        return backbone, False
    if not missing[True]:
        return backbone, True
    network = compiled.attempted(backbone, device, batch)
    return network or backbone, network is not None


def write_features(paths: Paths, x_ND: np.ndarray, index: pd.DataFrame) -> None:
    """Writes the features (N, D) and the image and view of each row."""
    import torch

    from tasks.core.files import replacing
    from tasks.core.schema import FEATURES
    from tasks.models.weights_file import write

    write(paths.matrix, {FEATURES: torch.from_numpy(x_ND)})
    with replacing(paths.index) as beside:
        index.to_parquet(beside, index=False)
