"""Every setting, typed, with its default and its reason.

Where a value comes from, first wins: the environment (`FINSIGHT_DATA_DIR=…`;
nested with two underscores, `FINSIGHT_FORECASTING__HORIZON=48`), the `args:` of
serve_config.yaml, the default here.
"""

from __future__ import annotations

import os
from difflib import get_close_matches
from pathlib import Path
from typing import Any, Literal

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    SecretStr,
    ValidationError,
    field_validator,
    model_validator,
)
from pydantic_settings import (
    BaseSettings,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
    SettingsError,
)

from finsight.domain.collector import CollectedSeries, NewsFeed
from finsight.domain.errors import Misconfigured
from finsight.domain.retraining import RetrainingRule

NAMESPACE = "finsight"
"""The Ray namespace of every named actor."""

APP_NAME = "finsight"
"""The Serve application's name."""


class _Block(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class ExchangeSettings(_Block):
    """How one venue is spoken to."""

    base_url: str | None = Field(
        default=None,
        description="another address for the venue's public endpoints: a proxy, or a local server",
    )
    rate_limit: bool = Field(default=True, description="keep to the venue's request quota")
    timeout_s: float = Field(default=20.0, gt=0, description="give up on one request after this")


class SentimentSettings(_Block):
    """The sentiment model."""

    model: str | None = Field(
        default=None,
        description="a folder or a hub id (ProsusAI/finbert); unset: the registry's champion, "
        "else the compact model in the package",
    )
    device: Literal["auto", "cpu", "cuda"] = Field(
        default="auto", description="auto takes a GPU where the replica has one"
    )
    threads: int = Field(default=1, ge=1, description="threads of one replica's forward pass")
    workers: int = Field(default=1, ge=1, description="actors that score announced articles")


class ForecastingSettings(_Block):
    """The forecasts made without being asked for, and their training."""

    horizon: int = Field(default=24, ge=1, le=720, description="candles ahead")
    input_candles: int = Field(default=168, ge=16, description="candles a model looks back over")
    train_when_missing: bool = Field(
        default=True,
        description="train a first PatchTST when a timeframe has none and history enough",
    )
    train_steps: int = Field(default=300, ge=1, description="gradient steps of that training")
    min_train_candles: int = Field(
        default=500, ge=100, description="history a series needs to take part in training"
    )


class TrainingSettings(_Block):
    """Training jobs."""

    max_running: int = Field(
        default=1, ge=1, le=64, description="jobs that run at the same time; others wait"
    )
    cpus_within_s: float = Field(
        default=900.0,
        gt=0,
        description="a job that finds no free CPUs for so long fails, and says so",
    )


class DriftSettings(_Block):
    """How what models see and how wrong they are is held against what was."""

    window_candles: int = Field(
        default=720, ge=100, description="newest candles held against those that were learnt from"
    )
    window_days: float = Field(
        default=7.0, gt=0, description="newest days of articles held against those before"
    )
    look_every_s: float = Field(
        default=900.0, ge=1, description="how often drift is measured for the metrics and the rules"
    )


class ModelsSettings(_Block):
    """How a new version of a model comes to serve, and what is watched when it does."""

    shadow: bool = Field(
        default=False,
        description="let the challenger answer too: kept and scored, never returned",
    )
    canary_share: float = Field(
        default=0.0,
        ge=0,
        le=1,
        description="share of the requests that the challenger answers, 0 to 1",
    )
    roll_back: bool = Field(
        default=True,
        description="let a new champion's predecessor forecast on as its shadow, and serve again "
        "where it is clearly the better one",
    )
    watch_origins: int = Field(
        default=0,
        ge=0,
        description="candles between two looks at a new champion's record, of four; 0: twice the "
        "forecasts' horizon, at least 30",
    )


class Settings(BaseSettings):
    """Everything that can be set. Plain values only, so that it crosses processes."""

    model_config = SettingsConfigDict(
        env_prefix="FINSIGHT_",
        env_nested_delimiter="__",
        extra="forbid",
        frozen=True,
        # A wrong value may be a password: it is not to be in any log.
        hide_input_in_errors=True,
    )

    data_dir: Path = Field(
        default=Path("~/.finsight"), description="where the embedded stores keep their files"
    )
    candles_url: str | None = Field(
        default=None, description="a bucket for candles (s3://bucket/path); unset: the data folder"
    )
    redis_url: SecretStr | None = Field(
        default=None, description="a Redis 7+ for events and state; unset: the embedded Valkey"
    )
    mlflow_tracking_uri: str | None = Field(
        default=None, description="an MLflow server; unset: SQLite in the data folder"
    )
    tavily_api_key: SecretStr | None = Field(default=None, description="key of Tavily search")
    tavily_url: str = Field(
        default="https://api.tavily.com/search", description="address of Tavily search"
    )
    api_url: str = Field(
        default="http://127.0.0.1:8000", description="where the commands find the running platform"
    )
    clock_offset_s: float = Field(
        default=0.0,
        description="added to the machine's clock; recordings replay at the time they were made",
    )
    allow_private_feeds: bool = Field(
        default=False, description="let feed addresses reach loopback and private networks"
    )
    series: tuple[CollectedSeries, ...] = Field(default=(), description="the series to collect")
    exchanges: dict[str, ExchangeSettings] = Field(
        default_factory=dict, description="how venues are spoken to, by ccxt id"
    )
    feeds: tuple[NewsFeed, ...] = Field(default=(), description="the news sources to read")
    sentiment: SentimentSettings = Field(default_factory=SentimentSettings)
    forecasting: ForecastingSettings = Field(default_factory=ForecastingSettings)
    training: TrainingSettings = Field(default_factory=TrainingSettings)
    drift: DriftSettings = Field(default_factory=DriftSettings)
    retraining: tuple[RetrainingRule, ...] = Field(
        default=(), description="models that are trained again by themselves, and when"
    )
    models: ModelsSettings = Field(default_factory=ModelsSettings)

    @field_validator("data_dir")
    @classmethod
    def _absolute(cls, folder: Path) -> Path:
        # Actors run in other working folders than the command that started them.
        return folder.expanduser().absolute()

    @model_validator(mode="after")
    def _feed_names_differ(self) -> Settings:
        names = [feed.name for feed in self.feeds]
        if len(set(names)) < len(names):
            raise ValueError(f"two feeds have the same name: {', '.join(sorted(names))}")
        return self

    @model_validator(mode="after")
    def _rule_names_differ(self) -> Settings:
        names = [rule.name for rule in self.retraining]
        if len(set(names)) < len(names):
            raise ValueError(f"two rules of retraining have the same name: {sorted(names)}")
        return self

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        return env_settings, init_settings

    @classmethod
    def load(cls, from_file: dict[str, Any] | None = None) -> Settings:
        """Read the environment over `from_file` (the `args:` of serve_config.yaml).

        Raises:
            Misconfigured: names each wrong setting and what was expected.
        """
        if from_file is not None and not isinstance(from_file, dict):
            raise Misconfigured("wrong settings: `args` must be a table of settings")
        _refuse_misspelt_variables(cls)
        try:
            return cls(**(from_file or {}))
        except SettingsError as exc:
            raise Misconfigured(f"wrong settings: {exc}; lists and tables are JSON there") from exc
        except ValidationError as exc:
            lines = [
                f"{'.'.join(str(part) for part in error['loc']) or 'settings'}: {error['msg']}"
                for error in exc.errors()
            ]
            raise Misconfigured("wrong settings: " + "; ".join(lines)) from exc

    @property
    def training_files(self) -> Path:
        """Where files lie that jobs may name."""
        return self.data_dir / "training-data"

    @property
    def valkey_address_file(self) -> Path:
        """Where the embedded Valkey writes its address, readable by its user alone."""
        return self.data_dir / "valkey" / "address.json"


def _refuse_misspelt_variables(settings: type[Settings]) -> None:
    """A name that is misspelt would else be as if it had not been set.

    Names that resemble none are let be: Kubernetes gives every container addresses
    such as FINSIGHT_SERVICE_HOST.

    Raises: Misconfigured.
    """
    known = {f"FINSIGHT_{name.upper()}" for name in settings.model_fields}
    for variable in os.environ:
        name = variable.upper().partition("__")[0]
        meant = get_close_matches(name, known, n=1, cutoff=0.9)
        if name not in known and meant:
            raise Misconfigured(f"there is no setting {variable}; did you mean {meant[0]}?")
