"""Settings: where a value comes from, what is refused, and how the refusal reads."""

from __future__ import annotations

from pathlib import Path

import pytest
from pydantic import SecretStr, ValidationError

from config import document
from config.settings import ConfigError, Settings, load

SECRET = "0123456789abcdef0123456789abcdef"


def write(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "everstep.toml"
    path.write_text(text, encoding="utf-8")
    return path


def test_without_anything_said_the_defaults_hold():
    assert load(environment={}) == Settings()


def test_the_default_file_says_what_the_classes_say(root: Path):
    assert load(root / "config" / "everstep.toml", environment={}) == Settings()


def test_a_file_may_switch_by_number(tmp_path: Path):
    node = load(write(tmp_path, "[node]\nstandby = 1\nbalance = 0\n"), environment={}).node
    assert (node.standby, node.balance) == (True, False)


def test_the_later_source_wins(tmp_path: Path):
    path = write(tmp_path, "[world]\nseed = 2\nwidth = 512.0\n[server]\nport = 2\n")
    environment = {"EVERSTEP_WORLD__SEED": "3", "EVERSTEP_SERVER__PORT": "3", "HOME": "/", "EVERSTEP_": "x"}
    settings = load(path, {"server.port": 4, "server.host": None}, environment)
    assert (settings.world.width, settings.world.seed, settings.server.port) == (512.0, 3, 4)
    assert settings.server.host == Settings().server.host


@pytest.mark.parametrize(
    ("name", "text", "value"),
    [
        ("WORLD__TICK_RATE_HZ", "30", 30),
        ("GATEWAY__GRACE_S", "1.5", 1.5),
        # A whole number is fine where a fraction may stand.
        ("GATEWAY__GRACE_S", "2", 2.0),
        ("GATEWAY__LOOPBACK_EXEMPT", "false", False),
        # And 0 and 1 where false and true may.
        ("GATEWAY__LOOPBACK_EXEMPT", "0", False),
        ("NODE__STANDBY", "1", True),
        ("SERVER__HOST", "::1", "::1"),
        ("SERVER__DATA_DIR", "12", Path("12")),
        ("SERVER__ORIGINS", '["https://a.example", "*"]', ("https://a.example", "*")),
        ("HOST__DURABILITY", "strict", "strict"),
        # Digits alone are a text where a text is meant.
        ("AUTH__JWT_SECRET", "1" * 32, SecretStr("1" * 32)),
    ],
)
def test_a_variable_is_read_as_the_type_of_its_setting(name: str, text: str, value: object):
    section, key = name.lower().split("__")
    settings = load(environment={f"EVERSTEP_{name}": text})
    assert getattr(getattr(settings, section), key) == value


@pytest.mark.parametrize(
    ("toml", "key", "reason"),
    [
        ("[world]\ntick_rate_hz = 0\n", "world.tick_rate_hz", "greater than or equal to 1"),
        ("[world]\ntick_rate_hz = 61\n", "world.tick_rate_hz", "less than or equal to 60"),
        ("[world]\ntick_rate_hz = 20.5\n", "world.tick_rate_hz", "valid integer"),
        ('[world]\ntick_rate_hz = "20"\n', "world.tick_rate_hz", "valid integer"),
        ("[world]\nseed = true\n", "world.seed", "valid integer"),
        ("[node]\nstandby = 2\n", "node.standby", "valid boolean"),
        ("[world]\nwidth = nan\n", "world.width", "finite number"),
        ("[world]\nwidth = inf\n", "world.width", "finite number"),
        ("[world]\nsped = 1\n", "world.sped", "no such setting"),
        ("[wrold]\nseed = 1\n", "wrold", "no such setting"),
        ("[travel]\ntoken = ''\n", "travel.token", "it is called operator.token now"),
        ("seed = 1\n", "seed", "must be a table"),
        ('[host]\ndurability = "never"\n', "host.durability", "'pipelined' or 'strict'"),
        ("[world]\nregion_id = 65535\ncolumns = 2\n", "world", "numbered up to 65535"),
        ("[world]\nregion_id = 65533\nsplit_depth = 1\n", "world", "numbered up to 65535"),
        ("[view]\nnear_cells = 5\n", "view", "far_cells must be at least near_cells"),
        ("[view]\nhysteresis_units = 17.0\n", "view", "at most half of cell_units"),
        ("[world]\nwidth = 65536.0\nheight = 65536.0\n", "", "more than 1048576 cells"),
        ('[store]\nkind = "mongodb"\n[mail]\nbytes_per_tick_max = 8388609\n', "", "at most 8388608 with MongoDB"),
        ('[server]\norigins = ["play.example.org"]\n', "server.origins", "without a path"),
        ('[server]\norigins = ["https://play.example.org/"]\n', "server.origins", "without a path"),
        ('[auth]\njwt_secret = "short"\n', "auth.jwt_secret", "at least 32 bytes"),
        ('[auth]\njwt_algorithms = ["none"]\n', "auth.jwt_algorithms", "'HS256'"),
        ("[auth]\njwt_algorithms = []\n", "auth.jwt_algorithms", "at least 1 item"),
        ("[world\n", "", "not TOML"),
        ("\udcff", "", "not TOML"),
    ],
)
def test_a_refusal_names_file_key_and_reason(tmp_path: Path, toml: str, key: str, reason: str):
    path = tmp_path / "everstep.toml"
    path.write_bytes(toml.encode("utf-8", "surrogateescape"))
    with pytest.raises(ConfigError) as caught:
        load(path, environment={})
    [problem] = caught.value.problems
    assert problem.source == str(path)
    assert problem.key == key
    assert reason in problem.reason
    assert str(caught.value) == str(problem)


def test_every_fault_is_told_at_once_each_with_its_source(tmp_path: Path):
    path = write(tmp_path, "[world]\nseed = -1\n")
    with pytest.raises(ConfigError) as caught:
        load(path, {"server.port": -1}, {"EVERSTEP_WORLD__SPEED": "9"})
    assert {(p.source, p.key) for p in caught.value.problems} == {
        (str(path), "world.seed"),
        ("command line", "server.port"),
        ("EVERSTEP_WORLD__SPEED", "world.speed"),
    }


def test_a_missing_file_is_named(tmp_path: Path):
    with pytest.raises(ConfigError, match=r"nowhere\.toml: No such file"):
        load(tmp_path / "nowhere.toml", environment={})


def test_a_secret_shows_neither_in_the_settings_nor_in_a_refusal():
    settings = load(overrides={"auth.jwt_secret": SECRET, "auth.resume_secret": SECRET}, environment={})
    assert settings.auth.jwt_secret.get_secret_value() == SECRET
    assert SECRET not in repr(settings)
    assert SECRET not in settings.model_dump_json()
    with pytest.raises(ConfigError) as caught:
        load(overrides={"auth.jwt_secret": "too-short", "auth.resume_secret": 5, "world.seed": SECRET}, environment={})
    assert SECRET not in str(caught.value)
    assert "too-short" not in str(caught.value)


def test_settings_never_change():
    with pytest.raises(ValidationError, match="frozen"):
        Settings().world.seed = 5  # type: ignore[misc]


def test_a_setting_that_counts_or_measures_has_bounds():
    for section, model in document.sections():
        for key, field in model.model_fields.items():
            if field.annotation in (int, float):
                bounds = {type(m).__name__ for m in field.metadata}
                assert bounds & {"Ge", "Gt"}, f"{section}.{key}"
                assert "Le" in bounds, f"{section}.{key}"
