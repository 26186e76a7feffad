"""Logs: what a line holds, and what it never holds."""

from __future__ import annotations

import io
import json
import logging
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import structlog
from pydantic import SecretStr

from config.settings import load
from server.observe import logs


@pytest.fixture
def out() -> Iterator[io.StringIO]:
    """Where the lines go. Afterwards logging is as it was."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    websockets_level, before = logging.getLogger("websockets").level, structlog.get_config()
    yield io.StringIO()
    structlog.configure(**before)
    root.handlers[:] = handlers
    root.setLevel(level)
    logging.getLogger("websockets").setLevel(websockets_level)


def lines(out: io.StringIO) -> list[dict[str, Any]]:
    return [json.loads(line) for line in out.getvalue().splitlines()]


def test_a_line_is_one_json_object(out: io.StringIO):
    logs.configure("info", "json", out)
    structlog.get_logger("server.gateway", region=1).info(
        "joined", session=5, tick=np.int64(7), cells={3: 4}, odd=object(), x=1e400
    )
    [line] = lines(out)
    assert line["event"] == "joined"
    assert (line["logger"], line["level"]) == ("server.gateway", "info")
    assert (line["region"], line["session"], line["tick"], line["cells"]) == (1, 5, 7, {"3": 4})
    assert line["timestamp"].endswith("Z")
    assert list(line)[:4] == ["timestamp", "level", "logger", "event"]


def test_a_text_cannot_begin_a_line_of_its_own(out: io.StringIO):
    logs.configure("info", "json", out)
    structlog.get_logger("gateway").info("joined", name='x\n{"event":"forged"}')
    assert [line["event"] for line in lines(out)] == ["joined"]


@pytest.mark.parametrize(("level", "heard"), [("debug", 4), ("info", 3), ("warning", 2), ("error", 1)])
def test_less_than_the_level_is_not_logged(out: io.StringIO, level: str, heard: int):
    logs.configure(level, "json", out)
    logger = structlog.get_logger("host")
    for name in ("debug", "info", "warning", "error"):
        getattr(logger, name)(name)
    assert len(lines(out)) == heard


def test_other_libraries_lines_take_the_same_way(out: io.StringIO):
    logs.configure("info", "json", out)
    logging.getLogger("asyncio").warning("slow callback: %s ms", 120)
    logging.getLogger("websockets.server").info("connection open")
    [line] = lines(out)
    assert (line["event"], line["logger"], line["level"]) == ("slow callback: 120 ms", "asyncio", "warning")


@pytest.mark.parametrize("form", ["json", "console"])
def test_a_secret_is_never_written(out: io.StringIO, form: str):
    logs.configure("debug", form, out)
    secret = "0123456789abcdef0123456789abcdef"
    settings = load(overrides={"auth.jwt_secret": secret}, environment={})
    structlog.get_logger("api").info(
        "everything",
        settings=settings,
        dump=settings.model_dump(),
        wrapped=SecretStr(secret),
        token=secret,
        resume=secret.encode(),
        headers={"Authorization": f"Bearer {secret}", "Cookie": secret},
        many=[{"password": secret}, {"api_key": secret}],
        jwt_secret={"value": secret},
    )
    assert secret not in out.getvalue()
    assert "everything" in out.getvalue()


@pytest.mark.parametrize("form", ["json", "console"])
def test_a_traceback_is_told_without_the_variables_it_met(out: io.StringIO, form: str):
    logs.configure("info", form, out)
    key = "hidden-value"
    try:
        int(key[:0])
    except ValueError:
        structlog.get_logger("host").exception("failed")
        logging.getLogger("other").exception("failed too")
    text = out.getvalue()
    assert text.count("ValueError: invalid literal") == 2
    assert key not in text


def test_a_later_configuration_holds_for_loggers_made_before(out: io.StringIO):
    logger = structlog.get_logger("host")
    logs.configure("error", "json", out)
    logger.info("unheard")
    logs.configure("info", "json", out)
    logger.info("heard")
    assert [line["event"] for line in lines(out)] == ["heard"]
