"""Runs of training commands as Ray jobs, by the cluster's own job server."""

from __future__ import annotations

import asyncio
import importlib.util
import json
import os
import shlex
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, TypeVar

import psutil
import ray
from pydantic import SecretStr
from ray.exceptions import AuthenticationError, RayError

from finsight.domain.errors import InvalidInput, SourceUnavailable
from finsight.domain.job_options import JobKind
from finsight.domain.job_requests import JobRequest, TrainForecaster, TuneForecaster
from finsight.ports.training_jobs import Cpus, Run, RunState
from finsight.services.training_jobs import MODULES
from finsight.settings import Settings

if TYPE_CHECKING:
    from ray.job_submission import JobSubmissionClient

T = TypeVar("T")

RUN_VARIABLE = "FINSIGHT_RUN"
"""Every process of a run, and every one it starts, has the run's id in this variable."""

_OF_NO_USE_TO_JOBS = {"series", "feeds", "exchanges", "retraining", "training", "drift", "api_url"}
_CPUS_OF_RAY_TRAIN = 2.0
_GONE_WITHIN_S = 4.0
_KILLED_WITHIN_S = 5.0


class RayJobRunner:
    """Implements `ports.training_jobs.JobRunner` over Ray's JobSubmissionClient.

    Made in a process that belongs to the cluster, on the head node, where the drivers
    of Ray jobs run: only there can their processes be seen. The command line is built
    from a list and quoted; a driver asks for no CPU, so that what it starts can have them.
    """

    def __init__(self, settings: Settings, modules: Mapping[JobKind, str] = MODULES) -> None:
        self._settings = settings
        self._modules = modules
        self._client: JobSubmissionClient | None = None

    async def start(self, run_id: str, request: JobRequest) -> None:
        module = self._modules[request.kind]
        if importlib.util.find_spec(module) is None:
            raise InvalidInput(f"this FinSight comes without {module}")
        files = self._settings.training_files.as_posix()
        command = [sys.executable, "-m", module, *request.arguments(files)]
        command += self._place_to_go_on(run_id, request)
        if (await self.look(run_id)).state is not RunState.UNKNOWN:
            return
        alone = (
            isinstance(request, TrainForecaster) and (await self.cpus()).free < _CPUS_OF_RAY_TRAIN
        )
        if alone:
            # In the driver itself, which then takes the CPU: on a laptop the deployments leave
            # too few for a worker of Ray Train and the tasks that read for it.
            command = ["env", "-u", "RAY_ADDRESS", *command]
        else:
            # Ray's job supervisor takes the cluster that `ray start` began last on the machine,
            # also where that one is gone, for the job's own.
            here = ray.get_runtime_context().gcs_address
            command = ["env", f"RAY_ADDRESS={here}", *command]
        variables = {**settings_as_environment(self._settings), RUN_VARIABLE: run_id}
        await self._ask(
            lambda client: client.submit_job(
                entrypoint=shlex.join(command),
                submission_id=run_id,
                runtime_env={"env_vars": variables},
                metadata={"finsight": request.kind.value},
                entrypoint_num_cpus=1 if alone else 0,
            )
        )

    def _place_to_go_on(self, run_id: str, request: JobRequest) -> list[str]:
        """Where a search or a training keeps how far it is, so that the next attempt goes on."""
        job_id, data_dir = run_id.rpartition(".")[0], self._settings.data_dir
        if isinstance(request, TuneForecaster):
            began = (data_dir / "searches" / job_id).exists()
            return [f"--{'resume' if began else 'name'}={job_id}"]
        if isinstance(request, TrainForecaster):
            return [f"--state={data_dir / 'training-states' / job_id}"]
        return []

    async def look(self, run_id: str) -> Run:
        def ask(client: JobSubmissionClient) -> Run:
            try:
                details = client.get_job_info(run_id)
            except RuntimeError as exc:
                if "status code 404" in str(exc):
                    return Run(RunState.UNKNOWN)
                raise
            return Run(
                RunState(details.status.value.lower()),
                " ".join((details.message or "").split())[:500],
                details.driver_exit_code,
            )

        return await self._ask(ask)

    async def log(self, run_id: str) -> str:
        return await self._ask(lambda client: str(client.get_job_logs(run_id)))

    async def stop(self, run_id: str) -> None:
        await self._ask(lambda client: client.stop_job(run_id))

    async def end_leftovers(self, run_id: str) -> int:
        return await asyncio.to_thread(end_processes_of, run_id)

    async def cpus(self) -> Cpus:
        def ask() -> Cpus:
            free: dict[str, float] = ray.available_resources()  # type: ignore[no-untyped-call]
            whole: dict[str, float] = ray.cluster_resources()  # type: ignore[no-untyped-call]
            return Cpus(free=free.get("CPU", 0.0), all=whole.get("CPU", 0.0))

        try:
            return await asyncio.to_thread(ask)
        except RayError as exc:
            raise SourceUnavailable(f"Ray does not say what is free: {exc}") from exc

    async def _ask(self, question: Callable[[JobSubmissionClient], T]) -> T:
        def ask() -> T:
            with _job_server_errors_translated():
                if self._client is None:
                    self._client = _open_client()
                return question(self._client)

        try:
            return await asyncio.to_thread(ask)
        except SourceUnavailable:
            # The next question asks anew where the job server is.
            self._client = None
            raise


def _open_client() -> JobSubmissionClient:
    from ray.dashboard.utils import ray_address_to_api_server_url
    from ray.job_submission import JobSubmissionClient

    # Of this very cluster: "auto" would take any that runs on the machine.
    address = ray.get_runtime_context().gcs_address
    return JobSubmissionClient(ray_address_to_api_server_url(address))


@contextmanager
def _job_server_errors_translated() -> Iterator[None]:
    try:
        yield
    except AuthenticationError as exc:
        raise SourceUnavailable(
            "Ray's dashboard refuses the token: set RAY_AUTH_MODE and RAY_AUTH_TOKEN as for `ray "
            "get-auth-token`"
        ) from exc
    # ConnectionError, requests' errors (OSError) and the client's own RuntimeError.
    except (OSError, RuntimeError, ValueError, RayError) as exc:
        reason = str(exc).strip().splitlines()[0][:300] if str(exc).strip() else type(exc).__name__
        raise SourceUnavailable(
            f"jobs need Ray's dashboard, and it does not answer: {reason}"
        ) from exc


def settings_as_environment(settings: Settings) -> dict[str, str]:
    """Return what makes `Settings.load()` in a job give the same, as far as jobs need it.

    Secrets are left out: Ray's dashboard shows a job's environment. A cluster's nodes get
    them from their own.
    """
    variables: dict[str, str] = {}
    for name, field in type(settings).model_fields.items():
        value = getattr(settings, name)
        if name in _OF_NO_USE_TO_JOBS or isinstance(value, SecretStr):
            continue
        if value == field.get_default(call_default_factory=True, validated_data={}):
            continue
        plain = settings.model_dump(mode="json", include={name})[name]
        is_text = isinstance(plain, str)
        variables[f"FINSIGHT_{name.upper()}"] = plain if is_text else json.dumps(plain)
    variables["FINSIGHT_DATA_DIR"] = str(settings.data_dir)
    return variables


def end_processes_of(run_id: str) -> int:
    """Wait for the processes of a run on this machine to go; kill those that don't, count them.

    Ray ends a driver with its children, and the workers it was given; a process that one
    of those workers has started may stay.
    """
    left = processes_of(run_id)
    if left:
        _, left = psutil.wait_procs(left, timeout=_GONE_WITHIN_S)
    # One that was killed may have been starting another.
    killed = 0
    for _ in range(3):
        for process in left:
            try:
                process.kill()
                killed += 1
            except psutil.NoSuchProcess:
                continue
        psutil.wait_procs(left, timeout=_KILLED_WITHIN_S)
        left = processes_of(run_id)
        if not left:
            break
    return killed


def processes_of(run_id: str) -> list[Any]:
    """The processes of this machine that carry a run's id."""
    found = []
    for process in psutil.process_iter():
        try:
            is_dead = process.status() == psutil.STATUS_ZOMBIE
            if not is_dead and process.environ().get(RUN_VARIABLE) == run_id:
                found.append(process)
        except (psutil.Error, OSError):
            # Another user's, or gone by now.
            continue
    return [process for process in found if process.pid != os.getpid()]
