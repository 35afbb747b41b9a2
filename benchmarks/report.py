"""How every benchmark prints its figures: ours beside the peer's, from one run."""

from typing import Literal

_HEADER_PRINTED: list[bool] = []


def print_figure(
    name: str,
    ours: float,
    peer: float,
    unit: str,
    target: float,
    better: Literal["lower", "higher"] = "lower",
) -> bool:
    """Print one line `name | ours | peer | ratio | target | met` and say whether it is met.

    `ours` and `peer` are in `unit`; the ratio is ours over the peer's. With
    `better="lower"` the ratio may be at most `target`, with "higher" at least.
    """
    if not _HEADER_PRINTED:
        _HEADER_PRINTED.append(True)
        print("name | ours | peer | ratio | target | met", flush=True)
    ratio = ours / peer if peer else float("inf")
    met = ratio <= target if better == "lower" else ratio >= target
    sign = "<=" if better == "lower" else ">="
    print(
        f"{name} | {ours:,.4g} {unit} | {peer:,.4g} {unit} | {ratio:.2f}x "
        f"| {sign} {target:g}x | {'yes' if met else 'NO'}",
        flush=True,
    )
    return met
