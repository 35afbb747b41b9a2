"""Compare a registered version with the champion, and let it serve if it is better.

    python -m finsight.training.promote --model forecaster-1h --version 3 --by ann

Runs as it is under `ray job submit`. A refusal is an answer, not a failure.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
from pathlib import Path

from finsight.domain.errors import FinSightError
from finsight.domain.promotion import CHALLENGER, PromotionDecision, Verdict
from finsight.services.promotion import Promotion
from finsight.settings import Settings
from finsight.training.sentiment_data import read_labelled_files
from finsight.wiring import (
    open_article_store,
    open_candle_store,
    open_clock,
    open_model_readers,
    open_model_registry,
)


def promote(
    settings: Settings, model: str, version: str, *, by: str, texts: tuple[Path, ...] = ()
) -> PromotionDecision:
    """Make a version the challenger, and ask whether it shall be the champion.

    Where it is refused it stays the challenger: shadow and canary follow it.

    Raises:
        InvalidInput: it serves already, or there is nothing new to compare on.
        NotFound: there is no such version.
        ModelUnavailable, StoreUnavailable: try again later.
    """
    labelled = read_labelled_files(texts, None) if texts else None
    registry = open_model_registry(settings)
    champion = registry.champion(model)
    if champion is None or champion.version != version:
        registry.set_alias(model, CHALLENGER, version)
    promotion = Promotion(
        registry,
        open_candle_store(settings),
        open_article_store(settings),
        open_clock(settings),
        open_model_readers(settings),
        settings.forecasting.input_candles,
    )
    return asyncio.run(promotion.promote(model, version, by=by, texts=labelled))


def main(arguments: list[str] | None = None) -> int:
    """The command. Returns 0, or 1 with the reason on standard error."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", required=True, help="its name in the registry: forecaster-1h")
    parser.add_argument("--version", required=True)
    parser.add_argument("--by", default="a job", help="who asks; kept with the decision")
    parser.add_argument("--texts", nargs="+", type=Path, default=[], help="labelled, for sentiment")
    parser.add_argument("--data-dir", type=Path, help="where the platform keeps its data")
    given = parser.parse_args(arguments)
    try:
        settings = Settings.load({"data_dir": given.data_dir} if given.data_dir else None)
        decision = promote(
            settings, given.model, given.version, by=given.by, texts=tuple(given.texts)
        )
    except FinSightError as exc:
        print(f"promotion failed: {exc}", file=sys.stderr)
        return 1
    print(f"{decision.verdict}: {decision.reason}", flush=True)
    serves = decision.verdict is not Verdict.REFUSED
    print(json.dumps({"decision": decision.verdict, "version": decision.version, "serves": serves}))
    return 0


if __name__ == "__main__":
    sys.exit(main())
