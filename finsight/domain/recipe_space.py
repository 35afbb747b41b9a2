"""Which recipes a search may try: choices for each parameter, and the combinations that fit."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Mapping
from typing import Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from finsight.domain.errors import InvalidInput
from finsight.domain.forecaster_recipe import Family, ForecasterRecipe


class Between(BaseModel):
    """Any number from `low` to `high`, each order of magnitude as likely as another."""

    model_config = ConfigDict(frozen=True)

    low: float = Field(gt=0)
    high: float

    @model_validator(mode="after")
    def _rises(self) -> Self:
        if self.high <= self.low:
            raise ValueError(f"{self.low:g}..{self.high:g} must rise")
        return self


Values = tuple[float, ...] | Between

_SHARED: dict[str, Values] = {
    "input_size": (96, 168, 336),
    "hidden_size": (16, 32, 64, 128),
    "dropout": (0.0, 0.1, 0.2, 0.3, 0.5),
    "learning_rate": Between(low=1e-4, high=5e-3),
    "batch_size": (32, 64, 128),
}
SPACES: dict[Family, dict[str, Values]] = {
    Family.PATCHTST: {
        **_SHARED,
        "patch_length": (8, 16, 24, 32),
        "stride": (4, 8, 16, 24),
        "layers": (1, 2, 3),
        "heads": (1, 2, 4, 8, 16),
    },
    Family.NHITS: {**_SHARED, "layers": (1, 2, 3)},
    Family.TIDE: {**_SHARED, "layers": (1, 2)},
}
"""What is tried where nothing else is asked for: what each family's network is made from."""

_SIZES = ("input_size", "patch_length", "hidden_size", "heads")
_WHOLE = frozenset(
    name for name, field in ForecasterRecipe.model_fields.items() if field.annotation is int
)


class RecipeSpace(BaseModel):
    """The families that compete, and for each its parameters and their values."""

    model_config = ConfigDict(frozen=True)

    parameters: Mapping[Family, Mapping[str, Values]]

    @property
    def families(self) -> list[Family]:
        return list(self.parameters)

    def recipe(
        self, base: ForecasterRecipe, family: Family, values: Mapping[str, float]
    ) -> ForecasterRecipe | None:
        """Return `base` with these values, or None where they don't fit together."""
        # Only PatchTST is blind to anything but closes.
        exogenous = base.exogenous and family is not Family.PATCHTST
        given = {
            name: int(value) if name in _WHOLE else float(value) for name, value in values.items()
        }
        changed = {"family": family, "exogenous": exogenous, **given}
        if family is not Family.PATCHTST:
            # They have no patches and no heads: the usual ones must not rule anything out.
            changed |= {"patch_length": 1, "stride": 1, "heads": 1}
        try:
            return ForecasterRecipe(**base.model_dump() | changed)
        except ValidationError:
            return None

    def check(self, base: ForecasterRecipe) -> None:
        """Raises: InvalidInput (no combination of a family's values fits together)."""
        for family, parameters in self.parameters.items():
            if not any(self.recipe(base, family, values) for values in _corners(parameters)):
                sizes = ", ".join(
                    f"{name} {_words(parameters[name])}" for name in _SIZES if name in parameters
                )
                raise InvalidInput(
                    f"no combination of {family}'s values fits together ({sizes}): a patch must "
                    "fit in the input, hidden_size be a multiple of heads"
                )


def read_space(families: Iterable[str], tried: Iterable[str] = ()) -> RecipeSpace:
    """Return the space of `families`, narrowed by lines such as `patch_length=8,16`.

    `learning_rate=1e-4..1e-2` is any number between; a name before the parameter
    (`nhits.layers=1,2`) speaks of that family alone.

    Raises: InvalidInput (an unknown family or parameter, a value that can't be).
    """
    chosen = {_family(name): dict(SPACES[_family(name)]) for name in families}
    if not chosen:
        raise InvalidInput(f"name at least one family: {', '.join(Family)}")
    for line in tried:
        name, equals, text = line.partition("=")
        before, _, parameter = name.strip().rpartition(".")
        of = [_family(before)] if before else list(chosen)
        if not equals or not text.strip():
            raise InvalidInput(f"'{line}' says no values; write patch_length=8,16 or lr=1e-4..1e-2")
        known = [family for family in of if parameter in SPACES[family] and family in chosen]
        if not known:
            names = sorted({name for family in of for name in SPACES[family]})
            raise InvalidInput(
                f"'{parameter}' is not a parameter of {', '.join(of)} that is searched; "
                f"known are {', '.join(names)}"
            )
        for family in known:
            chosen[family][parameter] = _values(parameter, text.strip())
    return RecipeSpace(parameters=chosen)


def _family(name: str) -> Family:
    try:
        return Family(name.strip().lower())
    except ValueError as exc:
        raise InvalidInput(
            f"'{name}' is not a family of forecasters; known are {', '.join(Family)}"
        ) from exc


def _values(parameter: str, text: str) -> Values:
    """Raises: InvalidInput."""
    try:
        low, between, high = text.partition("..")
        if between and parameter in _WHOLE:
            values: Values = tuple(range(int(low), int(high) + 1))
        elif between:
            values = Between(low=float(low), high=float(high))
        else:
            values = tuple(dict.fromkeys(float(part) for part in text.split(",")))
    except ValueError as exc:
        raise InvalidInput(
            f"the values of {parameter} are numbers with commas between, or low..high; not '{text}'"
        ) from exc
    ends = (values.low, values.high) if isinstance(values, Between) else values
    for end in ends:
        if parameter in _WHOLE and end != int(end):
            raise InvalidInput(f"{parameter} must be a whole number, not {end:g}")
        wrong = _wrong(parameter, end)
        if wrong:
            raise InvalidInput(f"{parameter} can't be {end:g}: {wrong}")
    if not ends:
        raise InvalidInput(f"{parameter}={text} holds no value")
    return values


def _wrong(parameter: str, value: float) -> str:
    """Return what the recipe has against a value by itself, or nothing."""
    number = int(value) if parameter in _WHOLE else value
    try:
        ForecasterRecipe.model_validate({parameter: number})
    except ValidationError as exc:
        return next((e["msg"] for e in exc.errors() if e["loc"] == (parameter,)), "")
    return ""


def _corners(parameters: Mapping[str, Values]) -> Iterator[dict[str, float]]:
    """Every combination of the sizes that must fit together, other parameters left alone."""
    names = [name for name in _SIZES if name in parameters]
    choices = [parameters[name] for name in names]
    for values in itertools.product(*(c for c in choices if not isinstance(c, Between))):
        yield dict(zip(names, values, strict=True))


def _words(values: Values) -> str:
    if isinstance(values, Between):
        return f"{values.low:g} to {values.high:g}"
    return "/".join(f"{value:g}" for value in values)
