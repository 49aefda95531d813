"""The PyTorch tutorial's recipe for a frozen network, stopped at the first epoch that reaches the target accuracy."""

import sys

import torch
from torchvision import datasets, models, transforms

normalise = transforms.Normalize([0.485, 0.456, 0.406], [0.229, 0.224, 0.225])
augment = [transforms.RandomResizedCrop(224), transforms.RandomHorizontalFlip(), transforms.ToTensor(), normalise]
clean = [transforms.Resize(256), transforms.CenterCrop(224), transforms.ToTensor(), normalise]
train, val = (
    torch.utils.data.DataLoader(
        datasets.ImageFolder(f"{sys.argv[1]}/{name}", transforms.Compose(steps)), 4, shuffle=True, num_workers=2
    )
    for name, steps in (("train", augment), ("val", clean))
)
network = models.mobilenet_v2()
network.load_state_dict(torch.load(sys.argv[2], weights_only=True))
for parameter in network.parameters():
    parameter.requires_grad = False
network.classifier[1] = torch.nn.Linear(1280, 2)
optimiser = torch.optim.SGD(network.classifier.parameters(), 0.001, 0.9)
schedule = torch.optim.lr_scheduler.StepLR(optimiser, 7, 0.1)
for epoch in range(25):
    network.train()
    for x, y in train:
        optimiser.zero_grad()
        torch.nn.functional.cross_entropy(network(x), y).backward()
        optimiser.step()
    schedule.step()
    network.eval()
    with torch.no_grad():
        hits = sum(int((network(x).argmax(1) == y).sum()) for x, y in val)
    accuracy = hits / len(val.dataset)
    print("epoch", epoch + 1, "accuracy", accuracy, flush=True)
    if accuracy >= float(sys.argv[3]):
        break
