"""What a model takes and gives, in MLflow's words, so that its pages can show it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from finsight.domain.forecast import QUANTILES
from finsight.domain.labelled_texts import CLASSES


def write_mlmodel(kind: str, tags: Mapping[str, str], run_id: str, folder: Path) -> None:
    """Write the file `MLmodel` into `folder`.

    It holds the signature and no code: FinSight reads its models itself, and nothing in
    the registry can be executed.
    """
    from mlflow.models import Model

    model = Model(
        artifact_path="model",
        run_id=run_id,
        signature=signature_of(kind, tags),
        metadata={"finsight_kind": kind},
    )
    model.save(str(folder / "MLmodel"))


def signature_of(kind: str, tags: Mapping[str, str]) -> Any:
    """Return the signature of a sentiment model or a forecaster, else None.

    A forecaster's `tags` say how many candles it looks back over and ahead.
    """
    from mlflow.models.signature import ModelSignature
    from mlflow.types.schema import ColSpec, DataType, Schema, TensorSpec

    if kind == "sentiment":
        text = Schema([ColSpec(DataType.string, "text")])
        return ModelSignature(
            text, Schema([ColSpec(DataType.double, str(label)) for label in CLASSES])
        )
    back, ahead = tags.get("input_candles", ""), tags.get("horizon", "")
    if kind.startswith("forecaster-") and back.isdecimal() and ahead.isdecimal():
        numbers = np.dtype("float64")
        closes = TensorSpec(numbers, (-1, int(back)), "closes")
        prices = TensorSpec(numbers, (-1, int(ahead), len(QUANTILES)), "quantiles")
        return ModelSignature(Schema([closes]), Schema([prices]))
    return None
