"""Settings to adapters: the only room that names them all.

Each function imports its vendor when it is called, so that a part installs and
loads only what it uses.
"""

from finsight.wiring.forecasters import (
    calibrated,
    default_recipe,
    fit_forecaster,
    learn_forecaster,
    load_forecaster,
    naive_forecaster,
    open_trained,
    prepare_forecasters,
    read_forecaster,
    recipe_of,
    standing_loss,
)
from finsight.wiring.registry import (
    open_experiment_log,
    open_model_registry,
    open_unsent_runs,
)
from finsight.wiring.sentiment import (
    export_sentiment_model,
    fetch_model_from_hub,
    load_sentiment_model,
    load_unrounded_sentiment_model,
    open_model_readers,
    read_sentiment_model,
)
from finsight.wiring.stores import (
    open_article_store,
    open_backtest_store,
    open_candle_store,
    open_clock,
    open_event_bus,
    open_exchange,
    open_forecast_store,
    open_news_source,
    open_state_store,
    open_training_jobs,
    open_valkey_server,
    redis_address,
)

__all__ = [
    "calibrated",
    "default_recipe",
    "export_sentiment_model",
    "fetch_model_from_hub",
    "fit_forecaster",
    "learn_forecaster",
    "load_forecaster",
    "load_sentiment_model",
    "load_unrounded_sentiment_model",
    "naive_forecaster",
    "open_article_store",
    "open_backtest_store",
    "open_candle_store",
    "open_clock",
    "open_event_bus",
    "open_exchange",
    "open_experiment_log",
    "open_forecast_store",
    "open_model_readers",
    "open_model_registry",
    "open_news_source",
    "open_state_store",
    "open_trained",
    "open_training_jobs",
    "open_unsent_runs",
    "open_valkey_server",
    "prepare_forecasters",
    "read_forecaster",
    "read_sentiment_model",
    "recipe_of",
    "redis_address",
    "standing_loss",
]
