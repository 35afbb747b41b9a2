"""The HTTP front door: a replica, and what it opens for its routes."""

from __future__ import annotations

from typing import Any

from fastapi import FastAPI
from pydantic import BaseModel, ConfigDict, Field
from ray import serve
from ray.serve.handle import DeploymentHandle

from finsight.deployments.http_app import build_http_app
from finsight.deployments.http_ports import HttpPorts, Late, OpenStreams
from finsight.deployments.open_training import open_training
from finsight.deployments.platform_actors import PlatformActors
from finsight.deployments.promotions import RemotePromotion
from finsight.deployments.served_models import ServedForecaster, ServedSentiment
from finsight.settings import Settings
from finsight.wiring import (
    open_article_store,
    open_candle_store,
    open_clock,
    open_event_bus,
    open_forecast_store,
    open_model_registry,
)


class GatewayTuning(BaseModel):
    """The `user_config` block of serve_config.yaml: changed without a restart."""

    model_config = ConfigDict(extra="forbid")

    max_open_streams: int = Field(default=50, ge=1, description="of one replica")


@serve.deployment(max_ongoing_requests=200, user_config=GatewayTuning().model_dump())
@serve.ingress()
class Gateway:
    """Answers HTTP. Holds no state and decides nothing: services do.

    It opens its own stores, so that reading candles or articles costs no hop to
    another process; models and actors are reached through handles. It starts and
    stays up without any of them, and then answers 503.
    """

    def __init__(
        self,
        settings: Settings,
        sentiment: DeploymentHandle[Any],
        forecaster: DeploymentHandle[Any],
        platform: DeploymentHandle[Any],
    ) -> None:
        """`platform` is bound only so that Serve starts it, and with it the actors."""
        self._platform = platform
        self._streams = OpenStreams(GatewayTuning().max_open_streams)
        training = open_training(settings)
        self._ports = HttpPorts(
            settings=settings,
            clock=open_clock(settings),
            candles=open_candle_store(settings),
            articles=open_article_store(settings),
            forecasts=open_forecast_store(settings),
            registry=Late(lambda: open_model_registry(settings)),
            bus=Late(lambda: open_event_bus(settings)),
            sentiment=ServedSentiment(sentiment),
            forecaster=ServedForecaster(forecaster),
            platform=PlatformActors(),
            promotion=RemotePromotion(settings),
            streams=self._streams,
            jobs=training.jobs,
            drift=training.drift,
            retraining=training.retraining,
        )

    def reconfigure(self, user_config: dict[str, int]) -> None:
        tuning = GatewayTuning.model_validate(user_config)
        self._streams.most = tuning.max_open_streams

    def __serve_build_asgi_app__(self) -> FastAPI:
        # Serve calls this after the constructor, so the routes get ports that are ready
        # made and no global state is needed.
        return build_http_app(self._ports)
