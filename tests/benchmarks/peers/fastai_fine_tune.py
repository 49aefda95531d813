"""fastai with its defaults: a vision_learner, fine_tune(4)."""

import sys

from fastai.vision.all import ImageDataLoaders, Resize, accuracy, aug_transforms, imagenet_stats, vision_learner
from fastai.vision.learner import default_split, model_meta
from torchvision.models import mobilenet_v2

# fastai does not pass on vision_learner's `cut`, so register the metadata that it has for other networks.
model_meta[mobilenet_v2] = {"cut": -1, "split": default_split, "stats": imagenet_stats}
loaders = ImageDataLoaders.from_folder(
    sys.argv[1], train="train", valid="val", item_tfms=Resize(256), batch_tfms=aug_transforms(size=224)
)
learner = vision_learner(loaders, mobilenet_v2, metrics=accuracy)
with learner.no_bar():
    learner.fine_tune(4)
print("accuracy", float(learner.validate()[1]))
