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
from transformers import (
    AutoConfig,
    AutoTokenizer,
    BertModel,
    BertPreTrainedModel,
    TextClassificationPipeline,
    pipeline,
)
from transformers.modeling_outputs import SequenceClassifierOutput

from finsight.adapters.models.compact_model import read_compact_model


class CompactForSequenceClassification(BertPreTrainedModel):
    """The compact model as transformers would have it: same encoder, same head, fp32."""

    def __init__(self, config: Any) -> None:
        super().__init__(config)
        self.bert = BertModel(config, add_pooling_layer=False)
        compact = read_compact_model()
        self.from_layers = compact.head.from_layers
        self.head = torch.nn.Sequential()
        for dense in compact.head.layers:
            linear = torch.nn.Linear(*dense.weight.shape)
            self.head.append(linear)
            if dense.activation == "Relu":
                self.head.append(torch.nn.ReLU())
        self.post_init()

    def read_head(self) -> None:
        """Put the trained weights into the head."""
        linears = [part for part in self.head if isinstance(part, torch.nn.Linear)]
        for linear, dense in zip(linears, read_compact_model().head.layers, strict=True):
            linear.weight.data = torch.from_numpy(dense.weight.T.copy())
            linear.bias.data = torch.from_numpy(dense.bias)

    def forward(
        self, input_ids: torch.Tensor, attention_mask: torch.Tensor, **_: Any
    ) -> SequenceClassifierOutput:
        states = self.bert(
            input_ids=input_ids, attention_mask=attention_mask, output_hidden_states=True
        ).hidden_states
        share = (attention_mask / attention_mask.sum(1, keepdim=True))[:, :, None]
        means = torch.cat([(states[n] * share).sum(1) for n in self.from_layers], dim=1)
        return SequenceClassifierOutput(logits=self.head(means))


def peer_pipeline() -> TextClassificationPipeline:
    """`transformers.pipeline` over the same encoder and head, in fp32 on the CPU."""
    folder = str(read_compact_model().encoder)
    config = AutoConfig.from_pretrained(folder, num_labels=3)
    model = CompactForSequenceClassification(config)
    model.bert = BertModel.from_pretrained(folder, add_pooling_layer=False)
    model.read_head()
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
