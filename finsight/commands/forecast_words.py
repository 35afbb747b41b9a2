"""What a forecast leaned on, as text with bars."""

from __future__ import annotations

from typing import Any

_WIDTH = 24


def explanation_in_words(explanation: dict[str, Any]) -> str:
    """A line a stretch of the past: what the price did in it, and what that did."""
    who = f"{explanation['model']} {explanation['model_version']}"
    if explanation["on_last_close"]:
        return f"{who} leans on the last close alone: no stretch of its past changes the forecast"
    lines = [
        f"what {who} leans on, for the close {explanation['horizon']} candles ahead:",
        f"{'stretch (UTC)':<34} {'price moved':>11}  {'forecast moved':>14}  weight",
    ]
    for segment in explanation["segments"]:
        opened = [
            segment[end][5:16].replace("T", " ") if segment[end] else f"row {segment[row]}"
            for end, row in (("opened_from", "first"), ("opened_until", "last"))
        ]
        bar = "█" * round(_WIDTH * segment["weight"])
        lines.append(
            f"{f'{opened[0]} to {opened[1]}':<34} {segment['moved_percent']:>+10.2f}% "
            f"{segment['effect_percent']:>+14.3f}%  {segment['weight']:>5.0%} {bar}"
        )
    return "\n".join(lines)
