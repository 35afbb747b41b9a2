"""A trained network of neuralforecast as one model over every series of a timeframe."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path
from pickle import UnpicklingError

import numpy as np
import torch
from pydantic import BaseModel, ConfigDict, ValidationError

from finsight.adapters.models.forecast_network import NAMES, ForecastNetwork
from finsight.domain.errors import InvalidInput, ModelUnavailable
from finsight.domain.fitted_scale import FittedScale
from finsight.domain.forecast_windows import (
    ScaledWindows,
    known_columns,
    scale_known,
    scale_windows,
)
from finsight.domain.forecaster_recipe import ForecasterRecipe, Target
from finsight.domain.known_features import FEATURES
from finsight.domain.timeframe import Timeframe, from_ms
from finsight.ports.models import ForecastInput

_WEIGHTS, _CONFIG, _BASE = "weights.pt", "model.json", "base.npy"


_UNREADABLE = (
    OSError,
    ValueError,
    KeyError,
    TypeError,
    RuntimeError,
    UnpicklingError,
    InvalidInput,
)


class NeuralConfig(BaseModel):
    """What a model file must say so that it can be built again.

    `recipe` is how it was trained. `timeframe` is None where the steps of its data are
    none of ours. No value at or after `learnt_until_ms` had any influence on the weights
    and scales, none at or after `trained_until_ms` on anything. `scales` are each series'
    mean and deviation over the training part; `known_scale` those of what was known beside it.
    `network_weight` is how much of what the network adds to a random walk is believed, [0, 1].
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    recipe: ForecasterRecipe
    timeframe: str | None
    scales: Mapping[str, FittedScale]
    learnt_until_ms: int
    trained_until_ms: int
    known_scale: FittedScale | None = None
    network_weight: float = 1.0


class NeuralForecaster:
    """Implements `ports.models.TrainedForecaster`.

    For log returns it answers the quantiles of a random walk, as seen over the training
    part, plus what the network makes of the window; for values what the network makes of it.
    Safe to call from several threads.
    """

    def __init__(
        self,
        config: NeuralConfig,
        network: ForecastNetwork,
        base: np.ndarray,
        version: str = "unregistered",
        metrics: Mapping[str, float] | None = None,
        history: Mapping[str, Sequence[float]] | None = None,
    ) -> None:
        """`base` has shape (horizon, len(QUANTILES)), in units of `scale_windows`.

        Raises: LookedAhead (a scale was fitted on more than the training part).
        """
        for scale in (*config.scales.values(), *filter(None, [config.known_scale])):
            scale.check(config.learnt_until_ms)
        self.config = config
        self.name = NAMES[config.recipe.family]
        self.version = version
        self.metrics: Mapping[str, float] = dict(metrics or {})
        self.history: Mapping[str, Sequence[float]] = dict(history or {})
        self.network = network.eval()
        self._base = base

    @property
    def timeframe(self) -> Timeframe | None:
        return None if self.config.timeframe is None else Timeframe(self.config.timeframe)

    @property
    def trained_on(self) -> frozenset[str]:
        return frozenset(self.config.scales)

    @property
    def min_history(self) -> int:
        return self.config.recipe.input_size

    @property
    def max_horizon(self) -> int:
        return self.config.recipe.horizon

    @property
    def trained_until(self) -> datetime:
        """When the held-out candles begin: none of them had any influence on the model."""
        return from_ms(self.config.trained_until_ms)

    @property
    def params(self) -> Mapping[str, str]:
        """How it was built, for the record of its run."""
        listed = self.config.recipe.model_dump(mode="json") | {
            "timeframe": self.config.timeframe,
            "trained_on": ",".join(sorted(self.trained_on)),
            "trained_until": self.trained_until.isoformat(),
            "network_weight": self.config.network_weight,
        }
        return {name: str(value) for name, value in listed.items()}

    def forecast(self, inputs: Sequence[ForecastInput]) -> list[np.ndarray]:
        """As the port; all inputs go through the network in one pass."""
        if not inputs:
            return []
        for request in inputs:
            self._check(request)
        size = self.config.recipe.input_size
        windows = np.stack([np.asarray(i.closes, np.float64)[-size:] for i in inputs])
        scaled = self._scaled(windows, [request.series.key for request in inputs])
        known = None
        if self.config.known_scale is not None:
            columns = [known_columns(request.known or {})[-size:] for request in inputs]
            known = scale_known(
                np.stack(columns), self.config.known_scale, self.config.learnt_until_ms
            )
        levels = scaled.centre[:, :, None] + scaled.unit[:, :, None] * self.answers(
            scaled.seen, known
        )
        if self.config.recipe.target is Target.LOG_RETURN:
            levels = np.exp(levels)
        return [level[: i.horizon] for level, i in zip(levels, inputs, strict=True)]

    def answers(self, seen: np.ndarray, known: np.ndarray | None = None) -> np.ndarray:
        """Return the quantiles in units of `scale_windows`, rising along the last axis.

        `seen` (n, input_size) and `known` come scaled; the answer has shape
        (n, horizon, len(QUANTILES)).
        """
        with torch.inference_mode():
            added = self.network(
                torch.from_numpy(seen), None if known is None else torch.from_numpy(known)
            ).numpy()
        answers: np.ndarray = self._base + self.config.network_weight * added.astype(np.float64)
        # Quantiles learnt one by one may cross; sorting them never makes the loss worse.
        answers.sort(axis=-1)
        return answers

    def save(self, folder: Path) -> None:
        """Write the model's files into `folder`, which is made."""
        folder.mkdir(parents=True, exist_ok=True)
        torch.save(self.network.inner.state_dict(), folder / _WEIGHTS)
        np.save(folder / _BASE, self._base)
        (folder / _CONFIG).write_text(self.config.model_dump_json(indent=1))

    @classmethod
    def load(
        cls,
        folder: Path,
        version: str,
        metrics: Mapping[str, float] | None = None,
        history: Mapping[str, Sequence[float]] | None = None,
    ) -> NeuralForecaster:
        """Read what `save` wrote. Nothing in the files is executed.

        Sets torch to one thread in this process: at this size a second one waits
        for the first (measured beside other work: 60 ms a forecast instead of 1 ms).

        Raises: ModelUnavailable (a file is missing or isn't what `save` writes).
        """
        torch.set_num_threads(1)
        try:
            config = NeuralConfig.model_validate(json.loads((folder / _CONFIG).read_text()))
            with torch.random.fork_rng():
                network = ForecastNetwork(config.recipe)
            weights = torch.load(folder / _WEIGHTS, weights_only=True, map_location="cpu")
            network.inner.load_state_dict(weights)
            base = np.load(folder / _BASE, allow_pickle=False)
            return cls(config, network, base, version, metrics, history)
        except _UNREADABLE as exc:
            what = (
                exc.errors()[0]["msg"] if isinstance(exc, ValidationError) else type(exc).__name__
            )
            raise ModelUnavailable(
                f"the forecaster in {folder} can't be read: {what}; train it again"
            ) from exc

    def _scaled(self, windows: np.ndarray, keys: Sequence[str]) -> ScaledWindows:
        recipe = self.config.recipe
        scales = [self.config.scales.get(key) for key in keys]
        series = np.array(
            [(s.means[0], s.deviations[0]) if s else (np.nan, 0.0) for s in scales], np.float64
        )
        return scale_windows(windows, recipe.horizon, recipe.target, recipe.instance_norm, series)

    def _check(self, request: ForecastInput) -> None:
        me, recipe, closes = f"{self.name} {self.version}", self.config.recipe, request.closes
        if not 1 <= request.horizon <= self.max_horizon:
            raise InvalidInput(
                f"{me} was trained for 1 to {self.max_horizon} candles ahead, not {request.horizon}"
            )
        if len(closes) < self.min_history:
            raise InvalidInput(
                f"{me} looks back over {self.min_history} candles; {request.series} has "
                f"{len(closes)}"
            )
        by_series = recipe.target is Target.VALUE and not recipe.instance_norm
        if by_series and request.series.key not in self.config.scales:
            raise InvalidInput(
                f"{me} knows the scale of the series it was trained on alone, and "
                f"{request.series} is none of them; train with instance_norm for others"
            )
        if self.config.known_scale is not None:
            self._check_known(request)

    def _check_known(self, request: ForecastInput) -> None:
        me, known = f"{self.name} {self.version}", request.known
        if known is None:
            raise InvalidInput(
                f"{me} also sees volume and sentiment: the request for {request.series} must "
                "bring them (known=...), row for row with the closes"
            )
        for name in FEATURES:
            if name not in known or len(known[name]) != len(request.closes):
                raise InvalidInput(
                    f"{me} needs the feature {name} row for row with the {len(request.closes)} "
                    f"closes of {request.series}"
                )
            if not np.isfinite(known[name]).all():
                raise InvalidInput(f"the feature {name} of {request.series} must be finite numbers")
