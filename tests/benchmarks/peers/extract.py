"""Extracts ResNet-50 features from a folder's JPEG files with timm, fastai or transformers; prints images/s."""

import sys
import time

import torch

peer, folder, fast = sys.argv[1], sys.argv[2], sys.argv[3] == "fast"
torch.manual_seed(0)


def forward(network, batches):
    """Returns the rate over all batches, starting at the first file, after a warm-up pass."""
    network.eval()
    if fast:
        network = network.to(memory_format=torch.channels_last)
    form, done = (torch.channels_last if fast else torch.contiguous_format), 0
    with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16, enabled=fast):
        network(torch.zeros(64, 3, 224, 224).to(memory_format=form))
        started = time.perf_counter()
        for x in batches:
            network(x.to(memory_format=form))
            done += len(x)
    print("rate", done / (time.perf_counter() - started))


if peer == "timm":
    import timm
    from timm.data import create_dataset, create_loader, resolve_data_config

    network = timm.create_model("resnet50", pretrained=False, num_classes=0)
    loader = create_loader(
        create_dataset("", folder),
        batch_size=64,
        use_prefetcher=False,
        num_workers=2,
        persistent_workers=False,
        **{k: v for k, v in resolve_data_config({}, model=network).items() if k in {"input_size", "mean", "std"}},
    )
    forward(network, (x for x, _ in loader))
elif peer == "fastai":
    from fastai.vision.all import ImageDataLoaders, Normalize, Resize, create_body, imagenet_stats
    from torchvision.models import resnet50

    loaders = ImageDataLoaders.from_folder(
        folder, valid_pct=0.2, item_tfms=Resize(224), batch_tfms=Normalize.from_stats(*imagenet_stats), bs=64
    )
    loader = loaders.test_dl(loaders.train_ds.items + loaders.valid_ds.items)
    body = torch.nn.Sequential(create_body(resnet50(), pretrained=False), torch.nn.AdaptiveAvgPool2d(1))
    forward(body, (torch.Tensor(x) for (x,) in loader))
else:
    from torchvision.datasets import ImageFolder
    from transformers import ResNetConfig, ResNetModel

    try:
        from transformers import ConvNextImageProcessorFast as Processor
    except ImportError:
        from transformers import ConvNextImageProcessor as Processor

    prepare = Processor(size={"shortest_edge": 224}, image_mean=[0.485, 0.456, 0.406], image_std=[0.229, 0.224, 0.225])
    loader = torch.utils.data.DataLoader(
        ImageFolder(folder, lambda image: prepare(image, return_tensors="pt")["pixel_values"][0]), 64, num_workers=2
    )
    forward(ResNetModel(ResNetConfig()), (x for x, _ in loader))
