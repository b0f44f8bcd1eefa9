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


class Watched:
    """A server of the test's own, whose threads notify `changed` of what happens to it."""

    #: What a failure calls it.
    role = "the upstream"

    def wait(self, condition, what, seconds=15):
        """Waits until `condition()` holds; woken by whatever notifies `changed`."""
        deadline = time.monotonic() + patience(seconds)
        with self.changed:
            while not (value := condition()):
                left = deadline - time.monotonic()
                if left <= 0:
                    raise AssertionError(f"{self.role} waited in vain until {what}")
                self.changed.wait(min(left, 0.05))
            return value

    def wait_requests(self, count):
        what = f"{count} requests came (there are {len(self.requests)})"
        return self.wait(lambda: len(self.requests) >= count and self.requests, what)

    @property
    def violations(self):
        return [text for connection in self.connections for text in connection.violations]
