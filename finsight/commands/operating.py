"""Commands for who runs the platform: status, dead letters, doctor."""

from __future__ import annotations

from typing import Annotated

import typer
from rich.text import Text

from finsight.commands.api_client import ApiClient
from finsight.commands.doctor import Finding, examine
from finsight.commands.show import coloured, console, print_json, print_table
from finsight.domain.errors import StoreUnavailable
from finsight.settings import Settings

AsJson = Annotated[bool, typer.Option("--json", help="Print JSON for programs.")]

_COLOURS = {
    "ok": "green",
    "warning": "yellow",
    "late": "yellow",
    "starting": "yellow",
    "stopped": "dim",
    "failed": "bold red",
}


def register(app: typer.Typer) -> None:
    """Add this group's commands to `app`."""
    app.command()(status)
    app.command()(doctor)
    app.add_typer(dead_letters, name="dead-letters")


dead_letters = typer.Typer(
    help="Events that could not be handled five times over.", no_args_is_help=True
)


def status(as_json: AsJson = False) -> None:
    """Show every part of the running platform, and how old its data is.

    Exits 1 when the platform is not ready.

    Example: finsight status --json
    """
    with ApiClient(Settings.load().api_url) as api:
        readiness = api.readiness()
        try:
            letters = api.get("/v1/operations/dead-letters", limit=1)["count"]
        except StoreUnavailable:
            letters = None  # the event server is down: its own line says so
    readiness["dead_letters"] = letters
    if as_json:
        print_json(readiness)
    else:
        rows = [
            (part["part"], _state(part["state"]), _age(part.get("age_s")), part["detail"])
            for part in readiness.get("parts", [])
        ]
        print_table("Parts", ("part", "state", "age of data", "detail"), rows)
        if readiness["dead_letters"]:
            console.print(
                f"[bold red]{readiness['dead_letters']} dead letters[/]: "
                "see `finsight dead-letters list`"
            )
        if not readiness["ready"]:
            console.print("[bold red]not ready[/]")
        elif readiness.get("degraded"):
            console.print("[yellow]ready, degraded[/]: some part is less than well")
        else:
            console.print("[green]ready[/]")
    if not readiness["ready"]:
        raise typer.Exit(1)


def doctor(as_json: AsJson = False) -> None:
    """Check Python, packages, disk, ports, Redis, models and internet, and say how to mend each.

    Exits 1 when something must be mended before the platform can start.

    Example: finsight doctor
    """
    findings = examine(Settings.load())
    if as_json:
        print_json([finding.as_dict() for finding in findings])
    else:
        for finding in findings:
            _print_finding(finding)
    if any(finding.state == "failed" for finding in findings):
        raise typer.Exit(1)


@dead_letters.command("list")
def list_dead_letters(as_json: AsJson = False) -> None:
    """List the events that every attempt failed on, newest first.

    Example: finsight dead-letters list
    """
    with ApiClient(Settings.load().api_url) as api:
        letters = api.get("/v1/operations/dead-letters")
    if as_json:
        print_json(letters)
        return
    rows = [
        (letter["id"], letter["group"], letter["failed_at"], letter["error"][:80])
        for letter in letters["dead_letters"]
    ]
    print_table("Dead letters", ("id", "group", "failed at", "error"), rows)


@dead_letters.command("resend")
def resend_dead_letter(
    letter_id: Annotated[str, typer.Argument(help="The id that `dead-letters list` shows.")],
) -> None:
    """Hand a dead letter's event to its group once more.

    Example: finsight dead-letters resend 1733990400000-0
    """
    with ApiClient(Settings.load().api_url) as api:
        api.post(f"/v1/operations/dead-letters/{letter_id}/resend", {})
    console.print(f"sent {letter_id} again")


def _state(state: str) -> Text:
    return coloured(state, _COLOURS.get(state, "default"))


def _print_finding(finding: Finding) -> None:
    """One line of what was found, and where something can be done, one of what."""
    line = Text.assemble(
        f"  {finding.check:<17}",
        coloured(f"{finding.state:<9}", _COLOURS[finding.state]),
        finding.found,
    )
    console.print(line, soft_wrap=True)
    if finding.mend:
        console.print(Text(f"{'':28}→ {finding.mend}"), soft_wrap=True)


def _age(seconds: float | None) -> str:
    if seconds is None:
        return ""
    for size, unit in ((86_400, "d"), (3_600, "h"), (60, "min")):
        if seconds >= size:
            return f"{seconds / size:.1f} {unit}"
    return f"{seconds:.0f} s"
