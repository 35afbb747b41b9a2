"""The peer of the sentiment benchmarks: `transformers.pipeline`, alone and behind FastAPI.

python -m benchmarks.sentiment_peer PORT     serves it on loopback until it is stopped
"""

from __future__ import annotations

import sys
from typing import Any

import torch
import uvicorn
from fastapi import FastAPI
from pydantic import BaseModel
from safetensors.numpy import load_file
from transformers import (
    AutoTokenizer,
    BertForSequenceClassification,
    TextClassificationPipeline,
    pipeline,
)
from transformers.utils import logging

from finsight.adapters.models.compact_model import merge_adapters, read_compact_model


def peer_pipeline() -> TextClassificationPipeline:
    """`transformers.pipeline` over the same encoder, adapters and head, in fp32 on the CPU."""
    # It would say at length which weights are new.
    logging.set_verbosity(logging.CRITICAL)
    logging.disable_progress_bar()
    compact = read_compact_model()
    folder = str(compact.encoder)
    model = BertForSequenceClassification.from_pretrained(folder, num_labels=3)
    merged = merge_adapters(load_file(compact.encoder / "model.safetensors"), compact.adapters)
    encoder = model.bert.state_dict()
    kept = {name: torch.from_numpy(merged[name]) for name in encoder}
    model.bert.load_state_dict(kept)
    linears = (model.bert.pooler.dense, model.classifier)
    for linear, dense in zip(linears, compact.head.layers, strict=True):
        linear.weight.data = torch.from_numpy(dense.weight.T.copy())
        linear.bias.data = torch.from_numpy(dense.bias)
    return pipeline(
        "text-classification",
        model=model.eval(),
        tokenizer=AutoTokenizer.from_pretrained(folder),
        device="cpu",
        top_k=None,
    )


class Texts(BaseModel):
    texts: list[str]


def peer_app() -> FastAPI:
    """A plain FastAPI server around the pipeline, as one would write it."""
    classify = peer_pipeline()
    app = FastAPI()

    @app.post("/v1/sentiment/score")
    def score(body: Texts) -> list[list[dict[str, Any]]]:
        answers: list[list[dict[str, Any]]] = classify(body.texts, batch_size=32)
        return answers

    return app


if __name__ == "__main__":
    uvicorn.run(peer_app(), host="127.0.0.1", port=int(sys.argv[1]), log_level="warning")
