"""Waiting: for events, never for time to pass; limits are generous and grow on slow builds."""

import os
import time

SLOWDOWN = float(os.environ.get("WEIR_TEST_SLOWDOWN", "1"))


def patience(seconds):
    """How long to wait for something that should take far less than `seconds`."""
    return seconds * SLOWDOWN


def until(condition, what, seconds=15):
    """Polls until `condition` yields something true, and returns it."""
    deadline = time.monotonic() + patience(seconds)
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > deadline:
            raise AssertionError(f"waited {patience(seconds):g} s in vain until {what}; last: {value!r}")
        time.sleep(0.01)
