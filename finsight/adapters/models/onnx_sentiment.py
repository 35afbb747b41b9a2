"""Sentiment on a CPU: a BERT classifier as ONNX, in int8 where not told otherwise."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import onnxruntime
from onnxruntime.capi import onnxruntime_pybind11_state as onnx_errors

from finsight.adapters.models.class_labels import read_classifier_config
from finsight.adapters.models.compact_model import NAME, WINDOW, read_compact_model
from finsight.adapters.models.onnx_export import (
    GRAPHS_FOLDER,
    bert_files,
    compact_files,
    exported,
)
from finsight.adapters.models.onnx_graph import Precision
from finsight.adapters.models.text_parts import PartsModel, TextParts, TokenBatch
from finsight.domain.errors import ModelUnavailable

# They share no base but Exception.
_ONNX_ERRORS = (
    onnx_errors.Fail,
    onnx_errors.InvalidArgument,
    onnx_errors.InvalidGraph,
    onnx_errors.InvalidProtobuf,
    onnx_errors.NoSuchFile,
    onnx_errors.RuntimeException,
)


class OnnxSentimentModel(PartsModel):
    """Implements `ports.models.SentimentModel` over ONNX Runtime.

    `threads` forward passes run side by side, each on one thread: passes are small, and
    threads that share one wait for each other more than they help.
    """

    def __init__(
        self,
        graph: Path,
        parts: TextParts,
        *,
        columns: tuple[int, int, int],
        name: str,
        version: str,
        threads: int,
        temperature: float = 1.0,
    ) -> None:
        super().__init__(
            parts, columns=columns, name=name, version=version, temperature=temperature
        )
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        options.inter_op_num_threads = 1
        try:
            self._session = onnxruntime.InferenceSession(
                str(graph), options, providers=["CPUExecutionProvider"]
            )
        except _ONNX_ERRORS as exc:
            raise ModelUnavailable(f"{graph} can't be loaded: {exc}; delete it") from exc
        self._pool = ThreadPoolExecutor(threads, "sentiment") if threads > 1 else None

    @classmethod
    def compact(
        cls, cache_folder: Path, *, threads: int, precision: Precision = "int8"
    ) -> OnnxSentimentModel:
        """Open the compact model. Raises: ModelUnavailable."""
        compact = read_compact_model()
        parts = TextParts.open(compact.encoder, WINDOW, compare_figures=compact.compares_figures)
        return cls(
            exported(compact_files(compact), parts, cache_folder, precision),
            parts,
            columns=compact.columns,
            name=NAME,
            version=compact.version,
            threads=threads,
        )

    @classmethod
    def open(
        cls,
        folder: Path,
        cache_folder: Path,
        *,
        name: str,
        version: str,
        threads: int,
        precision: Precision = "int8",
    ) -> OnnxSentimentModel | None:
        """Open the BERT sequence classifier in `folder`; None when it isn't one.

        A graph that its training left in `folder` is used, if it fits this processor.

        Raises: ModelUnavailable.
        """
        files = bert_files(folder)
        if files is None:
            return None
        config = read_classifier_config(folder)
        parts = TextParts.open(folder, config.window, config.padding, config.compares_figures)
        return cls(
            exported(files, parts, cache_folder, precision, folder / GRAPHS_FOLDER),
            parts,
            columns=config.columns,
            name=name,
            version=version,
            threads=threads,
            temperature=config.temperature,
        )

    def _forward(self, batches: list[TokenBatch]) -> list[np.ndarray]:
        if self._pool is None or len(batches) == 1:
            return [self._run(batch) for batch in batches]
        return list(self._pool.map(self._run, batches))

    def _run(self, batch: TokenBatch) -> np.ndarray:
        inputs = {"input_ids": batch.input_ids, "mask": batch.mask}
        try:
            probabilities: np.ndarray = self._session.run(None, inputs)[0]
        except _ONNX_ERRORS as exc:
            raise ModelUnavailable(f"{self._name} failed on these texts: {exc}") from exc
        return probabilities
