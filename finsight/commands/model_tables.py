"""How versions, comparisons and decisions are printed for people."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from finsight.commands.show import coloured, console, print_table
from finsight.domain.model_comparison import ModelComparison
from finsight.domain.promotion import PromotionDecision, Verdict
from finsight.services.model_listing import ModelCard, ModelDetails

_KEY_FIGURES = (
    "held_out_ratio_to_naive",
    "held_out_coverage_80",
    "test_macro_f1",
    "test_accuracy",
    "valid_macro_f1",
    "valid_accuracy",
)
_SHOWN_FIGURES = 2
_COLOURS = {
    Verdict.PROMOTED: "green",
    Verdict.REFUSED: "bold red",
    Verdict.FORCED: "yellow",
    Verdict.ROLLED_BACK: "yellow",
}


def print_models(cards: Sequence[ModelCard]) -> None:
    """One line a version."""
    if not cards:
        console.print("no model is registered yet: train one, as in finsight train forecaster 1h")
        return
    rows = [
        (
            card.kind,
            card.version,
            coloured(", ".join(card.aliases), "green" if card.is_champion else "default"),
            card.tags.get("model", ""),
            f"{card.created_at:%Y-%m-%d %H:%M}",
            card.tags.get("trained_until", "")[:16].replace("T", " "),
            _key_figures(card),
            _shortly(card.tags.get("trained_on", "")),
        )
        for card in cards
    ]
    print_table(
        "Models",
        ("kind", "version", "alias", "model", "made", "knows until", "figures", "trained on"),
        rows,
    )


def print_details(details: ModelDetails) -> None:
    """Everything that is kept of one version."""
    aliases = f", {' and '.join(details.aliases)}" if details.aliases else ""
    console.print(f"{details.kind} version {details.version}{aliases}", style="bold")
    console.print(f"made {details.created_at.isoformat()}, kept in {details.location}\n")
    print_table("Figures", ("figure", "value"), _figures(details.metrics))
    print_table("Parameters", ("parameter", "value"), sorted(details.params.items()))
    print_table("Tags", ("tag", "value"), sorted(details.tags.items()))
    print_decisions(details.decisions)


def print_decisions(decisions: Sequence[PromotionDecision]) -> None:
    rows = [
        (
            f"{one.decided_at:%Y-%m-%d %H:%M}",
            coloured(one.verdict, _COLOURS[one.verdict]),
            one.version,
            one.before or "none",
            one.by,
            one.reason,
        )
        for one in decisions
    ]
    print_table("Decisions", ("when", "verdict", "version", "before", "by", "why"), rows)


def print_decision(decision: PromotionDecision) -> None:
    """One decision in a few lines."""
    console.print(
        coloured(f"{decision.verdict}: ", _COLOURS[decision.verdict]),
        f"{decision.kind} version {decision.version}, by {decision.by}",
        sep="",
        markup=False,
        soft_wrap=True,
    )
    console.print(decision.reason, markup=False, soft_wrap=True)
    serves = decision.before if decision.verdict is Verdict.REFUSED else decision.version
    console.print(f"version {serves} serves" if serves else "no version serves")


def print_comparison(
    challenger: ModelDetails, champion: ModelDetails | None, compared: ModelComparison
) -> None:
    """Both side by side: what differs in how they were made, and how they do on new data."""
    names = (f"version {challenger.version}", f"version {champion.version}" if champion else "none")
    ours, theirs = challenger, champion
    other: Mapping[str, str] = theirs.params if theirs else {}
    differing = [
        (name, _shortly(ours.params.get(name, "")), _shortly(other.get(name, "")))
        for name in sorted({*ours.params, *other})
        if ours.params.get(name) != other.get(name)
    ]
    print_table("Parameters that differ", ("parameter", *names), differing)
    measured: Mapping[str, float] = theirs.metrics if theirs else {}
    figures = [
        (name, _rounded(ours.metrics.get(name)), _rounded(measured.get(name)))
        for name in sorted({*ours.metrics, *measured})
    ]
    print_table("Figures of their trainings", ("figure", *names), figures)
    rows = [
        (one.rival, str(one.measure), f"{one.loss:.4f}", f"{one.rival_loss:.4f}", one.p_value)
        for one in compared.rivals
    ]
    print_table(
        f"On data new to both: {compared.data}",
        ("against", "measure", names[0], "the other", "p"),
        [(*row[:4], f"{row[4]:.3g}") for row in rows],
    )
    verdict = "measurably better" if compared.is_better else "not measurably better"
    colour = "green" if compared.is_better else "bold red"
    console.print(coloured(verdict, colour))
    console.print(compared.in_words(), markup=False, soft_wrap=True)


def _key_figures(card: ModelCard) -> str:
    named = [name for name in _KEY_FIGURES if name in card.metrics]
    chosen = (named or sorted(card.metrics))[:_SHOWN_FIGURES]
    return ", ".join(f"{name} {card.metrics[name]:.4g}" for name in chosen)


def _figures(metrics: Mapping[str, float]) -> list[tuple[str, str]]:
    return [(name, _rounded(value)) for name, value in sorted(metrics.items())]


def _rounded(value: float | None) -> str:
    return "" if value is None else f"{value:.6g}"


def _shortly(text: str, most: int = 60) -> str:
    return text if len(text) <= most else f"{text[: most - 1]}…"
