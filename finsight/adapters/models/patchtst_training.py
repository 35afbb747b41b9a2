"""How a PatchTST learns: windows that never cross a gap, and a last part held out.

The candles are parted in time: the oldest teach the network, the next decide how far
it is to be believed beside a random walk, and the last decide nothing: they measure.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from numpy.lib.stride_tricks import sliding_window_view

from finsight.adapters.models.patchtst_forecaster import (
    PatchTstConfig,
    PatchTstForecaster,
    build_network,
    scale_windows,
)
from finsight.domain.candle_table import CandleTable
from finsight.domain.errors import InvalidInput
from finsight.domain.forecast import QUANTILES
from finsight.domain.segments import cut_at_gaps
from finsight.domain.timeframe import EPOCH, Timeframe, from_ms
from finsight.ports.models import TrainingProgress

_MEDIAN = QUANTILES.index(0.5)
_VALIDATION_WINDOWS = 512
_FEWEST_WINDOWS = 32


def held_out_from(candles: Mapping[str, CandleTable], share: float, horizon: int) -> int:
    """Return the moment (UTC ms) that parts training from held-out candles, for all series alike.

    The held-out part is the last `share` of the longest series' rows, at least four
    horizons. One moment for all: what one series did then must not teach another.
    """
    longest = max(candles.values(), key=len)
    rows = min(max(int(len(longest) * share), 4 * horizon), len(longest) - 1)
    return int(longest.ts_ms[-rows])


def cut_windows(
    candles: CandleTable, timeframe: Timeframe, input_size: int, horizon: int, cut_ms: int
) -> tuple[np.ndarray, np.ndarray]:
    """Return (training, held-out) windows of closes, shape (n, input_size + horizon) each.

    A window lies within one unbroken stretch. All of a training window opened before
    `cut_ms`; a held-out one has its whole future at or after it.
    """
    length = input_size + horizon
    training, held_out = [np.empty((0, length))], [np.empty((0, length))]
    for stretch in cut_at_gaps(candles, timeframe):
        if len(stretch) < length:
            continue
        windows = sliding_window_view(stretch.column("close"), length)
        ts = stretch.ts_ms
        training.append(windows[ts[length - 1 :] < cut_ms])
        held_out.append(windows[ts[input_size : input_size + len(windows)] >= cut_ms])
    return np.concatenate(training), np.concatenate(held_out)


def fit_patchtst(
    timeframe: Timeframe,
    candles: Mapping[str, CandleTable],
    *,
    input_size: int = 168,
    horizon: int = 24,
    steps: int = 300,
    batch_size: int = 64,
    learning_rate: float = 1e-3,
    held_out_share: float = 0.15,
    seed: int = 1,
    threads: int = 1,
    progress: TrainingProgress | None = None,
) -> PatchTstForecaster:
    """Train one model over `candles`, by series key; the same seed gives the same weights.

    The held-out part decides nothing about the weights: it only gives the metrics.
    One thread by default: at this size a second one costs more than it brings.

    Raises: InvalidInput (too little unbroken history).
    """
    started = time.perf_counter()
    if not candles or not any(len(table) > 1 for table in candles.values()):
        raise InvalidInput(f"there are no {timeframe} candles to train on")
    cut_ms = held_out_from(candles, held_out_share, horizon)
    until_cut = {k: t.between(EPOCH, from_ms(cut_ms)) for k, t in candles.items()}
    weighing_ms = held_out_from(until_cut, held_out_share, horizon)

    def windows(tables: Mapping[str, CandleTable], cut: int) -> list[tuple[np.ndarray, np.ndarray]]:
        return [cut_windows(t, timeframe, input_size, horizon, cut) for t in tables.values()]

    parts = windows(until_cut, weighing_ms)
    training = np.concatenate([part[0] for part in parts])
    weighing = np.concatenate([part[1] for part in parts])
    held_out = np.concatenate([part[1] for part in windows(candles, cut_ms)])
    if len(training) < _FEWEST_WINDOWS:
        raise InvalidInput(
            f"too little history to train on {timeframe} candles: {len(training)} windows of "
            f"{input_size + horizon} unbroken candles before the held-out part, at least "
            f"{_FEWEST_WINDOWS} are needed; backfill more"
        )
    config = PatchTstConfig(
        timeframe=str(timeframe),
        input_size=input_size,
        horizon=horizon,
        trained_on=tuple(
            sorted(key for key, part in zip(candles, parts, strict=True) if len(part[0]))
        ),
        trained_until=from_ms(cut_ms).isoformat(),
    )
    inputs, targets = _examples(training, config)
    random_walk = np.quantile(targets, QUANTILES, axis=0).T
    # The median of a random walk is where it stands: a past drift is no promise.
    random_walk[:, _MEDIAN] = 0.0
    random_walk.sort(axis=1)

    threads_before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            network = _descend(
                config, inputs, targets, random_walk, steps, batch_size, learning_rate, progress
            )
        weight = _weigh(config, network, random_walk, weighing)
        model = PatchTstForecaster(replace(config, network_weight=weight), network, random_walk)
        model.metrics = _held_out_metrics(model, held_out) | {
            "network_weight": weight,
            "training_windows": float(len(training)),
            "training_seconds": time.perf_counter() - started,
        }
    finally:
        torch.set_num_threads(threads_before)
    return model


def _descend(
    config: PatchTstConfig,
    inputs: np.ndarray,
    targets: np.ndarray,
    random_walk: np.ndarray,
    steps: int,
    batch_size: int,
    learning_rate: float,
    progress: TrainingProgress | None,
) -> torch.nn.Module:
    network: torch.nn.Module = build_network(config)
    network.train()
    optimiser = torch.optim.AdamW(network.parameters(), lr=learning_rate, weight_decay=0.01)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimiser, max_lr=learning_rate, total_steps=max(steps, 2)
    )
    base = torch.from_numpy(random_walk.astype(np.float32))
    quantiles = torch.tensor(QUANTILES)
    everything = torch.from_numpy(inputs), torch.from_numpy(targets)
    picks = torch.Generator().manual_seed(torch.initial_seed())
    for step in range(1, steps + 1):
        rows = torch.randint(len(inputs), (min(batch_size, len(inputs)),), generator=picks)
        window, target = everything[0][rows], everything[1][rows]
        answer = base + network({"insample_y": window[:, :, None]})
        error = target[:, :, None] - answer
        loss = torch.maximum(quantiles * error, (quantiles - 1) * error).mean()
        optimiser.zero_grad(set_to_none=True)
        torch.autograd.backward(loss)
        torch.nn.utils.clip_grad_norm_(network.parameters(), 1.0)
        optimiser.step()
        schedule.step()
        if progress is not None and (step % 10 == 0 or step == steps):
            progress(step, steps, float(loss.detach()))
    return network


def _examples(windows: np.ndarray, config: PatchTstConfig) -> tuple[np.ndarray, np.ndarray]:
    """Return what the network sees of `windows`, and what it should have said."""
    size = config.input_size
    inputs, unit = scale_windows(windows[:, :size], config.horizon)
    moves = np.log(windows[:, size:] / windows[:, size - 1 : size])
    return inputs, (moves / unit).astype(np.float32)


def _weigh(
    config: PatchTstConfig, network: Any, random_walk: np.ndarray, windows: np.ndarray
) -> float:
    """Return how much of what the network adds is to be believed, in [0, 1].

    The weight with the least quantile loss over candles that came after those it was
    trained on, and before the held-out ones. Prices are close to a random walk, and a
    network that learnt noise is worse than none.
    """
    if not len(windows):
        return 1.0
    some = windows[np.linspace(0, len(windows) - 1, min(len(windows), 1024)).astype(int)]
    inputs, targets = _examples(some, config)
    network.eval()
    with torch.inference_mode():
        added = network({"insample_y": torch.from_numpy(inputs)[:, :, None]}).numpy()

    def loss(weight: float) -> float:
        error = targets[:, :, None] - np.sort(random_walk + weight * added, axis=-1)
        quantiles = np.array(QUANTILES)
        return float(np.maximum(quantiles * error, (quantiles - 1) * error).mean())

    return min((round(0.1 * tenth, 1) for tenth in range(11)), key=loss)


def _held_out_metrics(model: PatchTstForecaster, windows: np.ndarray) -> dict[str, float]:
    """Errors over evenly chosen held-out windows, beside naive, in log returns."""
    if not len(windows):
        return {"held_out_windows": 0.0}
    chosen = windows[np.linspace(0, len(windows) - 1, _VALIDATION_WINDOWS).astype(int)]
    chosen = windows if len(windows) <= _VALIDATION_WINDOWS else chosen
    size = model.config.input_size
    truth = np.log(chosen[:, size:] / chosen[:, size - 1 : size])
    moves = model.log_moves(chosen[:, :size])
    mae, naive = np.abs(truth - moves[:, :, _MEDIAN]).mean(), np.abs(truth).mean()
    low_95, low_80, _, high_80, high_95 = np.moveaxis(moves, -1, 0)
    return {
        "held_out_windows": float(len(chosen)),
        "held_out_mae": float(mae),
        "held_out_naive_mae": float(naive),
        "held_out_ratio_to_naive": float(mae / naive) if naive else 1.0,
        "held_out_coverage_80": float(((low_80 <= truth) & (truth <= high_80)).mean()),
        "held_out_coverage_95": float(((low_95 <= truth) & (truth <= high_95)).mean()),
    }
