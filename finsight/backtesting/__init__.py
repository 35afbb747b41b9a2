"""Testing strategies over years of candles: fast, in little memory, and honest about luck."""

from finsight.backtesting.across import sweep_across
from finsight.backtesting.look_ahead import check
from finsight.backtesting.overfitting import permutation_test, probability_of_overfitting
from finsight.backtesting.single import run
from finsight.backtesting.sweep import sweep
from finsight.backtesting.together import run_together
from finsight.backtesting.walk_forward import walk_forward
from finsight.domain.known_values import with_known

__all__ = [
    "check",
    "permutation_test",
    "probability_of_overfitting",
    "run",
    "run_together",
    "sweep",
    "sweep_across",
    "walk_forward",
    "with_known",
]
