"""Which recipes a search may try."""

import pytest

from finsight.domain.errors import InvalidInput
from finsight.domain.forecaster_recipe import Family, ForecasterRecipe
from finsight.domain.recipe_space import Between, read_space

BASE = ForecasterRecipe()


def test_without_a_word_each_family_has_parameters_of_its_own() -> None:
    space = read_space(["patchtst", "NHITS"])
    assert space.families == [Family.PATCHTST, Family.NHITS]
    issue = {"input_size", "patch_length", "stride", "layers", "hidden_size", "heads"}
    assert issue | {"dropout", "learning_rate", "batch_size"} == set(
        space.parameters[Family.PATCHTST]
    )
    assert "patch_length" not in space.parameters[Family.NHITS]
    space.check(BASE)


def test_a_parameter_is_narrowed_for_all_or_for_one_family() -> None:
    space = read_space(
        ["patchtst", "nhits"],
        ["input_size=48,96", "nhits.layers=1..2", "learning_rate=1e-4..1e-2"],
    )
    for parameters in space.parameters.values():
        assert parameters["input_size"] == (48, 96)
        assert parameters["learning_rate"] == Between(low=1e-4, high=1e-2)
    assert space.parameters[Family.NHITS]["layers"] == (1, 2)
    assert space.parameters[Family.PATCHTST]["layers"] == (1, 2, 3)


def test_only_what_fits_together_is_a_recipe() -> None:
    space = read_space(["patchtst", "nhits"])
    fits = {"input_size": 96.0, "patch_length": 16.0, "hidden_size": 32.0, "heads": 4.0}
    recipe = space.recipe(BASE, Family.PATCHTST, fits)
    assert recipe is not None
    assert (recipe.patch_length, recipe.heads) == (16, 4)
    assert space.recipe(BASE, Family.PATCHTST, fits | {"patch_length": 97.0}) is None
    assert space.recipe(BASE, Family.PATCHTST, fits | {"heads": 5.0}) is None
    # A family without patches isn't ruled out by the usual patch.
    short = space.recipe(BASE, Family.NHITS, {"input_size": 12.0, "hidden_size": 18.0})
    assert short is not None
    assert (short.family, short.input_size) == (Family.NHITS, 12)


def test_exogenous_inputs_go_to_those_who_see_them() -> None:
    space = read_space(["patchtst", "tide"])
    base = BASE.model_copy(update={"family": Family.TIDE, "exogenous": True})
    sighted = space.recipe(base, Family.TIDE, {})
    blind = space.recipe(base, Family.PATCHTST, {})
    assert sighted is not None
    assert blind is not None
    assert (sighted.exogenous, blind.exogenous) == (True, False)


@pytest.mark.parametrize(
    ("families", "tried", "said"),
    [
        ([], [], "name at least one family"),
        (["patchtst", "lstm"], [], "'lstm' is not a family"),
        (["patchtst"], ["patch_length"], "says no values"),
        (["nhits"], ["patch_length=8"], "not a parameter of nhits that is searched"),
        (["patchtst"], ["nhits.layers=1"], "'layers' is not a parameter of nhits"),
        (["patchtst"], ["layers=1.5"], "layers must be a whole number, not 1.5"),
        (["patchtst"], ["layers=3..1"], "holds no value"),
        (["patchtst"], ["layers=0"], "layers can't be 0: "),
        (["patchtst"], ["learning_rate=1e-2..1e-3"], "low..high; not"),
        (["patchtst"], ["learning_rate=nan"], "learning_rate can't be nan"),
    ],
)
def test_what_can_not_be_searched_is_refused(
    families: list[str], tried: list[str], said: str
) -> None:
    with pytest.raises(InvalidInput, match=said):
        read_space(families, tried)
