"""PatchTST, the class of neuralforecast, as one model over every series of a timeframe."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
import torch

from finsight.domain.errors import InvalidInput, ModelUnavailable
from finsight.domain.forecast import QUANTILES
from finsight.domain.timeframe import Timeframe
from finsight.ports.models import ForecastInput

_WEIGHTS, _CONFIG, _BASE = "weights.pt", "model.json", "random_walk.npy"
_LEAST_VOLATILITY = 1e-6  # of log returns: a price that never moved must not divide by zero


@dataclass(frozen=True)
class PatchTstConfig:
    """What a model file must say so that it can be built again.

    `trained_until` is when the training part ended, ISO 8601: no candle that opened
    at or after it had any influence on the weights. `network_weight` is how much of what
    the network adds to a random walk is believed, in [0, 1].
    """

    timeframe: str
    input_size: int
    horizon: int
    trained_on: tuple[str, ...]
    trained_until: str
    hidden_size: int = 32
    layers: int = 2
    heads: int = 4
    patch_length: int = 24
    stride: int = 24
    dropout: float = 0.3
    network_weight: float = 1.0


def scale_windows(closes: np.ndarray, horizon: int) -> tuple[np.ndarray, np.ndarray]:
    """Turn windows of closes into what the model sees: the one function for training and serving.

    `closes` has shape (windows, input_size). Returns the log closes relative to each
    window's last one, in units of how far the price typically wanders over the horizon,
    shape (windows, input_size), float32; and that unit, shape (windows, 1).
    """
    logs = np.log(closes)
    volatility = np.maximum(np.diff(logs, axis=1).std(axis=1, keepdims=True), _LEAST_VOLATILITY)
    unit = volatility * np.sqrt(horizon)
    return ((logs - logs[:, -1:]) / unit).astype(np.float32), unit


def import_neuralforecast() -> None:
    """Import it, which takes seconds, without lightning's remarks on every construction."""
    logging.getLogger("lightning_fabric.utilities.seed").setLevel(logging.WARNING)
    logging.getLogger("pytorch_lightning").setLevel(logging.WARNING)
    import neuralforecast.models  # noqa: F401


def build_network(config: PatchTstConfig) -> Any:
    """Return neuralforecast's PatchTST for quantiles, its weights drawn from torch's seed."""
    import_neuralforecast()
    from neuralforecast.losses.pytorch import MQLoss
    from neuralforecast.models import PatchTST

    network = PatchTST(
        h=config.horizon,
        input_size=config.input_size,
        encoder_layers=config.layers,
        n_heads=config.heads,
        hidden_size=config.hidden_size,
        linear_hidden_size=2 * config.hidden_size,
        patch_len=config.patch_length,
        stride=config.stride,
        dropout=config.dropout,
        fc_dropout=config.dropout,
        # The windows come scaled from `scale_windows`.
        revin=False,
        loss=MQLoss(quantiles=list(QUANTILES)),
        random_seed=int(torch.initial_seed() % 2**31),
        max_steps=1,
        logger=False,
        enable_progress_bar=False,
        enable_checkpointing=False,
    )
    # The network starts as "add nothing to the random walk" and learns what to add.
    with torch.no_grad():
        network.model.head.linear.weight.zero_()
        network.model.head.linear.bias.zero_()
    return network


class PatchTstForecaster:
    """Implements `ports.models.TrainedForecaster`.

    What it answers is the quantiles of a random walk, as seen over the training part,
    plus what the network makes of the window. Safe to call from several threads.
    """

    name = "PatchTST"

    def __init__(
        self,
        config: PatchTstConfig,
        network: Any,
        random_walk: np.ndarray,
        version: str = "unregistered",
        metrics: Mapping[str, float] | None = None,
    ) -> None:
        """`random_walk` has shape (horizon, len(QUANTILES)), in units of `scale_windows`."""
        self.config = config
        self.version = version
        self.metrics: Mapping[str, float] = dict(metrics or {})
        self._network = network.eval()
        self._random_walk = random_walk

    @property
    def timeframe(self) -> Timeframe | None:
        return Timeframe(self.config.timeframe)

    @property
    def trained_on(self) -> frozenset[str]:
        return frozenset(self.config.trained_on)

    @property
    def min_history(self) -> int:
        return self.config.input_size

    @property
    def max_horizon(self) -> int:
        return self.config.horizon

    @property
    def trained_until(self) -> datetime:
        """When the held-out candles begin: none of them had any influence on the weights."""
        return datetime.fromisoformat(self.config.trained_until)

    @property
    def params(self) -> Mapping[str, str]:
        """How it was built, for the record of its run."""
        listed = asdict(self.config) | {"trained_on": ",".join(self.config.trained_on)}
        return {name: str(value) for name, value in listed.items()}

    def forecast(self, inputs: Sequence[ForecastInput]) -> list[np.ndarray]:
        """As the port; all inputs go through the network in one pass."""
        if not inputs:
            return []
        for request in inputs:
            self._check(request)
        size = self.config.input_size
        windows = np.stack([np.asarray(i.closes, np.float64)[-size:] for i in inputs])
        moves = self.log_moves(windows)
        return [
            window[-1] * np.exp(move[: request.horizon])
            for window, move, request in zip(windows, moves, inputs, strict=True)
        ]

    def log_moves(self, windows: np.ndarray) -> np.ndarray:
        """Return quantiles of log(future close / last close), rising along the last axis.

        `windows` are closes, shape (n, input_size); the answer has shape
        (n, horizon, len(QUANTILES)).
        """
        scaled, unit = scale_windows(windows, self.config.horizon)
        with torch.inference_mode():
            added = self._network({"insample_y": torch.from_numpy(scaled)[:, :, None]}).numpy()
        added = self.config.network_weight * added.astype(np.float64)
        moves: np.ndarray = (self._random_walk + added) * unit[:, :, None]
        # Quantiles learnt one by one may cross; sorting them never makes the loss worse.
        moves.sort(axis=-1)
        return moves

    def save(self, folder: Path) -> None:
        """Write the model's files into `folder`, which is made."""
        folder.mkdir(parents=True, exist_ok=True)
        torch.save(self._network.model.state_dict(), folder / _WEIGHTS)
        np.save(folder / _BASE, self._random_walk)
        (folder / _CONFIG).write_text(json.dumps(asdict(self.config), indent=1))

    @classmethod
    def load(cls, folder: Path, version: str) -> PatchTstForecaster:
        """Read what `save` wrote. Nothing in the files is executed.

        Sets torch to one thread in this process: at this size a second one waits
        for the first (measured beside other work: 60 ms a forecast instead of 1 ms).

        Raises: ModelUnavailable (a file is missing or isn't what `save` writes).
        """
        torch.set_num_threads(1)
        try:
            fields = json.loads((folder / _CONFIG).read_text())
            config = PatchTstConfig(**fields | {"trained_on": tuple(fields["trained_on"])})
            with torch.random.fork_rng():
                network = build_network(config)
            weights = torch.load(folder / _WEIGHTS, weights_only=True, map_location="cpu")
            network.model.load_state_dict(weights)
            random_walk = np.load(folder / _BASE, allow_pickle=False)
        except (OSError, ValueError, KeyError, TypeError, RuntimeError) as exc:
            raise ModelUnavailable(f"the forecaster in {folder} can't be read: {exc}") from exc
        return cls(config, network, random_walk, version)

    def _check(self, request: ForecastInput) -> None:
        if not 1 <= request.horizon <= self.max_horizon:
            raise InvalidInput(
                f"{self.name} {self.version} was trained for 1 to {self.max_horizon} candles "
                f"ahead, not {request.horizon}"
            )
        if len(request.closes) < self.min_history:
            raise InvalidInput(
                f"{self.name} {self.version} looks back over {self.min_history} candles; "
                f"{request.series} has {len(request.closes)}"
            )
