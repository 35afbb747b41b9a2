"""What the documents say is there, is there; and what is there is in the documents."""

import re
import stat
from pathlib import Path

import pytest
import typer.main

from finsight.commands.application import app
from finsight.commands.settings_reference import as_markdown, setting_lines
from finsight.settings import Settings

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
COMMAND = re.compile(r"^\| `finsight ([a-z -]+)` \|", re.MULTILINE)
TARGET = re.compile(r"^([a-z]+):.*##", re.MULTILINE)
LINK = re.compile(r"\]\(([^)#\s]+)")


def commands_of(group: object, path: str = "") -> set[str]:
    found: set[str] = set()
    for name, command in getattr(group, "commands", {}).items():
        inner = commands_of(command, f"{path}{name} ")
        found |= inner or {path + name}
    return found


def test_the_settings_page_is_what_the_command_prints() -> None:
    printed = as_markdown(list(setting_lines(Settings)))
    assert (ROOT / "docs/settings.md").read_text() == printed, (
        "run: finsight settings --markdown > docs/settings.md"
    )


def test_every_setting_says_what_it_does() -> None:
    assert [line.name for line in setting_lines(Settings) if not line.reason] == []


def test_the_commands_page_lists_the_commands_there_are() -> None:
    listed = COMMAND.findall((ROOT / "docs/commands.md").read_text())
    assert sorted(listed) == sorted(commands_of(typer.main.get_command(app)))


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_pages_name_only_targets_of_the_makefile_and_commands_that_exist(page: Path) -> None:
    text = page.read_text()
    targets = set(TARGET.findall((ROOT / "Makefile").read_text()))
    assert set(re.findall(r"(?:`|^)make ([a-z]+)", text, re.MULTILINE)) <= targets
    known = {command.split()[0] for command in commands_of(typer.main.get_command(app))}
    assert set(re.findall(r"(?:`|^)finsight ([a-z][a-z-]+)", text, re.MULTILINE)) <= known


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_between_pages_lead_somewhere(page: Path) -> None:
    linked = [link for link in LINK.findall(page.read_text()) if "://" not in link]
    assert [link for link in linked if not (page.parent / link).exists()] == []


def test_what_ci_runs_is_there_and_may_be_run() -> None:
    script = ROOT / ".ci/run"
    assert script.stat().st_mode & stat.S_IXUSR
    used = set(re.findall(r"^make ([a-z]+)", script.read_text(), re.MULTILINE))
    targets = set(TARGET.findall((ROOT / "Makefile").read_text()))
    assert "test" in used
    assert used <= targets
    assert {"install", "demo", "up", "test", "lint", "types", "bench"} <= targets
