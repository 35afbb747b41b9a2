"""The gateway's route for scores and nothing else of it, for the benchmark to serve."""

from typing import Any

from fastapi import FastAPI
from ray import serve
from ray.serve.handle import DeploymentHandle

from finsight.deployments.routes.sentiment import ScoredText, ScoredTexts, TextsToScore


@serve.deployment(max_ongoing_requests=1024, ray_actor_options={"num_cpus": 0})
@serve.ingress()
class Ingress:
    """Answers `POST /v1/sentiment/score`."""

    def __init__(self, sentiment: DeploymentHandle[Any]) -> None:
        self._sentiment = sentiment

    def __serve_build_asgi_app__(self) -> FastAPI:
        app = FastAPI()

        @app.post("/v1/sentiment/score")
        async def score(body: TextsToScore) -> ScoredTexts:
            scores = await self._sentiment.score.remote(body.texts)
            return ScoredTexts(
                scores=[ScoredText(**dict(s), label=s.label, score=s.score) for s in scores]
            )

        @app.get("/batch-sizes")
        async def batch_sizes() -> list[int]:
            sizes: list[int] = await self._sentiment.batch_sizes.remote()
            return sizes

        return app
