"""Builds the Serve application that serve_config.yaml names."""

from __future__ import annotations

import functools
from typing import Any

from ray.serve import Application, Deployment

from finsight.deployments.forecaster import Forecaster
from finsight.deployments.gateway import Gateway
from finsight.deployments.platform import Platform
from finsight.deployments.sentiment import Sentiment
from finsight.settings import Settings
from finsight.wiring import load_sentiment_model


def build(args: dict[str, Any]) -> Application:
    """Return the whole platform, from `args` with the environment over them.

    Numbers (replicas, batch sizes, CPUs) are not here: serve_config.yaml's
    `deployments:` has them.

    Raises:
        Misconfigured: names each wrong setting.
    """
    settings = Settings.load(args)
    load_model = functools.partial(load_sentiment_model, settings)
    return _deployment(Gateway).bind(
        settings,
        sentiment=_deployment(Sentiment).bind(load_model, settings),
        forecaster=_deployment(Forecaster).bind(settings),
        platform=_deployment(Platform).bind(settings),
    )


def _deployment(decorated: object) -> Deployment:
    # To a type checker, what `@serve.deployment` returns is still the class below it.
    assert isinstance(decorated, Deployment)
    return decorated
