"""fastai as it comes: a vision_learner, fine_tune(4)."""

import sys

from fastai.vision.all import ImageDataLoaders, Resize, accuracy, aug_transforms, vision_learner
from torchvision.models import mobilenet_v2

loaders = ImageDataLoaders.from_folder(
    sys.argv[1], train="train", valid="val", item_tfms=Resize(256), batch_tfms=aug_transforms(size=224)
)
learner = vision_learner(loaders, mobilenet_v2, cut=-1, metrics=accuracy)
with learner.no_bar():
    learner.fine_tune(4)
print("accuracy", float(learner.validate()[1]))
