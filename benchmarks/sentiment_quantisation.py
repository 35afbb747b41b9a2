"""What int8 costs the compact model: accuracy against fp32 on the same sentences.

python -m benchmarks.sentiment_quantisation [DATA_FOLDER]
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

import numpy as np

from benchmarks.sentiment_texts import (
    DEFAULT_DATA,
    accuracy_and_macro_f1,
    phrasebank,
    twitter_validation,
)
from finsight.adapters.models.onnx_sentiment import OnnxSentimentModel

TARGET_POINTS = 0.5


def main() -> None:
    """Print one line a data set."""
    data = Path(sys.argv[1]) if len(sys.argv) > 1 else DEFAULT_DATA
    print("sentences | int8 accuracy (F1) | fp32 accuracy (F1) | lost | mean |dp| | target | met")
    with tempfile.TemporaryDirectory() as folder:
        int8 = OnnxSentimentModel.compact(Path(folder), threads=2)
        fp32 = OnnxSentimentModel.compact(Path(folder), threads=2, precision="fp32")
        for name, (texts, classes) in {
            "Twitter financial news, validation": twitter_validation(data),
            "Financial PhraseBank, 50 % agree": phrasebank(data),
        }.items():
            ours, peer = int8.score(texts), fp32.score(texts)
            (accuracy, f1), (peer_accuracy, peer_f1) = (
                accuracy_and_macro_f1(scores, classes) for scores in (ours, peer)
            )
            lost = 100 * (peer_accuracy - accuracy)
            moved = np.mean([abs(a.positive - b.positive) for a, b in zip(ours, peer, strict=True)])
            print(
                f"{name} ({len(texts):,}) | {accuracy:.4f} ({f1:.4f}) | {peer_accuracy:.4f} "
                f"({peer_f1:.4f}) | {lost:+.2f} points | {moved:.4f} | <= {TARGET_POINTS} points | "
                f"{'yes' if lost <= TARGET_POINTS else 'NO'}",
                flush=True,
            )


if __name__ == "__main__":
    main()
