"""A BERT classifier as one ONNX graph of fused operators, in fp32 or int8.

The graph is written by hand from the weights: a tracer would need torch and ten times
as long, and fusing its output would need an optimiser that guesses. ONNX Runtime's own
operators (`com.microsoft`) do attention and GELU in one pass each.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

Precision = Literal["fp32", "int8"]
Ranges = Mapping[str, tuple[float, float]]
"""The least and the greatest value of each activation that int8 products read, by name."""

_MICROSOFT = "com.microsoft"
_OPSET = 17


@dataclass(frozen=True)
class BertShape:
    """What the weights alone don't say about a BERT encoder."""

    layers: int
    heads: int
    epsilon: float


@dataclass(frozen=True)
class DenseLayer:
    """`activation(x @ weight + bias)`; `weight` has shape (inputs, outputs)."""

    weight: np.ndarray
    bias: np.ndarray
    activation: Literal["Relu", "Tanh"] | None = None


@dataclass(frozen=True)
class ClassifierHead:
    """What turns an encoder's token vectors into class scores.

    `pooling`: "first" takes the first token of the last layer; "mean" the mean over
    tokens of each layer in `from_layers` (0 is the embedding), side by side.
    """

    layers: tuple[DenseLayer, ...]
    pooling: Literal["first", "mean"] = "first"
    from_layers: tuple[int, ...] = ()


def bert_classifier(
    weights: Mapping[str, np.ndarray],
    shape: BertShape,
    head: ClassifierHead,
    *,
    ranges: Ranges | None = None,
    reduce_range: bool = False,
) -> onnx.ModelProto:
    """Build `probabilities = softmax(head(encoder(input_ids, mask)))`.

    Inputs `input_ids` and `mask` are int32 of shape (texts, tokens); the output has
    shape (texts, classes). `weights` are named as in transformers, without the "bert."
    in front. Without `ranges` all is fp32. With them, products are int8: each weight
    matrix is quantised per output column, activations by their range. That range is fixed,
    so that a text's score never depends on the texts that share its pass. `reduce_range`
    keeps weights to 7 bits for processors whose 8-bit products overflow. The classifier
    head stays in fp32: it is small and decides.
    """
    return _GraphBuilder(weights, shape, ranges, 63 if reduce_range else 127).build(head)


def range_finder(
    weights: Mapping[str, np.ndarray], shape: BertShape, head: ClassifierHead
) -> tuple[onnx.ModelProto, list[str]]:
    """Build the fp32 graph that answers what `Ranges` holds, and the activations' names.

    Its outputs are, for each name in turn, the least and the greatest value.
    """
    builder = _GraphBuilder(weights, shape, None, 127)
    return builder.build(head, finding_ranges=True), builder.activations


class _GraphBuilder:
    def __init__(
        self, weights: Mapping[str, np.ndarray], shape: BertShape, ranges: Ranges | None, top: int
    ) -> None:
        self._weights = weights
        self._shape = shape
        self._ranges = ranges
        self._top = top
        self.activations: list[str] = []
        self._nodes: list[onnx.NodeProto] = []
        self._constants: list[onnx.TensorProto] = []

    def build(self, head: ClassifierHead, finding_ranges: bool = False) -> onnx.ModelProto:
        layers = [self._embed()]
        for number in range(self._shape.layers):
            layers.append(self._layer(number, layers[-1]))
        features = self._pool(layers, head)
        for number, dense in enumerate(head.layers):
            weight = self._constant(f"head.{number}.weight", dense.weight)
            bias = self._constant(f"head.{number}.bias", dense.bias)
            features = self._node("Gemm", [features, weight, bias], f"head.{number}")
            if dense.activation is not None:
                features = self._node(dense.activation, [features], f"head.{number}.activated")
        self._node("Softmax", [features], "probabilities", axis=-1)
        tokens = [
            helper.make_tensor_value_info(name, TensorProto.INT32, ["texts", "tokens"])
            for name in ("input_ids", "mask")
        ]
        answers = ["probabilities"]
        if finding_ranges:
            answers = [
                self._node(kind, [name], f"{name}.{kind}", keepdims=0)
                for name in self.activations
                for kind in ("ReduceMin", "ReduceMax")
            ]
        graph = helper.make_graph(
            self._nodes,
            "sentiment",
            tokens,
            [helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in answers],
            initializer=self._constants,
        )
        opsets = [helper.make_opsetid("", _OPSET), helper.make_opsetid(_MICROSOFT, 1)]
        return helper.make_model(graph, opset_imports=opsets, ir_version=9)

    def _embed(self) -> str:
        # Every token is of type 0 here, so that type's vector can sit in the positions'.
        positions = (
            self._weights["embeddings.position_embeddings.weight"]
            + self._weights["embeddings.token_type_embeddings.weight"][0]
        )
        inputs = [
            "input_ids",
            "",
            self._weight("embeddings.word_embeddings.weight"),
            self._constant("positions", positions),
            "",
            self._weight("embeddings.LayerNorm.weight"),
            self._weight("embeddings.LayerNorm.bias"),
        ]
        self._nodes.append(
            helper.make_node(
                "EmbedLayerNormalization",
                inputs,
                ["layer.0", "layer.0.unused"],
                domain=_MICROSOFT,
                epsilon=self._shape.epsilon,
            )
        )
        return "layer.0"

    def _layer(self, number: int, given: str) -> str:
        name = f"encoder.layer.{number}"
        source = self._activation(given)
        queries, keys, values = (
            self._dense(source, f"{name}.attention.self.{part}")
            for part in ("query", "key", "value")
        )
        attended = self._node(
            "MultiHeadAttention",
            [queries, keys, values, "", "mask"],
            f"{name}.attended",
            domain=_MICROSOFT,
            num_heads=self._shape.heads,
        )
        attended = self._dense(self._activation(attended), f"{name}.attention.output.dense")
        attended = self._add_and_normalise(given, attended, f"{name}.attention.output.LayerNorm")
        wide = self._dense(self._activation(attended), f"{name}.intermediate.dense")
        wide = self._node("Gelu", [wide], f"{name}.wide", domain=_MICROSOFT)
        narrow = self._dense(self._activation(wide), f"{name}.output.dense")
        return self._add_and_normalise(attended, narrow, f"{name}.output.LayerNorm")

    def _add_and_normalise(self, kept: str, added: str, norm: str) -> str:
        # In steps: ONNX Runtime's own layer norm goes value by value on a CPU, and takes three
        # times as long as these, which use the processor's wide registers.
        width = self._weights[f"{norm}.weight"].shape[0]
        total = self._node("Add", [kept, added], f"{norm}.sum")
        mean = self._node("ReduceMean", [total], f"{norm}.mean", axes=[-1])
        centred = self._node("Sub", [total, mean], f"{norm}.centred")
        squares = self._node("ReduceSumSquare", [centred], f"{norm}.squares", axes=[-1])
        offset = self._constant(f"{norm}.epsilon", np.array([width * self._shape.epsilon]))
        length = self._node(
            "Sqrt", [self._node("Add", [squares, offset], f"{norm}.offset")], f"{norm}.length"
        )
        unit = self._node("Div", [centred, length], f"{norm}.unit")
        weight = self._constant(
            f"{norm}.weight", self._weights[f"{norm}.weight"] * np.sqrt(np.float32(width))
        )
        scaled = self._node("Mul", [unit, weight], f"{norm}.scaled")
        return self._node("Add", [scaled, self._weight(f"{norm}.bias")], f"{norm}.out")

    def _activation(self, name: str) -> tuple[str, ...]:
        """Quantise `name` once for all the products that read it; in fp32, pass it on."""
        self.activations.append(name)
        if self._ranges is None:
            return (name,)
        least, greatest = self._ranges[name]
        least, greatest = min(least, 0.0), max(greatest, 1e-6)
        step = (greatest - least) / 255
        scale = self._constant(f"{name}.scale", np.array(step))
        zero = self._constant(f"{name}.zero", np.array(round(-least / step), dtype=np.uint8))
        return (self._node("QuantizeLinear", [name, scale, zero], f"{name}.q"), scale, zero)

    def _dense(self, source: tuple[str, ...], layer: str) -> str:
        weight = np.ascontiguousarray(self._weights[f"{layer}.weight"].T)
        bias = self._weight(f"{layer}.bias")
        if self._ranges is None:
            product = self._node(
                "MatMul", [*source, self._constant(f"{layer}.weight", weight)], f"{layer}.product"
            )
            return self._node("Add", [product, bias], f"{layer}.out")
        scale = np.maximum(np.abs(weight).max(axis=0), 1e-12) / self._top
        quantised = np.rint(weight / scale).astype(np.int8)
        values, value_scale, value_zero = source
        inputs = [
            values,
            self._constant(f"{layer}.weight", quantised),
            value_scale,
            self._constant(f"{layer}.weight_scale", scale.astype(np.float32)),
            value_zero,
            "",
            bias,
        ]
        return self._node("MatMulIntegerToFloat", inputs, f"{layer}.out", domain=_MICROSOFT)

    def _pool(self, layers: list[str], head: ClassifierHead) -> str:
        if head.pooling == "first":
            index = self._constant("first", np.array(0, dtype=np.int64))
            return self._node("Gather", [layers[-1], index], "pooled", axis=1)
        floats = self._node("Cast", ["mask"], "mask.float", to=TensorProto.FLOAT)
        second = self._constant("axis.1", np.array([1], dtype=np.int64))
        count = self._node("ReduceSum", [floats, second], "count", keepdims=1)
        share = self._node("Div", [floats, count], "share")
        row = self._node("Unsqueeze", [share, second], "share.row")
        means = [
            # A row of shares times the tokens' vectors is their mean, padding left out.
            self._node("MatMul", [row, layers[layer]], f"mean.{layer}")
            for layer in head.from_layers
        ]
        joined = self._node("Concat", means, "means", axis=2)
        return self._node("Squeeze", [joined, second], "pooled")

    def _weight(self, name: str) -> str:
        return self._constant(name, self._weights[name])

    def _constant(self, name: str, values: np.ndarray) -> str:
        if values.dtype.kind == "f":
            values = values.astype(np.float32)
        contiguous = np.ascontiguousarray(values).reshape(values.shape)
        self._constants.append(numpy_helper.from_array(contiguous, name))
        return name

    def _node(
        self, kind: str, inputs: list[str], output: str, domain: str = "", **attributes: Any
    ) -> str:
        self._nodes.append(helper.make_node(kind, inputs, [output], domain=domain, **attributes))
        return output
