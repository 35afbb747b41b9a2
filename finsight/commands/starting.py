"""Commands that start the platform: demo, up."""

from __future__ import annotations

import shutil
import tempfile
import time
from pathlib import Path
from typing import Annotated, Any

import typer

from finsight.commands.api_client import ApiClient
from finsight.commands.local_platform import (
    Config,
    finsight_application,
    read_config,
    running_platform,
    shipped_config,
)
from finsight.commands.show import console, errors
from finsight.commands.stages import Stages
from finsight.commands.stopping import end_on_signals
from finsight.domain.errors import FinSightError, InvalidInput, Misconfigured
from finsight.settings import Settings

Port = Annotated[int | None, typer.Option(help="HTTP port on loopback.", min=1, max=65535)]


def register(app: typer.Typer) -> None:
    """Add this group's commands to `app`."""
    app.command()(demo)
    app.command()(up)


def demo(
    once: Annotated[bool, typer.Option(help="Run the job once and exit.")] = False,
    json_file: Annotated[
        Path | None, typer.Option("--json", help="Write what was done to this file.")
    ] = None,
    port: Port = 8000,
    data_dir: Annotated[
        Path | None, typer.Option(help="Keep the data in this new or empty folder.")
    ] = None,
    recordings: Annotated[
        Path | None,
        typer.Option(help="Other recordings: candles/VENUE/BASE-QUOTE/1h.parquet and feeds/*.rss."),
    ] = None,
) -> None:
    """Run the whole platform on recorded real data, offline, and stay up until Ctrl-C.

    Recorded exchanges and feeds → collectors → stores → events → sentiment → a PatchTST
    trained there and then → forecasts → HTTP.

    Examples:

        finsight demo

        finsight demo --once --json demo.json
    """
    from finsight.commands.demo import run_demo
    from finsight.recordings.server import RECORDINGS

    end_on_signals()
    if json_file is not None and not json_file.absolute().parent.is_dir():
        raise InvalidInput(f"there is no folder {json_file.absolute().parent} to write into")
    folder = recordings or RECORDINGS
    if not any(p.suffix in (".rss", ".xml") for p in _entries(folder / "feeds")):
        raise InvalidInput(f"{folder / 'feeds'} holds no *.rss and no *.xml")
    if data_dir is not None and _entries(data_dir, missing_is_empty=True):
        raise InvalidInput(f"{data_dir} is not empty: the demo wants a folder of its own")
    data = data_dir or Path(tempfile.mkdtemp(prefix="finsight-demo-"))
    _refuse_unwritable(data)
    try:
        run_demo(data.absolute(), port or 8000, folder.absolute(), json_file, stay=not once)
    finally:
        if data_dir is None:
            shutil.rmtree(data, ignore_errors=True)


def up(
    config: Config = None,
    port: Port = None,
) -> None:
    """Start the platform on the live exchanges and feeds of serve_config.yaml, until Ctrl-C.

    Does what `serve run serve_config.yaml` does, with the HAProxy ingress and throughput
    settings on. With RAY_ADDRESS set it runs on that cluster.

    Example: finsight up --config serve_config.yaml --port 8080
    """
    end_on_signals()
    path = config or shipped_config()
    document = read_config(path)
    if port is not None:
        document.setdefault("http_options", {})["port"] = port
    settings = Settings.load(finsight_application(document).get("args"))
    if not settings.series and not settings.feeds:
        raise Misconfigured(f"{path} names no series and no feeds: there is nothing to collect")
    _refuse_unwritable(settings.data_dir)
    stages = Stages(console)
    console.print(
        f"[bold]FinSight[/]: {len(settings.series)} series, {len(settings.feeds)} feeds, "
        f"data in {settings.data_dir}\n"
    )
    with running_platform(document, stages.stage) as addresses:
        console.print("\nUp. Ctrl-C stops everything.\n")
        console.print(f"  API             {addresses.api}")
        console.print(f"  documentation   {addresses.docs}")
        console.print(f"  Ray dashboard   {addresses.dashboard}  (token: ray get-auth-token)\n")
        try:
            with ApiClient(addresses.api, timeout_s=10) as api:
                _report_changes(api)
        except KeyboardInterrupt:
            console.print("\nstopping…")


def _report_changes(api: ApiClient) -> None:
    """Print each part's state when it changes, for ever."""
    said: dict[str, tuple[str, str]] = {}
    while True:
        try:
            parts: list[dict[str, Any]] = api.readiness().get("parts", [])
        except FinSightError as exc:
            errors.print(str(exc), style="yellow", markup=False)
            parts = []
        for part in parts:
            news = (part["state"], part["detail"] if part["state"] != "ok" else "")
            if said.get(part["part"]) != news:
                said[part["part"]] = news
                line = f"  {part['part']}: {news[0]} {part['detail']}".rstrip()
                console.print(line, markup=False)
        time.sleep(2)


def _refuse_unwritable(folder: Path) -> None:
    """Nothing could be stored there, and every part would say so for ever.

    Raises: Misconfigured.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as exc:
        raise Misconfigured(f"the data folder {folder} can't be written: {exc.strerror}") from exc


def _entries(folder: Path, missing_is_empty: bool = False) -> list[Path]:
    if missing_is_empty and not folder.exists():
        return []
    if not folder.is_dir():
        raise InvalidInput(f"{folder} is not a folder")
    return list(folder.iterdir())
