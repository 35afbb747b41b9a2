"""`finsight settings`: every setting, its name in the environment, its default, its reason."""

from __future__ import annotations

import types
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import time, timedelta
from enum import Enum
from pathlib import PurePath
from typing import Annotated, Any, Literal, Union, get_args, get_origin

import typer
from pydantic import BaseModel, SecretStr
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined
from rich.text import Text

from finsight.commands.operating import AsJson
from finsight.commands.show import console, print_json
from finsight.settings import Settings

HEADING = """# Settings

Where a value comes from, first wins: the environment, the `args:` of `serve_config.yaml`, the
default. Lists and tables are JSON in the environment. This page is made by
`finsight settings --markdown`, and a test holds it to the code.

| setting | in the environment | type | default | what it does |
| --- | --- | --- | --- | --- |
"""


@dataclass(frozen=True)
class SettingLine:
    """One setting as the reference shows it."""

    name: str
    variable: str
    kind: str
    default: str
    reason: str


def register(app: typer.Typer) -> None:
    """Add this command to `app`."""
    app.command()(settings)


def settings(
    markdown: Annotated[bool, typer.Option(help="Print docs/settings.md.")] = False,
    as_json: AsJson = False,
) -> None:
    """List every setting with its name in the environment, its default and its reason.

    Example: finsight settings
    """
    lines = list(setting_lines(Settings))
    if markdown:
        print(as_markdown(lines), end="")
    elif as_json:
        print_json([vars(line) for line in lines])
    else:
        for line in lines:
            if line.variable:
                default = f"  ({line.default})" if line.default else ""
                console.print(Text.assemble((line.variable, "bold"), (default, "dim")))
                console.print(Text(f"    {line.reason}"), soft_wrap=True)


def setting_lines(block: type[BaseModel], path: tuple[str, ...] = ()) -> Iterator[SettingLine]:
    """Yield every setting of `block` and of the blocks inside it."""
    for name, field in block.model_fields.items():
        kind = field.annotation
        here = (*path, name)
        if isinstance(kind, type) and issubclass(kind, BaseModel):
            yield from setting_lines(kind, here)
            continue
        yield SettingLine(
            name=".".join(here),
            variable="FINSIGHT_" + "__".join(here).upper(),
            kind=_kind(kind),
            default=_default(field),
            reason=field.description or "",
        )
        for inner in get_args(kind):
            if isinstance(inner, type) and issubclass(inner, BaseModel):
                yield from _element_lines(inner, here)


def as_markdown(lines: list[SettingLine]) -> str:
    """Return docs/settings.md."""
    rows = []
    for line in lines:
        variable = f"`{line.variable}`" if line.variable else ""
        default = f"`{line.default}`" if line.default else ""
        kind = line.kind.replace("|", "\\|")
        rows.append(f"| `{line.name}` | {variable} | {kind} | {default} | {line.reason} |\n")
    return HEADING + "".join(rows)


def _element_lines(block: type[BaseModel], path: tuple[str, ...]) -> Iterator[SettingLine]:
    for name, field in block.model_fields.items():
        where = ".".join((*path[:-1], f"{path[-1]}[]", name))
        yield SettingLine(
            where, "", _kind(field.annotation), _default(field), field.description or ""
        )


def _kind(kind: Any) -> str:
    origin, inner = get_origin(kind), get_args(kind)
    if origin is Annotated:
        return _kind(inner[0])
    if origin is Literal:
        return " | ".join(str(value) for value in inner)
    if origin in (Union, types.UnionType):
        if all(isinstance(part, type) and issubclass(part, BaseModel) for part in inner):
            return "table"
        return " or ".join(_kind(part) for part in inner if part is not type(None))
    if origin is tuple:
        return "list"
    if origin is dict:
        return "table by name"
    if isinstance(kind, type) and issubclass(kind, Enum):
        return " | ".join(str(member.value) for member in kind)
    if getattr(kind, "__name__", "") == "AwareDatetime":
        return "time"
    names = {SecretStr: "secret", str: "text", float: "number", int: "whole number", bool: "yes/no"}
    names |= {timedelta: "span of time", time: "time of day"}
    if isinstance(kind, type) and issubclass(kind, PurePath):
        return "path"
    return names.get(kind, getattr(kind, "__name__", str(kind)))


def _default(field: FieldInfo) -> str:
    if field.is_required():
        return "required"
    default = field.get_default(call_default_factory=True, validated_data={})
    if default is None or default is PydanticUndefined or default in ((), {}):
        return ""
    if isinstance(default, timedelta):
        return f"{default / timedelta(days=1):g}d"
    return str(default.value if isinstance(default, Enum) else default)
