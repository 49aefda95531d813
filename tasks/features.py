"""Features: every usable image, and some views of the training images, through the frozen backbone."""

from __future__ import annotations

from pydantic import Field

from tasks.core.params import Section, StageParams
from tasks.core.paths import Paths
from tasks.core.sections import AugmentPolicy, BackboneParams, ComputeParams


class FeaturesSection(Section):
    """What the head is trained on."""

    views: int = Field(
        ge=0, description="planned views of each training image that the head sees, beside the clean one"
    )
    compile: int = Field(ge=0, description="new rows from which a compiled network is tried; 0: never")
    store: float = Field(gt=0, description="GiB that features of earlier runs may take; the oldest are removed")


class FeaturesParams(StageParams):
    """What features reads of params.yaml."""

    backbone: BackboneParams
    compute: ComputeParams
    features: FeaturesSection


class FeaturesReport(Section):
    """Rows of the matrix, how many of them were embedded now, the width of a row; on what, and how."""

    rows: int
    embedded: int
    width: int
    device: str
    precision: str
    compiled: bool


def features(paths: Paths, params: FeaturesParams) -> FeaturesReport:
    """Writes the matrix, a row a view in manifest order, and its index; only what the store lacks is embedded."""
    import pandas as pd
    import torch
    import torchvision  # noqa: F401 - imported here, so that its two seconds are not the stage's own

    from tasks.core.files import replacing
    from tasks.core.progress import say
    from tasks.core.schema import FEATURES, Column
    from tasks.embedding import compiled as compiling
    from tasks.embedding.extract import context, extract
    from tasks.embedding.feature_store import FeatureStore, key_of
    from tasks.embedding.index import rows_to_embed
    from tasks.hardware.precision import device_for
    from tasks.images.transforms import VIEW_PARAMETERS, RenderStyle
    from tasks.models.backbone import build
    from tasks.models.weights_file import read, write

    wanted, batch = params.backbone, params.compute.batch
    sizes = (wanted.resize, wanted.crop)
    backbone = build(wanted.architecture, *read(paths.pretrained), *sizes, wanted.cut, wanted.letterbox).folded()
    backbone.module.requires_grad_(False)
    device = device_for(params.compute.device, params.compute.precision, backbone.module, backbone.preprocessing.crop)
    style = RenderStyle.of(AugmentPolicy.read(paths.policy))
    index = rows_to_embed(pd.read_parquet(paths.manifest), pd.read_parquet(paths.plan), params.features.views)
    keys = [key_of(file, draw) for file, *draw in index[[Column.SHA256, *VIEW_PARAMETERS]].itertuples(index=False)]
    facts = context(paths.pretrained, wanted, backbone, device, style, batch)
    stores = [FeatureStore(paths.feature_store, {**facts, "compiled": how}) for how in (None, compiling.code())]
    lacking = [[row for row, key in enumerate(keys) if key not in store] for store in stores]
    counts = (len(lacking[0]), len(lacking[1]))
    fast = compiling.pays(backbone, device, batch, *counts, params.features.compile)
    if fast and lacking[True]:
        quick = compiling.attempted(backbone, device, batch)
        backbone, fast = quick or backbone, quick is not None
    store, missing = stores[fast], lacking[fast]
    for rows, matrix in extract(paths.raw, index.iloc[missing], backbone, device, style, batch):
        store.add([keys[missing[row]] for row in rows], matrix)
    store.collect(params.features.store)
    write(paths.matrix, {FEATURES: torch.from_numpy(store[keys])})
    with replacing(paths.index) as beside:
        index.drop(columns=[Column.SHA256, *VIEW_PARAMETERS]).to_parquet(beside, index=False)
    say(f"{len(keys)} rows of {backbone.width}: {len(missing)} embedded, {len(keys) - len(missing)} from the store")
    return FeaturesReport(
        rows=len(keys),
        embedded=len(missing),
        width=backbone.width,
        device=device.device.type,
        precision=str(device.dtype).removeprefix("torch."),
        compiled=fast,
    )
