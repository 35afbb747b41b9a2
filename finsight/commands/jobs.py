"""Commands for training jobs on the running platform, and for drift."""

from __future__ import annotations

import getpass
import time
from datetime import datetime
from typing import Annotated, Any
from urllib.parse import quote

import typer

from finsight.commands.api_client import ApiClient
from finsight.commands.operating import AsJson
from finsight.commands.show import coloured, console, print_json, print_table
from finsight.domain.errors import InvalidInput
from finsight.domain.job_requests import parse_job_request
from finsight.settings import Settings

jobs = typer.Typer(
    help="Trainings, searches and evaluations as jobs of the running platform.",
    no_args_is_help=True,
)
_COLOURS = {
    "queued": "yellow",
    "running": "cyan",
    "succeeded": "green",
    "failed": "bold red",
    "lost": "red",
    "cancelled": "dim",
}
_LOOK_S = 1.0
_PAGE = 1000
_JobId = Annotated[str, typer.Argument(help="The id that `jobs list` shows.")]


def register(app: typer.Typer) -> None:
    """Add this group to `app`."""
    app.add_typer(jobs, name="jobs")


@jobs.command(
    "submit",
    context_settings={"allow_extra_args": True, "ignore_unknown_options": True},
)
def submit(
    context: typer.Context,
    kind: Annotated[str, typer.Argument(help="train-sentiment, train-forecaster, …")],
    as_json: AsJson = False,
) -> None:
    """Queue a job on the running platform, and print its id.

    After the kind come its files and options, as `POST /v1/training` names them. Files lie
    below the data folder's training-data/.

    Examples:

        finsight jobs submit train-forecaster --timeframe 1h --promote

        finsight jobs submit train-sentiment news.csv --lora --epochs 3
    """
    options = options_in(context.args)
    # Said here already, in the words of the options; the platform checks it again.
    request = parse_job_request({"kind": kind, **options})
    with _platform() as api:
        job = api.post(f"/v1/training?by={_me()}", request.model_dump(mode="json"))
    if as_json:
        print_json(job)
    else:
        console.print(
            f"{job['id']} is {job['state']}; follow it with `finsight jobs logs {job['id']} "
            "--follow`",
            soft_wrap=True,
        )


@jobs.command("list")
def list_jobs(
    state: Annotated[
        list[str] | None, typer.Option(help="Only those that are: queued, running, failed, …")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """List jobs, newest first.

    Example: finsight jobs list --state failed --state lost
    """
    with _platform() as api:
        found = api.get("/v1/training", state=state)
    if as_json:
        print_json(found)
        return
    rows = [
        (
            job["id"],
            job["request"]["kind"],
            coloured(_state_of(job), _COLOURS.get(job["state"], "default")),
            _short(job["submitted_at"]),
            _took(job),
            job["reason"] or job["by"],
        )
        for job in found["jobs"]
    ]
    print_table("Jobs", ("id", "kind", "state", "submitted (UTC)", "took", "of note"), rows)


@jobs.command("show")
def show(job_id: _JobId, as_json: AsJson = False) -> None:
    """Show one job: what was asked, by whom, what became of it.

    Example: finsight jobs show job-3f2a90c1d4
    """
    with _platform() as api:
        job = api.get(f"/v1/training/{job_id}")
    if as_json:
        print_json(job)
        return
    options = {k: v for k, v in job["request"].items() if k != "kind" and v not in (None, False)}
    said = ", ".join(f"{name} {_plain(value)}" for name, value in options.items() if value != [])
    model = f"{job['model']} {job['model_version']}" if job["model"] else None
    rows = [
        ("kind", job["request"]["kind"]),
        ("options", said),
        ("by", job["by"]),
        ("state", coloured(_state_of(job), _COLOURS.get(job["state"], "default"))),
        ("reason", job["reason"]),
        ("submitted", _short(job["submitted_at"])),
        ("started", _short(job["started_at"])),
        ("ended", _short(job["ended_at"])),
        ("attempts", str(job["attempts"])),
        ("registered", model),
        ("Ray's submission id", job["run_id"]),
    ]
    print_table(job["id"], ("", ""), [row for row in rows if row[1]])


@jobs.command("logs")
def logs(
    job_id: _JobId,
    tail: Annotated[int, typer.Option(help="So many of the last lines.", min=1)] = 200,
    follow: Annotated[bool, typer.Option(help="Go on until the job has ended.")] = False,
) -> None:
    """Print what a job has printed. With --follow, exits 1 unless it succeeds.

    Example: finsight jobs logs job-3f2a90c1d4 --follow
    """
    with _platform() as api:
        part = api.get(f"/v1/training/{job_id}/logs", tail=min(tail, 10_000))
        _print_lines(part)
        if not follow:
            return
        while not part["ended"]:
            time.sleep(_LOOK_S if not part["lines"] else 0)
            part = api.get(f"/v1/training/{job_id}/logs", after=part["next"], tail=_PAGE)
            _print_lines(part)
        job = api.get(f"/v1/training/{job_id}")
    console.print(f"[dim]{job_id}[/] {job['state']}: {job['reason']}", soft_wrap=True)
    if job["state"] != "succeeded":
        raise typer.Exit(1)


@jobs.command("cancel")
def cancel(job_id: _JobId, as_json: AsJson = False) -> None:
    """Cancel a job that waits, or stop one that runs.

    Example: finsight jobs cancel job-3f2a90c1d4
    """
    with _platform() as api:
        job = api.post(f"/v1/training/{job_id}/cancel?by={_me()}", {})
    _say(job, "is being stopped" if job["cancel_asked"] else "is cancelled", as_json)


@jobs.command("retry")
def retry(job_id: _JobId, as_json: AsJson = False) -> None:
    """Run a job that failed, was cancelled or was lost once more.

    Example: finsight jobs retry job-3f2a90c1d4
    """
    with _platform() as api:
        job = api.post(f"/v1/training/{job_id}/retry", {})
    _say(job, "waits for its next attempt", as_json)


@jobs.command("drift")
def drift(as_json: AsJson = False) -> None:
    """Show how far what the models see is from what they learnt from.

    Example: finsight jobs drift
    """
    with _platform() as api:
        found = api.get("/v1/training/drift")
    if as_json:
        print_json(found)
        return
    for report in found["reports"]:
        rows = [
            (
                one["series"] or "",
                one["feature"],
                f"{one['psi']:.3f}",
                "" if one["usual"] is None else f"{one['usual']:.3f}",
                one["state"],
            )
            for one in report["features"]
        ]
        title = f"{report['model']}, version {report['version']}"
        print_table(title, ("series", "feature", "PSI", "usual below", "state"), rows)
        errors = report["errors"]
        if errors is not None:
            console.print(
                f"errors against naive: {errors['before']:+.3f} before, "
                f"{errors['lately']:+.3f} lately, p {errors['p_value']:.3f}: {errors['state']}"
            )
        for note in report["notes"]:
            console.print(f"  {note}", style="dim", markup=False)


def options_in(arguments: list[str]) -> dict[str, Any]:
    """Turn `news.csv --lora --epochs 3 --test a.csv b.csv` into a request's options.

    An option without a value is a yes; those that name files take several. What comes
    before the first option is `files`.

    Raises: InvalidInput.
    """
    found: dict[str, list[str]] = {}
    current = "files"
    for argument in arguments:
        if argument.startswith("-"):
            name, has_value, value = argument.lstrip("-").partition("=")
            if not argument.startswith("--") or not name:
                raise InvalidInput(f"'{argument}' is no option; they begin with two dashes")
            current = name.replace("-", "_")
            if current in found:
                raise InvalidInput(f"--{name} is given twice")
            found[current] = [value] if has_value else []
        else:
            found.setdefault(current, []).append(argument)
    options: dict[str, Any] = {}
    for name, values in found.items():
        if name in ("files", "valid", "test"):
            options[name] = values
        elif len(values) > 1:
            raise InvalidInput(
                f"--{name.replace('_', '-')} takes one value, and got {' '.join(values)}; files "
                "come right after the kind"
            )
        else:
            options[name] = values[0] if values else True
    return options


def _platform() -> ApiClient:
    return ApiClient(Settings.load().api_url)


def _me() -> str:
    try:
        return quote(getpass.getuser())
    except (OSError, KeyError):
        return quote("a command")


def _say(job: dict[str, Any], what: str, as_json: bool) -> None:
    if as_json:
        print_json(job)
    else:
        console.print(f"{job['id']} {what}")


def _print_lines(part: dict[str, Any]) -> None:
    for line in part["lines"]:
        print(line, flush=True)


def _state_of(job: dict[str, Any]) -> str:
    return "stopping" if job["cancel_asked"] else str(job["state"])


def _short(moment: str | None) -> str:
    return "" if moment is None else moment[:19].replace("T", " ")


def _took(job: dict[str, Any]) -> str:
    if job["started_at"] is None or job["ended_at"] is None:
        return ""
    began, ended = (datetime.fromisoformat(job[name]) for name in ("started_at", "ended_at"))
    seconds = (ended - began).total_seconds()
    return f"{seconds:.0f} s" if seconds < 120 else f"{seconds / 60:.0f} min"


def _plain(value: Any) -> str:
    return " ".join(map(str, value)) if isinstance(value, list) else str(value)
