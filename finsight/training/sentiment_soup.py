"""Model soups: one set of weights from trainings that began alike (Wortsman et al. 2022)."""

from __future__ import annotations

from collections.abc import Sequence

import torch


def souped(members: Sequence[dict[str, torch.Tensor]]) -> dict[str, torch.Tensor]:
    """Return the mean of the members' weights, by name.

    The mean of adapters is exact too: narrow matrices stand one below the other, wide ones
    side by side, each a share of itself, so `lora_rank` grows with the number of members.
    """
    if len(members) == 1:
        return members[0]
    return {name: _mean(name, [weights[name] for weights in members]) for name in members[0]}


def _mean(name: str, members: Sequence[torch.Tensor]) -> torch.Tensor:
    if ".lora_A." in name:
        return torch.cat(list(members), dim=0)
    if ".lora_B." in name:
        return torch.cat(list(members), dim=1) / len(members)
    return torch.stack(list(members)).mean(dim=0)
