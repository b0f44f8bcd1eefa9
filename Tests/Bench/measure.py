"""The measurements: CPU in interleaved rounds, idle memory, instructions, allocations."""

import os
import shutil
import statistics
import struct
import subprocess
import sys
import time
from contextlib import ExitStack
from pathlib import Path

import stand
from stand import Failure

IDLE_CONNECTIONS = 9500
COUNTED = {"weir", "nginx", "haproxy"}  # Envoy takes minutes under callgrind and says nothing new.


def note(text):
    print(text, file=sys.stderr, flush=True)


def cpu_series(upstream, proxies, rounds, requests, loads, at_end=lambda running: None):
    """All `proxies` run at once and are loaded in turn, A B C D, then D C B A, ...; one row a run.

    Whatever drifts on the machine then falls on neighbours in time, and the ratio within a round is
    what counts. `proxies` makes them by name, `loads[name](port, requests)` sends the requests.
    `at_end` sees the proxies, by name, before they are stopped. Each run's count is checked
    with the proxy and with the upstream: a stale instance on the same port would halve a
    proxy's cost unseen.
    """
    rows = {name: [] for name in proxies}
    with ExitStack() as stack:
        running = {name: stack.enter_context(make()) for name, make in proxies.items()}
        for name, proxy in running.items():
            loads[name](
                proxy.port, max(requests // 10, 10)
            )  # pools, buffers and caches as they will be
        for number in range(rounds):
            order = list(running) if number % 2 == 0 else list(reversed(running))
            for name in order:
                rows[name].append(_run(running[name], upstream, requests, loads[name]))
        at_end(running)
    return rows


def _run(proxy, upstream, requests, load):
    """One run; where one of weir's rivals answers wrongly once, that is noted and it has another."""
    try:
        return _one_run(proxy, upstream, requests, load)
    except Failure as failure:
        if proxy.name == "weir":
            raise
        note(f"{proxy.name} has another run: {failure}")
        return _one_run(proxy, upstream, requests, load)


def _one_run(proxy, upstream, requests, load):
    own, origin = proxy.counter(), upstream.counter()
    cpu, switches = proxy.cost()
    generator = load(proxy.port, requests)
    cpu_after, switches_after = proxy.cost()
    _agree(proxy, own, requests)
    _agree(upstream, origin, requests)
    return {
        "cpu_us": (cpu_after - cpu) / 1000 / requests,
        "switches": (switches_after - switches) / requests,
        "rate": requests / generator["seconds"],
        "p50_us": generator["p50_us"],
        "p99_us": generator["p99_us"],
    }


def handshake_series(proxies, rounds, seconds, is_resumed):
    """CPU of a connection with one request, in interleaved rounds as above."""
    rows = {name: [] for name in proxies}
    with ExitStack() as stack:
        running = {name: stack.enter_context(make()) for name, make in proxies.items()}
        for number in range(rounds):
            order = list(running) if number % 2 == 0 else list(reversed(running))
            for name in order:
                proxy = running[name]
                own, (cpu, _) = proxy.counter(), proxy.cost()
                count = stand.shake_hands(proxy.port, seconds, is_resumed)
                spent = proxy.cost()[0] - cpu
                # The one under way when the time is over may count or not, and so may the first
                # of a session that is resumed.
                if not count <= proxy.counter() - own <= count + 2:
                    raise Failure(f"{count} handshakes, but {name} counts other requests")
                rows[name].append({"cpu_us": spent / 1000 / count, "rate": count / seconds})
    return rows


def _agree(server, before, requests):
    """A server may count an answer just after it was read, so it is asked again for a second."""
    for _ in range(20):
        counted = server.counter() - before
        if counted >= requests:
            break
        time.sleep(0.05)
    if counted != requests:
        raise Failure(f"{requests} requests were sent, but {server.name} counts {counted}")


def paired_ratios(rows, numerator, denominator, key="cpu_us"):
    """Median, least and greatest of the ratios within each round; None without both."""
    if numerator not in rows or denominator not in rows:
        return None
    ratios = [a[key] / b[key] for a, b in zip(rows[numerator], rows[denominator])]
    return statistics.median(ratios), min(ratios), max(ratios)


def median(rows, key):
    return statistics.median(row[key] for row in rows)


def idle_bytes(make, connections=IDLE_CONNECTIONS):
    """Anonymous memory that one idle connection costs a fresh proxy."""
    with make() as proxy:
        stand.load(proxy.port, 2000)  # what the proxy needs anyhow: pools, read buffers
        before = proxy.anonymous_memory()
        command = [
            stand.WORK / "loadgen",
            "-i",
            "-c",
            connections,
            "-l",
            stand.FILES["/1k"],
            proxy.port,
        ]
        crowd = subprocess.Popen(
            [str(word) for word in command],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        try:
            answered = stand.figures(crowd.stdout.readline() or "requests=0")
            after = proxy.anonymous_memory()
            rest, _ = crowd.communicate(timeout=60)
        finally:
            crowd.kill()
        open_now = stand.figures(rest).get("open", 0)
        if answered["requests"] != connections or open_now != connections:
            raise Failure(
                f"{proxy.name} answered {answered['requests']:.0f} of {connections} connections"
                f" and kept {open_now:.0f}"
            )
        return (after - before) / connections


def instructions(make, folder, requests, load=stand.load):
    """User instructions a request, by callgrind: (Ir(N2) - Ir(N1)) / (N2 - N1) in one process.

    Callgrind's counters are dumped (which zeroes them) after N1 requests and again after N2, so
    that neither the start nor the first use of anything is in the figure.
    """
    if not shutil.which("valgrind"):
        raise Failure("valgrind is not installed; run `make bench-setup`")
    out = Path(folder) / f"callgrind-{os.urandom(4).hex()}"
    proxy = make().under(["valgrind", "--tool=callgrind", "-q", f"--callgrind-out-file={out}"])
    proxy.patience = 120
    with proxy:
        load(proxy.port, max(requests // 5, 200))
        _dump(proxy)
        load(proxy.port, requests)
        _dump(proxy)
    totals = [
        int(line.split()[1])
        for line in Path(f"{out}.2").read_text().splitlines()
        if line.startswith("totals:")
    ]
    if len(totals) != 1:
        raise Failure(f"callgrind wrote no total for {proxy.name}")
    return totals[0] / requests


def _dump(proxy):
    run = subprocess.run(
        ["vgdb", f"--pid={proxy.child.pid}", "--wait=10", "dump"],
        capture_output=True,
        text=True,
        timeout=60,
    )
    if run.returncode != 0:
        raise Failure(f"callgrind under {proxy.name} does not answer: {run.stderr.strip()}")


def allocations(make, folder, requests, load=stand.load):
    """Allocations and frees a request in steady state: (count(N2) - count(N1)) / (N2 - N1)."""
    counts = Path(folder) / f"mallocs-{os.urandom(4).hex()}"
    proxy = make()
    proxy.environment["LD_PRELOAD"] = str(stand.WORK / "mallocs.so")
    proxy.environment["MALLOCS_FILE"] = str(counts)

    def read():
        words = struct.unpack("=5Q", counts.read_bytes())
        return sum(words[:4]), words[4]

    with proxy:
        load(proxy.port, max(requests // 5, 1000))
        before = read()
        load(proxy.port, requests)
        after = read()
    if before[0] == 0:
        raise Failure(f"no allocation of {proxy.name} was seen: is it linked statically?")
    return (after[0] - before[0]) / requests, (after[1] - before[1]) / requests


def route_table(count, by):
    """`count` routes told apart by host and path or by path alone, and a load through them all."""
    lines = []
    for number in range(count):
        host = f"host: route-{number:05d}.example.com, " if by == "host" else ""
        lines.append(
            f"  - {{ name: r{number}, match: {{ {host}path_prefix: /route-{number:05d} }},"
            " cluster: origin }"
        )
    # The stand asks for /1k to see whether a proxy has started.
    lines.append("  - { name: rest, match: { path_prefix: /1k }, cluster: origin }")
    host = "route-%d.example.com" if by == "host" else "routes.example.com"

    def load(port, requests):
        return stand.load(port, requests, "/route-%d/1k", 64, "-h", host, "-s", count)

    return "\n".join(lines), load
