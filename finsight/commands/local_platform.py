"""The whole platform, started and stopped by one process."""

from __future__ import annotations

import logging
import os
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
import yaml
from pydantic import ValidationError

from finsight.commands.agent_port import take_any_agent_port
from finsight.commands.api_client import ApiClient
from finsight.commands.stopping import end_on_signals, no_process_left
from finsight.domain.errors import FinSightError, Misconfigured
from finsight.settings import APP_NAME, NAMESPACE

if TYPE_CHECKING:
    from ray.serve.schema import ServeDeploySchema

START_LIMIT_S = 180.0
_STOP_JOBS_WITHIN_S = 12.0

Config = Annotated[
    Path | None,
    typer.Option(help="A Serve config file; without it, the one that came with FinSight."),
]


@dataclass(frozen=True)
class Addresses:
    """Where a running platform answers."""

    api: str
    dashboard: str | None

    @property
    def docs(self) -> str:
        return f"{self.api}/docs"


def shipped_config() -> Path:
    """The serve_config.yaml that came with the package: beside it in a checkout, else inside."""
    package = Path(__file__).parents[1]
    inside = package / "serve_config.yaml"
    return inside if inside.exists() else package.parent / "serve_config.yaml"


def read_config(path: Path) -> dict[str, Any]:
    """Read a Serve config file.

    Raises:
        Misconfigured: it isn't there, isn't YAML, or names no application `finsight`.
    """
    try:
        config = yaml.safe_load(path.read_text())
    except OSError as exc:
        raise Misconfigured(
            f"can't read {path}: {exc.strerror}. Run from the project's folder, or name the file "
            "with --config"
        ) from exc
    except yaml.YAMLError as exc:
        raise Misconfigured(f"{path} is not valid YAML: {exc}") from exc
    except UnicodeDecodeError as exc:
        raise Misconfigured(f"{path} is not a text file") from exc
    applications = config.get("applications") if isinstance(config, dict) else None
    named = [app for app in applications or () if isinstance(app, dict) and "name" in app]
    if APP_NAME not in [app["name"] for app in named]:
        found = ", ".join(str(app["name"]) for app in named) or "none"
        raise Misconfigured(
            f"{path} is no config of ours: it names no application `{APP_NAME}` (found: {found})"
        )
    return dict(config)


def finsight_application(config: dict[str, Any]) -> dict[str, Any]:
    """The entry of `config` that is ours."""
    return next(app for app in config["applications"] if app["name"] == APP_NAME)


@contextmanager
def running_platform(
    config: dict[str, Any], stage: Callable[[str], AbstractContextManager[None]]
) -> Iterator[Addresses]:
    """Start Ray and everything in `config`; stop every process again at the end.

    `stage` wraps each step, to show it. Joins the cluster at RAY_ADDRESS when that is
    set; then only the application is stopped at the end.

    Raises:
        Misconfigured: the port is taken, or the application can't be built.
    """
    http = config.setdefault("http_options", {})
    if not isinstance(http, dict):
        raise Misconfigured("http_options in the config must be a table, such as {port: 8000}")
    host, port = http.setdefault("host", "127.0.0.1"), http.setdefault("port", 8000)
    _refuse_taken_port(host, port)
    set_ray_environment()

    with stage("start Ray"):
        import ray
        from ray.serve.schema import ServeDeploySchema

        try:
            schema = ServeDeploySchema.model_validate(config)
        except ValidationError as exc:
            raise Misconfigured(
                f"Ray Serve does not take this config: {_wrong_parts(exc)}"
            ) from exc
        dashboard = _start_ray()
        # Ray has put handlers of its own in place of ours.
        end_on_signals()
    try:
        with stage("start the application"):
            _deploy(schema)
        yield Addresses(api=f"http://{host}:{port}", dashboard=dashboard)
    finally:
        # Shutting Serve down gently takes half a minute, and nothing here needs it:
        # every store survives a kill. A cluster of others' keeps running, so there
        # the application is deleted.
        if os.environ.get("RAY_ADDRESS"):
            from ray import serve

            serve.delete(APP_NAME)
            ray.shutdown()
        else:
            with no_process_left():
                _stop_jobs()
                ray.shutdown()


def _stop_jobs() -> None:
    """Stop the jobs under way, so that each is written down as stopped and not as lost."""
    import ray
    from ray.exceptions import GetTimeoutError, RayError

    try:
        watch = ray.get_actor("retraining-watch", namespace=NAMESPACE)
        ray.get(watch.stop.remote(), timeout=_STOP_JOBS_WITHIN_S)
    except (ValueError, RayError, GetTimeoutError, FinSightError):
        # It is not there, or can't: what runs is killed with everything else, and the
        # next start finds it lost.
        return


def _deploy(schema: ServeDeploySchema) -> None:
    """Deploy and wait until the application answers. Raises: Misconfigured, FinSightError."""
    from ray import serve
    from ray.exceptions import RayError
    from ray.serve.context import _get_global_client

    host, port = schema.http_options.host, schema.http_options.port
    # Its news are in Ray's log files; here they would break into the progress.
    logging.getLogger("ray.serve").setLevel(logging.WARNING)
    try:
        serve.start(http_options={"host": host, "port": port}, proxy_location="EveryNode")
        # The same call as `serve run FILE` makes: there is no public one for a config.
        client = _get_global_client()
        assert client is not None
        client.deploy_apps(schema, _blocking=False)
        _wait_until_running()
    except RayError as exc:
        raise FinSightError(f"Ray could not start the application: {last_line(exc)}") from exc
    _wait_until_answering(f"http://{host}:{port}")


def set_ray_environment() -> None:
    """Choose Serve's HAProxy ingress and throughput settings before Ray is imported."""
    chosen = {
        "RAY_SERVE_ENABLE_HA_PROXY": "1",
        "RAY_SERVE_THROUGHPUT_OPTIMIZED": "1",
        "RAY_SERVE_HAPROXY_STARTUP_TIMEOUT_S": "60",
        # HAProxy binds these two on all interfaces, always; they show counts of requests.
        "RAY_SERVE_HAPROXY_STATS_PORT": str(free_port(8404)),
        "RAY_SERVE_HAPROXY_METRICS_PORT": str(free_port(9101)),
        # Ray's own ports can't be bound to loopback: a token keeps strangers out.
        "RAY_AUTH_MODE": "token",
        "RAY_USAGE_STATS_ENABLED": "0",
        # The parts are many and small: more of them may start at once than there are cores.
        "RAY_worker_maximum_startup_concurrency": "8",
    }
    for name, value in chosen.items():
        os.environ.setdefault(name, value)


def _start_ray() -> str | None:
    import ray

    address = os.environ.get("RAY_ADDRESS")
    take_any_agent_port()
    if address is not None:
        refuse_unreachable(address, f"RAY_ADDRESS={address}")
    own: dict[str, Any] = {"include_dashboard": True, "dashboard_host": "127.0.0.1"}
    try:
        context = ray.init(
            address=address or "local",
            namespace=NAMESPACE,
            log_to_driver=False,
            # What goes wrong is said by us, in one line; Ray's own words are in its log files.
            logging_level=logging.CRITICAL,
            **({} if address else own),
        )
    except (ConnectionError, TimeoutError, ValueError, RuntimeError) as exc:
        where = f"the Ray cluster at RAY_ADDRESS={address}" if address else "Ray"
        raise FinSightError(f"{where} can't be joined: {last_line(exc)}") from exc
    url = context.dashboard_url
    return f"http://{url}" if url else None


def refuse_unreachable(address: str, said: str) -> None:
    """Ray itself would try for minutes. `said`: how it was asked for. Raises: FinSightError."""
    host, _, port = address.rpartition("//")[2].rpartition(":")
    if not host or not port.isdecimal():
        return  # "auto" and the like: Ray knows where to look
    try:
        socket.create_connection((host, int(port)), timeout=5).close()
    except (OSError, OverflowError) as exc:
        raise FinSightError(f"no Ray cluster answers at {said}: {exc}") from exc


def _wait_until_running() -> None:
    from ray import serve

    deadline = time.monotonic() + START_LIMIT_S
    while True:
        application = serve.status().applications.get(APP_NAME)
        if application is not None and application.status == "RUNNING":
            return
        if application is not None and application.status == "DEPLOY_FAILED":
            raise Misconfigured(f"the application did not start: {last_line(application.message)}")
        if time.monotonic() > deadline:
            raise FinSightError(f"the application is not up after {START_LIMIT_S:.0f} s")
        time.sleep(0.2)


def _wrong_parts(error: ValidationError) -> str:
    return "; ".join(
        f"{'.'.join(str(part) for part in found['loc'])}: {found['msg']}"
        for found in error.errors()
    )


def last_line(message: object) -> str:
    """What a remote traceback comes down to."""
    return str(message).strip().splitlines()[-1].strip()


def _wait_until_answering(url: str) -> None:
    """A port that accepts is not yet an application that answers."""
    deadline = time.monotonic() + START_LIMIT_S
    with ApiClient(url, timeout_s=5) as api:
        while not api.is_running():
            if time.monotonic() > deadline:
                raise FinSightError(f"{url} does not answer after {START_LIMIT_S:.0f} s")
            time.sleep(0.1)


def free_port(wanted: int) -> int:
    """Return `wanted` if it can be bound on every interface, else some port that can."""
    for port in (wanted, 0):
        with socket.socket() as probe:
            try:
                probe.bind(("", port))
            except OSError:
                continue
            return int(probe.getsockname()[1])
    raise Misconfigured("this machine has no free port left")


def _refuse_taken_port(host: str, port: int) -> None:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as exc:
            raise Misconfigured(
                f"port {port} on {host} is taken: is FinSight running already? "
                "Stop it, or choose another with --port"
            ) from exc
