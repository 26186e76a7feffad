"""Waiting for what a page knows."""

from __future__ import annotations

import json

from playwright.sync_api import Page

LIVE = "window.everstep?.client?.state === 'live' && window.everstep.client.me !== null"
# Only so that a failure ends: a machine that is busy with much else has been seen to need half of it.
WAIT_MS = 90_000


def until(page: Page, condition: str, wait_ms: int = WAIT_MS) -> None:
    """Wait for a JavaScript condition, asked once per drawn frame.

    Not `wait_for_function`: it evaluates inside the page, where the page's own security policy forbids it.
    """
    page.evaluate(
        """() => new Promise((done, failed) => {
            const begun = performance.now();
            const ask = () => {
                if (CONDITION) done();
                else if (performance.now() - begun > LIMIT) failed(new Error("never: " + TEXT));
                else requestAnimationFrame(ask);
            };
            ask();
        })""".replace("CONDITION", condition)
        .replace("LIMIT", str(wait_ms))
        .replace("TEXT", json.dumps(condition))
    )


def live(page: Page) -> None:
    """Wait until the visitor is in the world and sees their avatar."""
    until(page, LIVE)
