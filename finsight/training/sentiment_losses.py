"""What a batch costs: soft labels, R-drop, and embeddings pushed where it hurts."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import nn
from torch.nn import functional

Forward = Callable[[dict[str, torch.Tensor]], torch.Tensor]
"""Token ids and mask to class scores."""


def soft_cross_entropy(
    logits: torch.Tensor, targets: torch.Tensor, costs: torch.Tensor, smoothing: float
) -> torch.Tensor:
    """The mean cross-entropy against probabilities, each text counted by its class's cost."""
    smoothed = targets * (1 - smoothing) + smoothing / targets.shape[-1]
    counted = costs[targets.argmax(dim=-1)]
    own = -(smoothed * functional.log_softmax(logits.float(), dim=-1)).sum(dim=-1)
    return (own * counted).sum() / counted.sum()


def disagreement(one: torch.Tensor, other: torch.Tensor) -> torch.Tensor:
    """The mean of both Kullback-Leibler divergences of two answers to the same texts."""
    first = functional.log_softmax(one.float(), dim=-1)
    second = functional.log_softmax(other.float(), dim=-1)
    there = functional.kl_div(first, second, log_target=True, reduction="batchmean")
    back = functional.kl_div(second, first, log_target=True, reduction="batchmean")
    return (there + back) / 2


def regularised(
    forward: Forward,
    batch: dict[str, torch.Tensor],
    loss: Callable[[torch.Tensor], torch.Tensor],
    r_drop: float,
) -> torch.Tensor:
    """The loss of one pass, or of two under different dropout and of their disagreement."""
    if not r_drop:
        return loss(forward(batch))
    twice = {name: torch.cat([value, value]) for name, value in batch.items()}
    one, other = forward(twice).chunk(2)
    return (loss(one) + loss(other)) / 2 + r_drop * disagreement(one, other)


class PushedEmbeddings:
    """Pushes the token embeddings of a batch towards a higher loss, a fixed way for each text.

    It listens to the layer of embeddings: after a backward pass `push` sets what the next
    forward pass adds, until `release`.
    """

    def __init__(self, embeddings: nn.Module, distance: float) -> None:
        self._distance = distance
        self._seen: torch.Tensor | None = None
        self._shift: torch.Tensor | None = None
        embeddings.register_forward_hook(self._on_forward)

    def push(self) -> None:
        """Take the direction from the gradient of the pass before."""
        if self._seen is None or self._seen.grad is None:
            raise RuntimeError("push() needs a backward pass before it")
        gradient = self._seen.grad.detach()
        lengths = gradient.flatten(1).norm(dim=1).clamp_min(1e-12)
        self._shift = self._distance * gradient / lengths[:, None, None]

    def release(self) -> None:
        """Leave the embeddings alone again."""
        self._shift = None
        self._seen = None

    def _on_forward(self, module: nn.Module, inputs: Any, output: torch.Tensor) -> Any:
        if not torch.is_grad_enabled():
            return output
        if self._shift is not None:
            return output + self._shift
        if not output.requires_grad:  # Under adapters the embeddings themselves don't learn.
            output.requires_grad_()
        output.retain_grad()
        self._seen = output
        return output
