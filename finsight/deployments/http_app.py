"""The HTTP application: its routers, its errors, its documentation."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from fastapi import APIRouter, FastAPI

import finsight
from finsight.deployments import docs_page
from finsight.deployments.body_limit import BodyLimit
from finsight.deployments.http_errors import PROBLEM_RESPONSES, add_error_handlers
from finsight.deployments.http_ports import HttpPorts
from finsight.deployments.routes import (
    backfills,
    collectors,
    market,
    models,
    news,
    operations,
    predictions,
    sentiment,
    stream,
    training,
)

TAGS = [
    {"name": "market", "description": "Candles, their gaps, their statistics, backfills."},
    {"name": "news", "description": "Articles and where they came from."},
    {"name": "sentiment", "description": "What texts and news say of prices."},
    {"name": "predictions", "description": "Forecasts beside the naive one, and their record."},
    {"name": "models", "description": "Versions, who of them serves, and who decided so."},
    {"name": "collectors", "description": "What is collected, and whether it runs."},
    {"name": "stream", "description": "Everything that happens, as it happens."},
    {"name": "training", "description": "Training jobs, drift, and what is trained again."},
    {"name": "operations", "description": "Health, readiness, dead letters."},
]
# In the order of the tags above. What comes later joins here;
# keys and limits become `dependencies` of the router that holds them all.
V1_ROUTERS = (
    market.router,
    backfills.router,
    news.router,
    sentiment.router,
    predictions.router,
    models.router,
    collectors.router,
    stream.router,
    training.router,
    operations.router,
)


def build_http_app(ports: HttpPorts) -> FastAPI:
    """Return the application over `ports`, which it closes when it ends."""

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        yield
        if ports.bus.opened is not None:
            await ports.bus.opened.close()

    app = FastAPI(
        title="FinSight",
        version=finsight.__version__,
        summary="Candles, news, sentiment and forecasts of crypto markets.",
        openapi_tags=TAGS,
        lifespan=lifespan,
        docs_url=None,
        redoc_url=None,
        responses=PROBLEM_RESPONSES,
    )
    app.state.ports = ports
    app.add_middleware(BodyLimit)
    add_error_handlers(app)
    # Routes are tried in order, and the probes are asked most often.
    app.include_router(operations.probes)
    v1 = APIRouter(prefix="/v1")
    for router in V1_ROUTERS:
        v1.include_router(router)
    app.include_router(v1)
    app.include_router(docs_page.router)
    return app
