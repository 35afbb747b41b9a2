"""The rules of docs/architecture.md, checked."""

import ast
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "finsight"

# A room may import from itself and from the rooms listed; nothing else of ours.
OUTER = {"domain", "ports", "services", "backtesting", "wiring", "settings"}
MAY_IMPORT: dict[str, set[str]] = {
    "domain": set(),
    "ports": {"domain"},
    "services": {"domain", "ports"},
    "adapters": {"domain", "ports", "settings"},
    "recordings": {"domain", "ports"},
    "backtesting": {"domain", "ports"},
    "settings": {"domain"},
    "wiring": {"domain", "ports", "adapters", "settings"},
    "actors": OUTER | {"training"},
    "deployments": OUTER,
    "training": OUTER,
}
# Somebody has to make the first actor; this file does nothing else.
EXCEPTIONS = {"deployments/platform.py": {"actors"}}
SPREAD_BACKTESTS = {"backtesting/sweep.py", "backtesting/side_by_side.py"}
MAY_IMPORT_RAY = {"actors", "training", "deployments", "commands", "cli"}
NOBODY_IMPORTS = {"cli", "commands"}
FILES = sorted(PACKAGE.rglob("*.py"))


def room_of(path: Path) -> str:
    return path.relative_to(PACKAGE).with_suffix("").parts[0]


def imported_modules(path: Path) -> set[str]:
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names.add(node.module)
    return names


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(PACKAGE)))
def test_imports_point_inwards(path: Path) -> None:
    room = room_of(path)
    ours = {m.split(".")[1] for m in imported_modules(path) if m.startswith("finsight.")}
    foreign = ours - {room} - EXCEPTIONS.get(path.relative_to(PACKAGE).as_posix(), set())
    if room in NOBODY_IMPORTS:
        return
    assert foreign <= MAY_IMPORT.get(room, set()), f"{room} may not import {foreign}"


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(PACKAGE)))
def test_only_the_outer_rooms_know_ray(path: Path) -> None:
    uses_ray = any(m.split(".")[0] == "ray" for m in imported_modules(path))
    spreads = path.relative_to(PACKAGE).as_posix() in SPREAD_BACKTESTS
    assert not uses_ray or room_of(path) in MAY_IMPORT_RAY or spreads


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(PACKAGE)))
def test_a_file_fits_in_one_sitting(path: Path) -> None:
    assert len(path.read_text().splitlines()) <= 300
