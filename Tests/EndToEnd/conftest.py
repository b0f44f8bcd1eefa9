"""Fixtures: each test gets its own instance of weir and its own upstreams, and none outlives it."""

import contextlib
import os
import shutil
import subprocess

import pytest

from harness import Authority, RawUpstream, Weir, cluster, configuration, patience, transparent
from harness.http2_upstream import Http2Upstream


def pytest_collection_modifyitems(items):
    for item in items:
        item.add_marker(pytest.mark.timeout(patience(60)))


def instances(keep):
    """A factory of weir and a finaliser that complains about what went wrong inside."""
    running = []

    def start(settings, **options):
        made = Weir.__new__(Weir)
        running.append(made)
        made.__init__(settings, **options)
        return made

    def finish():
        complaints = [made.stop() for made in running if hasattr(made, "process")]
        for made in running:
            if hasattr(made, "directory") and not keep:
                shutil.rmtree(made.directory, ignore_errors=True)
        assert not any(complaints), "\n".join(complaints)

    return start, finish


def recorders(kind=RawUpstream):
    made = []

    def start(answer=None, **options):
        made.append(kind(answer, **options))
        return made[-1]

    def finish():
        for upstream in made:
            upstream.stop()
        for upstream in made:
            assert not upstream.violations, upstream.violations
            assert not upstream.failures, upstream.failures

    return start, finish


KEEP = bool(os.environ.get("WEIR_TEST_KEEP"))


@pytest.fixture(autouse=True)
def leak_reports(request, monkeypatch):
    """What is busy when weir is ended by force is not freed, and no leak."""
    if request.node.get_closest_marker("forced"):
        monkeypatch.setenv("ASAN_OPTIONS", os.environ.get("ASAN_OPTIONS", "") + ":detect_leaks=0")


@pytest.fixture
def weir():
    start, finish = instances(KEEP)
    yield start
    finish()


@pytest.fixture(scope="module")
def module_weir():
    start, finish = instances(KEEP)
    yield start
    finish()


@pytest.fixture(scope="module")
def authority(tmp_path_factory):
    """Who signs the certificates of a module's tests."""
    return Authority(tmp_path_factory.mktemp("authority"))


@pytest.fixture
def upstream():
    start, finish = recorders()
    yield start
    finish()


@pytest.fixture
def http2_upstream():
    """Endpoints that speak HTTP/2."""
    start, finish = recorders(Http2Upstream)
    yield start
    finish()


@pytest.fixture(scope="module")
def module_upstream():
    start, finish = recorders()
    yield start
    finish()


@pytest.fixture
def pair(weir, upstream):
    """One upstream behind one weir with one worker: the plainest setting."""

    def start(answer=None, runtime=None, listeners=None, routes=None, handle=None, **options):
        behind = upstream(answer, handle=handle)
        settings = configuration(
            [cluster("main", behind, **options)],
            listeners=listeners,
            routes=routes,
            runtime={"workers": 1} | (runtime or {}),
        )
        return weir(settings), behind

    return start


@pytest.fixture
def machines():
    """A factory of machines."""
    with contextlib.ExitStack() as stack:

        def make():
            try:
                made = stack.enter_context(transparent.Machine())
            except (OSError, subprocess.CalledProcessError) as error:
                pytest.skip(f"no network namespace can be made: {error}")
            for program in ("iptables", "ip6tables"):
                done = made.run(program, "-t", "nat", "-n", "-L", check=False)
                if done.returncode != 0:
                    pytest.skip(f"{program} has no nat table here: {done.stderr}")
            return made

        yield make


@pytest.fixture
def machine(machines):
    return machines()


@pytest.fixture
def sidecar(machine, weir):
    """The machine with its rules, and weir."""

    def start(*clusters, inbound="", routes=(), **options):
        machine.up(inbound=inbound)
        return machine.weir(weir, transparent.settings(*clusters, routes=routes, **options))

    return start
