"""Hugging Face's Trainer on the same network, whole-network fine-tuning with AdamW, stopped at the target accuracy."""

import sys
import tempfile

import torch
from torchvision import datasets, models, transforms
from transformers import Trainer, TrainerCallback, TrainingArguments

normalise = transforms.Normalize([0.485, 0.456, 0.406], [0.229, 0.224, 0.225])
augment = [transforms.RandomResizedCrop(224), transforms.RandomHorizontalFlip(), transforms.ToTensor(), normalise]
clean = [transforms.Resize(256), transforms.CenterCrop(224), transforms.ToTensor(), normalise]
train, val = (
    datasets.ImageFolder(f"{sys.argv[1]}/{name}", transforms.Compose(steps))
    for name, steps in (("train", augment), ("val", clean))
)


class Classifier(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.network = models.mobilenet_v2()
        self.network.load_state_dict(torch.load(sys.argv[2], weights_only=True))
        self.network.classifier[1] = torch.nn.Linear(1280, 2)

    def forward(self, pixel_values, labels=None):
        logits = self.network(pixel_values)
        loss = torch.nn.functional.cross_entropy(logits, labels)
        return {"loss": loss, "logits": logits}


reached = []


class Enough(TrainerCallback):
    def on_evaluate(self, args, state, control, metrics, **_):
        reached.append(metrics["eval_accuracy"])
        control.should_training_stop = metrics["eval_accuracy"] >= float(sys.argv[3])


def collate(rows):
    return {"pixel_values": torch.stack([x for x, _ in rows]), "labels": torch.tensor([y for _, y in rows])}


with tempfile.TemporaryDirectory() as folder:
    arguments = TrainingArguments(
        folder,
        num_train_epochs=10,
        per_device_train_batch_size=16,
        per_device_eval_batch_size=64,
        learning_rate=5e-4,
        eval_strategy="epoch",
        save_strategy="no",
        report_to=[],
        dataloader_num_workers=2,
        disable_tqdm=True,
    )
    Trainer(
        Classifier(),
        arguments,
        data_collator=collate,
        train_dataset=train,
        eval_dataset=val,
        compute_metrics=lambda evaluated: {
            "accuracy": float((evaluated.predictions.argmax(1) == evaluated.label_ids).mean())
        },
        callbacks=[Enough()],
    ).train()
print("accuracy", reached[-1])
