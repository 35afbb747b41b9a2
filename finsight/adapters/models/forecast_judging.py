"""What a network just trained is worth: how far it is believed, and how it does on unseen data."""

from __future__ import annotations

import numpy as np
import torch

from finsight.adapters.models.forecast_network import ForecastNetwork
from finsight.adapters.models.neural_forecaster import NeuralForecaster
from finsight.domain.forecast import QUANTILES
from finsight.domain.forecast_windows import Examples

_MEDIAN = QUANTILES.index(0.5)
_AT_ONCE = 1024
_WEIGHED_ON = 1024


def held_out_metrics(model: NeuralForecaster, examples: Examples) -> dict[str, float]:
    """Errors over every held-out window, beside naive's, in log returns or, for values, in
    deviations of the series over the training part."""
    if not len(examples):
        return {"held_out_windows": 0.0}
    sums = np.zeros(6)
    for start in range(0, len(examples), _AT_ONCE):
        rows = slice(start, start + _AT_ONCE)
        known = examples.known[rows] if examples.known.shape[1] else None
        answers = model.answers(examples.seen[rows], known)
        truth, weight = examples.targets[rows].astype(np.float64), examples.weight[rows]
        error = (truth - answers[:, :, _MEDIAN]) * weight
        naive = (truth - examples.seen[rows][:, -1:]) * weight
        low_95, low_80, _, high_80, high_95 = np.moveaxis(answers, -1, 0)
        inside_80 = (low_80 <= truth) & (truth <= high_80)
        inside_95 = (low_95 <= truth) & (truth <= high_95)
        sums += [
            part.sum()
            for part in (abs(error), abs(naive), error**2, naive**2, inside_80, inside_95)
        ]
    mae, naive_mae, mse, naive_mse, inside_80, inside_95 = sums / examples.targets.size
    return {
        "held_out_windows": float(len(examples)),
        "held_out_mae": float(mae),
        "held_out_naive_mae": float(naive_mae),
        "held_out_mse": float(mse),
        "held_out_naive_mse": float(naive_mse),
        "held_out_ratio_to_naive": float(mae / naive_mae) if naive_mae else 1.0,
        "held_out_coverage_80": float(inside_80),
        "held_out_coverage_95": float(inside_95),
    }


def _answers(network: ForecastNetwork, examples: Examples) -> np.ndarray:
    seen = torch.from_numpy(examples.seen)
    known = torch.from_numpy(examples.known) if examples.known.shape[1] else None
    with torch.inference_mode():
        parts = [
            network(seen[at : at + _AT_ONCE], None if known is None else known[at : at + _AT_ONCE])
            for at in range(0, len(seen), _AT_ONCE)
        ]
    answers: np.ndarray = torch.cat(parts).numpy()
    return answers


def believed_weight(network: ForecastNetwork, base: np.ndarray, validation: Examples) -> float:
    """Return how much of what the network adds is to be believed, in [0, 1].

    The weight with the least quantile loss over candles that came after those it was
    trained on, and before the held-out ones. Prices are close to a random walk, and a
    network that learnt noise is worse than none.
    """
    if not len(validation):
        return 1.0
    rows = np.linspace(0, len(validation) - 1, min(len(validation), _WEIGHED_ON)).astype(int)
    some = validation.at(rows)
    added = _answers(network, some)
    quantiles = np.array(QUANTILES)

    def loss(weight: float) -> float:
        error = some.targets[:, :, None] - np.sort(base + weight * added, axis=-1)
        return float(np.maximum(quantiles * error, (quantiles - 1) * error).mean())

    return min((round(0.1 * tenth, 1) for tenth in range(11)), key=loss)


def error_spread(network: ForecastNetwork, examples: Examples) -> np.ndarray:
    """Return the quantiles of the errors around one answer; the middle stays where it is."""
    error = examples.targets - _answers(network, examples)[:, :, 0]
    spread: np.ndarray = np.quantile(error, QUANTILES, axis=0).T
    spread[:, _MEDIAN] = 0.0
    spread[:, :_MEDIAN] = np.minimum(spread[:, :_MEDIAN], 0.0)
    spread[:, _MEDIAN + 1 :] = np.maximum(spread[:, _MEDIAN + 1 :], 0.0)
    return spread
