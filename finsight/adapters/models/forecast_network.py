"""The networks of neuralforecast, behind one way of calling them."""

from __future__ import annotations

import logging
from typing import Any

import torch
from torch import nn

from finsight.domain.forecast import QUANTILES
from finsight.domain.forecaster_recipe import Family, ForecasterRecipe, Loss, Target
from finsight.domain.known_features import FEATURES

NAMES = {Family.PATCHTST: "PatchTST", Family.NHITS: "NHITS", Family.TIDE: "TiDE"}


def import_neuralforecast() -> None:
    """Import it, which takes seconds, without lightning's remarks on every construction."""
    logging.getLogger("lightning_fabric.utilities.seed").setLevel(logging.WARNING)
    logging.getLogger("pytorch_lightning").setLevel(logging.WARNING)
    import neuralforecast.models  # noqa: F401


class ForecastNetwork(nn.Module):
    """One of the families: windows in, `outputs` numbers for each step ahead out.

    `inner` holds all weights. It is called by what its family wants; nothing of
    neuralforecast's own scaling or training is used.
    """

    def __init__(self, recipe: ForecasterRecipe) -> None:
        """Draw the weights from torch's seed."""
        super().__init__()
        import_neuralforecast()
        self.family, self.horizon = recipe.family, recipe.horizon
        self.outputs = len(QUANTILES) if recipe.loss is Loss.QUANTILE else 1
        self.inner: Any = _BUILDERS[recipe.family](recipe)
        if recipe.target is Target.LOG_RETURN:
            # It starts as "add nothing to the random walk" and learns what to add.
            _answer_nothing(recipe.family, self.inner)

    def forward(self, seen: torch.Tensor, known: torch.Tensor | None = None) -> torch.Tensor:
        """Return (windows, horizon, outputs) for `seen`, shape (windows, input_size)."""
        if self.family is Family.PATCHTST:
            answer = self.inner(seen[:, None, :])
        else:
            answer = self.inner(
                {
                    "insample_y": seen[:, :, None],
                    "insample_mask": torch.ones_like(seen)[:, :, None],
                    "hist_exog": known,
                    "futr_exog": None,
                    "stat_exog": None,
                }
            )
        shaped: torch.Tensor = answer.reshape(len(seen), self.horizon, self.outputs)
        return shaped


def _common(recipe: ForecasterRecipe) -> dict[str, Any]:
    from neuralforecast.losses.pytorch import MAE, MQLoss

    quantiles = recipe.loss is Loss.QUANTILE
    return {
        "h": recipe.horizon,
        "input_size": recipe.input_size,
        # It only decides how many numbers come out: the loss itself is ours.
        "loss": MQLoss(quantiles=list(QUANTILES)) if quantiles else MAE(),
        "random_seed": int(torch.initial_seed() % 2**31),
        "max_steps": 1,
        "logger": False,
        "enable_progress_bar": False,
        "enable_checkpointing": False,
    }


def _patchtst(recipe: ForecasterRecipe) -> Any:
    from neuralforecast.models import PatchTST

    return PatchTST(
        **_common(recipe),
        encoder_layers=recipe.layers,
        n_heads=recipe.heads,
        hidden_size=recipe.hidden_size,
        linear_hidden_size=recipe.feed_forward or 2 * recipe.hidden_size,
        patch_len=recipe.patch_length,
        stride=recipe.stride,
        dropout=recipe.dropout,
        fc_dropout=recipe.dropout,
        # The windows come scaled from `scale_windows`.
        revin=False,
    ).model


def _nhits(recipe: ForecasterRecipe) -> Any:
    from neuralforecast.models import NHITS

    return NHITS(
        **_common(recipe),
        hist_exog_list=list(FEATURES) if recipe.exogenous else None,
        mlp_units=3 * [[recipe.hidden_size] * recipe.layers],
        dropout_prob_theta=recipe.dropout,
    )


def _tide(recipe: ForecasterRecipe) -> Any:
    from neuralforecast.models import TiDE

    return TiDE(
        **_common(recipe),
        hist_exog_list=list(FEATURES) if recipe.exogenous else None,
        hidden_size=recipe.hidden_size,
        temporal_decoder_dim=recipe.hidden_size,
        num_encoder_layers=recipe.layers,
        num_decoder_layers=recipe.layers,
        dropout=recipe.dropout,
    )


_BUILDERS = {Family.PATCHTST: _patchtst, Family.NHITS: _nhits, Family.TIDE: _tide}


def _answer_nothing(family: Family, inner: Any) -> None:
    if family is Family.PATCHTST:
        last = [inner.head.linear]
    elif family is Family.NHITS:
        # Each block's last layer; NHITS adds them to the window's last value, which is 0 here.
        last = [
            [layer for layer in block.layers if isinstance(layer, nn.Linear)][-1]
            for block in inner.blocks
        ]
    else:
        last = [inner.global_skip, inner.temporal_decoder.norm]
    with torch.no_grad():
        for layer in last:
            layer.weight.zero_()
            layer.bias.zero_()
