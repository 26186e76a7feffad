"""What the settings say of balancing."""

import pytest

from config.settings import ConfigError, load
from server.regions.balance import Policy
from server.roles.world import balance_policy, region_parts, world_atlas


def test_the_defaults_are_the_policys_own():
    settings = load(overrides={"world.entities_max": 4096}, environment={})
    assert balance_policy(settings) == Policy(entities_max=4096)


def test_every_value_reaches_the_policy():
    given = {"difference": 0.5, "gain": 0.3, "split_load": 0.9, "merge_load": 0.4, "split_fill": 0.7}
    settings = load(overrides={f"balance.{key}": value for key, value in given.items()}, environment={})
    assert balance_policy(settings) == Policy(entities_max=settings.world.entities_max, **given)


@pytest.mark.parametrize(
    "given",
    [{"balance.gain": 0.3}, {"balance.merge_load": 0.31}, {"balance.split_load": 0.3}, {"balance.rest_s": 11.0}],
)
def test_what_would_never_settle_is_refused(given):
    with pytest.raises(ConfigError):
        load(overrides=given, environment={})


def test_parts_are_those_that_the_settings_allow():
    grid = {"world.columns": 2, "world.rows": 1}
    assert region_parts(load(overrides=grid, environment={})) == {1: (), 2: ()}
    divisible = load(overrides={**grid, "world.split_depth": 1}, environment={})
    parts = region_parts(divisible)
    assert sorted(parts) == [1, 2]
    assert sorted({1, 2}.union(*parts.values())) == [site.id for site in world_atlas(divisible).sites]
