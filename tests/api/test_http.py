"""Plain HTTP: files of the web roots and nothing outside them, metrics, health."""

from __future__ import annotations

import json
import random
from http import HTTPStatus
from pathlib import Path
from urllib.parse import quote

import pytest

from server.api.http import Files, Http
from server.observe.health import Health
from server.observe.metrics import CONTENT_TYPE, Metrics


class Time:
    """Seconds that are set by hand."""

    def __init__(self) -> None:
        self.now_s = 0.0

    def __call__(self) -> float:
        return self.now_s


@pytest.fixture
def time() -> Time:
    return Time()


@pytest.fixture
def health(time: Time) -> Health:
    return Health(time)


@pytest.fixture
def site(tmp_path: Path) -> Path:
    """Two roots with a secret beside them, links out of them, and a link to itself."""
    for name, text in {
        "web/index.html": "<p>page</p>",
        "web/main.js": "main",
        "web/deep/er/style.css": "style",
        "web/notes.secret": "not a type the web knows",
        "sdk/everstep.js": "sdk",
        "secret.html": "secret",
        "web-of-others/index.html": "secret",
    }.items():
        file = tmp_path / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
    (tmp_path / "web/out.html").symlink_to(tmp_path / "secret.html")
    (tmp_path / "web/outside").symlink_to(tmp_path)
    (tmp_path / "web/inside.js").symlink_to(tmp_path / "web/main.js")
    (tmp_path / "web/circle.html").symlink_to(tmp_path / "web/circle.html")
    return tmp_path


@pytest.fixture
def http(site: Path, health: Health) -> Http:
    return Http(Metrics(), health, Files({"/sdk/": site / "sdk", "/": site / "web"}), {"/schema.json": b"{}"})


@pytest.mark.parametrize(
    ("target", "content_type", "body"),
    [
        ("/", "text/html; charset=utf-8", b"<p>page</p>"),
        ("/index.html", "text/html; charset=utf-8", b"<p>page</p>"),
        ("/?name=Ada&x=/../..", "text/html; charset=utf-8", b"<p>page</p>"),
        ("/main.js", "text/javascript; charset=utf-8", b"main"),
        ("/main.js?v=1", "text/javascript; charset=utf-8", b"main"),
        ("/%6dain.js", "text/javascript; charset=utf-8", b"main"),
        ("/deep/er/style.css", "text/css; charset=utf-8", b"style"),
        ("/inside.js", "text/javascript; charset=utf-8", b"main"),
        ("/sdk/everstep.js", "text/javascript; charset=utf-8", b"sdk"),
        ("/schema.json", "application/json", b"{}"),
    ],
)
def test_a_file_comes_with_its_type(http: Http, target: str, content_type: str, body: bytes):
    reply = http.get(target)
    assert (reply.status, reply.content_type, reply.body) == (HTTPStatus.OK, content_type, body)


def test_a_file_comes_with_headers_that_confine_it(http: Http):
    headers = http.get("/").headers
    assert "default-src 'self'" in headers["Content-Security-Policy"]
    assert "frame-ancestors 'self'" in headers["Content-Security-Policy"]
    assert "unsafe-eval" not in headers["Content-Security-Policy"]
    assert "script-src" not in headers["Content-Security-Policy"]
    assert headers["X-Content-Type-Options"] == "nosniff"
    assert headers["Referrer-Policy"] == "no-referrer"


@pytest.mark.parametrize(
    "target",
    [
        "/../secret.html",
        "/deep/../../secret.html",
        "/%2e%2e/secret.html",
        "/%2e%2e%2fsecret.html",
        "/..%2fsecret.html",
        "/sdk/../secret.html",
        "/sdk/%2e%2e/secret.html",
        "/sdk/../web/index.html",
        "/../web-of-others/index.html",
        "//etc/passwd",
        "/%2fetc/passwd",
        "/out.html",
        "/outside/secret.html",
        "/outside/web-of-others/index.html",
        "/circle.html",
        "/main.js%00.html",
        "/%00",
        "/secret.html%00.js",
        "/notes.secret",
        "/deep",
        "/deep/",
        "/sdk/",
        "/sdk",
        "/nothing.html",
        "/main.js/index.html",
        "/..\\secret.html",
        "/%ff%fe.html",
        "/%",
        "/%zz.html",
        "/" + "a" * 300 + ".html",
        "/" + "a/" * 3000 + "b.html",
        "//[",
        "//[::1/index.html",
        "http://[/index.html",
        "",
        "*",
        "index.html",
    ],
)
def test_what_is_not_in_the_roots_does_not_exist(http: Http, target: str):
    reply = http.get(target)
    assert reply.status is HTTPStatus.NOT_FOUND
    assert b"secret" not in reply.body


def test_no_crooked_path_leads_out(http: Http):
    random_ = random.Random(1)
    parts = [
        "..",
        ".",
        "",
        "%2e%2e",
        "web",
        "deep",
        "outside",
        "secret.html",
        "index.html",
        "%00",
        "%2f",
        "\\",
        "é",
        "%c3",
    ]
    for _ in range(3000):
        target = "/" + "/".join(random_.choice(parts) for _ in range(random_.randint(1, 6)))
        for path in (target, quote(target)):
            assert b"secret" not in http.get(path).body, path


def test_metrics_are_served_as_prometheus_reads_them(http: Http):
    reply = http.get("/metrics")
    assert (reply.status, reply.content_type) == (HTTPStatus.OK, CONTENT_TYPE)
    assert b"# TYPE everstep_tick_seconds histogram" in reply.body


@pytest.mark.parametrize("path", ["/healthz", "/readyz", "/healthz?verbose=1"])
def test_health_answers_as_json_that_nobody_keeps(http: Http, health: Health, path: str):
    health.expect(1)
    health.ticked(1, 5)
    reply = http.get(path)
    assert reply.status is HTTPStatus.OK
    assert json.loads(reply.body) == {"alive": True, "ready": True, "reasons": [], "asleep": []}
    assert reply.headers["Cache-Control"] == "no-store"


def test_before_the_first_tick_one_is_alive_and_not_ready(http: Http, health: Health):
    health.expect(1)
    assert http.get("/healthz").status is HTTPStatus.OK
    assert http.get("/readyz").status is HTTPStatus.SERVICE_UNAVAILABLE


def test_a_world_that_stands_still_is_neither(http: Http, health: Health, time: Time):
    health.expect(1)
    health.ticked(1, 5)
    time.now_s = 60.0
    for path in ("/healthz", "/readyz"):
        reply = http.get(path)
        assert reply.status is HTTPStatus.SERVICE_UNAVAILABLE
        assert "region 1 stands at tick 5" in json.loads(reply.body)["reasons"][0]
