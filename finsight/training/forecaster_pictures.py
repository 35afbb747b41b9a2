"""Pictures kept with the run that made a forecaster."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence


def loss_curve(history: Mapping[str, Sequence[float]], check_every: int) -> bytes:
    """Return a PNG of the losses over the steps of a training."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6, 3.6), layout="constrained")
    axes = figure.add_subplot()
    for name in ("loss", "validation_loss"):
        values = history.get(name, ())
        steps = [check_every * (number + 1) for number in range(len(values))]
        axes.plot(steps, values, marker="." if len(values) < 40 else None, label=name)
    axes.set_xlabel("step")
    axes.set_ylabel("loss")
    axes.grid(alpha=0.3)
    axes.legend()
    picture = io.BytesIO()
    FigureCanvasAgg(figure)
    figure.savefig(picture, format="png")
    return picture.getvalue()
