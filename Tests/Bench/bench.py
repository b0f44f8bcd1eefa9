#!/usr/bin/env python3
"""Compares weir with nginx, HAProxy and Envoy on this machine; docs/benchmarks.md says how."""

import argparse
import json
import shlex
import signal
import subprocess
import sys
import tempfile
from contextlib import ExitStack

import calls
import measure
import report
import stand
import tlsidle
from measure import note

# Scenario: title, path, connections, generator's options, requests as a share of --requests.
CPU_SCENARIOS = {
    "1k": ("1 KB, 64 keep-alive connections", "/1k", 64, [], 1),
    "100k": ("100 KB, 64 keep-alive connections", "/100k", 64, [], 1 / 4),
    "10m": ("10 MB, 16 keep-alive connections", "/10m", 16, [], 1 / 200),
    "new": ("1 KB, a new connection for each request, 64 at a time", "/1k", 64, ["-x"], 1 / 2),
}
TLS_SCENARIOS = {
    "tls1k": ("TLS 1.3, 1 KB, 64 keep-alive connections", "/1k", 1),
    "tls100k": ("TLS 1.3, 100 KB, 64 keep-alive connections", "/100k", 1 / 8),
}
# Scenario: title, scheme, connections, streams of each.
HTTP2_SCENARIOS = {
    "h2c1": ("HTTP/2 by prior knowledge, 1 KB, 64 connections of one stream", "http", 64, 1),
    "h2c8": ("HTTP/2 by prior knowledge, 1 KB, 8 connections of 8 streams", "http", 8, 8),
    "h2tls1": ("HTTP/2 over TLS 1.3, 1 KB, 64 connections of one stream", "https", 64, 1),
    "h2tls8": ("HTTP/2 over TLS 1.3, 1 KB, 8 connections of 8 streams", "https", 8, 8),
}
OTHERS = ["grpc", "handshakes", "governed", "tenants", "idle", "idletls", "instructions"]
OTHERS += ["allocations", "routes"]
SCENARIOS = [*CPU_SCENARIOS, *TLS_SCENARIOS, *HTTP2_SCENARIOS, *OTHERS]


def arguments():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, help="rounds a scenario (7)")
    parser.add_argument(
        "--requests", type=int, help="requests a 1 KB run; the others follow (20000)"
    )
    parser.add_argument("--peers", default="nginx,haproxy,envoy", help="which to compare with")
    parser.add_argument("--scenarios", default=",".join(SCENARIOS), help=", ".join(SCENARIOS))
    parser.add_argument(
        "--quick",
        action="store_true",
        help="under a minute: shows that all works, no figures to quote",
    )
    parser.add_argument(
        "--cpu", type=int, default=0, help="the CPU that everything is pinned to (0)"
    )
    parser.add_argument("--write", metavar="PAGE", help="put the results into this page")
    options = parser.parse_args()
    if options.write and options.quick:
        parser.error("--quick makes no figures worth writing down")
    options.rounds = options.rounds or (2 if options.quick else 7)
    options.requests = options.requests or (2000 if options.quick else 20000)
    options.idle = 1000 if options.quick else measure.IDLE_CONNECTIONS
    options.scenarios = _chosen(parser, options.scenarios, SCENARIOS)
    options.peers = _chosen(
        parser, options.peers, [name for name in stand.PROXIES if name != "weir"]
    )
    return options


def _chosen(parser, text, known):
    words = [word for word in text.split(",") if word]
    for word in words:
        if word not in known:
            parser.error(f"'{word}' is none of {', '.join(known)}")
    return words


class Bench:
    """One run: the stand, what is measured on it, and the sections of the report."""

    def __init__(self, options, folder, upstream):
        self.options, self.folder, self.upstream = options, folder, upstream
        self.names, self.results, self.sections = [], {}, []
        for name in ["weir", *options.peers]:
            missing = stand.available(name)
            if missing:
                note(f"bench: without {name}: {missing}")
            else:
                self.names.append(name)

    def maker(self, name, **more):
        return lambda: stand.PROXIES[name](self.folder, UPSTREAM=self.upstream.port, **more)

    def section(self, title, text):
        self.sections.append(f"### {title}\n\n{text}")
        print(f"\n{title}\n\n{text}", flush=True)

    def cpu(self, scenario):
        title, path, connections, more, share = CPU_SCENARIOS[scenario]
        requests = max(int(self.options.requests * share), 2 * connections)

        def load(port, count):
            return stand.load(port, count, path, connections, *more)

        makers = {name: self.maker(name) for name in self.names}
        loads = dict.fromkeys(makers, load)
        rows = measure.cpu_series(self.upstream, makers, self.options.rounds, requests, loads)
        self.results[scenario] = rows
        self.section(
            f"{title}: {self.options.rounds} rounds of {requests} requests", report.cpu(rows)
        )

    def tls(self, scenario):
        title, path, share = TLS_SCENARIOS[scenario]
        requests = max(int(self.options.requests * share), 256)
        makers = {name: self.maker(name, tls=True) for name in self.names}
        loads = dict.fromkeys(
            makers, lambda port, count: stand.load_over_tls(port, max(count, 64), path)
        )
        rows = measure.cpu_series(self.upstream, makers, self.options.rounds, requests, loads)
        self.results[scenario] = rows
        self.section(
            f"{title}: {self.options.rounds} rounds of {requests} requests", report.cpu(rows)
        )

    def http2(self, scenario):
        title, scheme, connections, streams = HTTP2_SCENARIOS[scenario]
        requests = self.options.requests

        def load(port, count):
            count = max(count, connections * streams)
            return stand.load_h2(port, count, "/1k", connections, streams, scheme)

        makers = {
            name: self.maker(name, tls=scheme == "https", http2=True) for name in self.names
        }
        loads = dict.fromkeys(makers, load)
        rows = measure.cpu_series(self.upstream, makers, self.options.rounds, requests, loads)
        self.results[scenario] = rows
        self.section(
            f"{title}: {self.options.rounds} rounds of {requests} requests", report.cpu(rows)
        )

    def grpc(self):
        requests, rounds = self.options.requests, self.options.rounds
        with calls.Upstream(self.folder) as upstream:
            makers = {
                name: lambda name=name: calls.PROXIES[name](self.folder, UPSTREAM=upstream.port)
                for name in self.names
            }
            loads = dict.fromkeys(
                makers, lambda port, count: calls.load(port, max(count, 64))
            )
            rows = measure.cpu_series(upstream, makers, rounds, requests, loads)
        self.results["grpc"] = rows
        self.section(
            "gRPC, unary, messages of 128 bytes, 8 connections of 8 calls:"
            f" {rounds} rounds of {requests} requests",
            report.cpu(rows),
        )

    def handshakes(self):
        seconds = 1 if self.options.quick else 3
        makers = {name: self.maker(name, tls=True) for name in self.names}
        for kind, is_resumed in (("full", False), ("resumed", True)):
            rows = measure.handshake_series(makers, self.options.rounds, seconds, is_resumed)
            self.results[f"handshakes, {kind}"] = rows
            self.section(
                f"TLS handshakes ({kind}), a 1 KB request each, one after the other:"
                f" {self.options.rounds} rounds of {seconds} s",
                report.handshakes(rows),
            )

    def governed(self):
        requests, rounds = self.options.requests, self.options.rounds
        makers = {
            name: lambda name=name: stand.GOVERNED[name](self.folder, UPSTREAM=self.upstream.port)
            for name in self.names
        }
        loads = dict.fromkeys(makers, stand.load_by_tenants)
        rows = measure.cpu_series(self.upstream, makers, rounds, requests, loads)
        self.results["governed"] = rows
        self.section(
            "1 KB, 64 keep-alive connections, weir with every governor, Envoy with its local rate"
            f" limit, nginx and HAProxy plain: {rounds} rounds of {requests} requests",
            report.cpu(rows),
        )

    def tenants(self):
        """Of the many none fills up again between two requests of its tenant: all are in use."""
        if "weir" not in self.names:
            return
        counts = [10, 10_000 if self.options.quick else 1_000_000]
        requests, rounds = counts[1], 1 if self.options.quick else 2

        def maker(count):
            slow = {"RATE": "1/m", "BURST": 1000} if count > 10 else {}
            return lambda: stand.GovernedWeir(
                self.folder, UPSTREAM=self.upstream.port, TRACKED=4_000_000, **slow
            )

        def load(count):
            # The warm-up is short, but one round over all of them comes first.
            return lambda port, sent: stand.load_by_tenants(port, max(sent, count), count)

        ejections = []
        rows = measure.cpu_series(
            self.upstream,
            {str(count): maker(count) for count in counts},
            rounds,
            requests,
            {str(count): load(count) for count in counts},
            lambda running: ejections.extend(proxy.ejections() for proxy in running.values()),
        )
        found = measure.paired_ratios(rows, str(counts[1]), str(counts[0]))
        self.results["tenants"] = found
        body = [
            [f"{count:,}", f"{measure.median(rows[str(count)], 'cpu_us'):.2f}"] for count in counts
        ]
        body.append(["ratio", report.ratio(found)])
        sent = sum(rounds * requests + max(requests // 10, count) for count in counts)
        body.append([f"false ejections in {sent:,} requests", f"{sum(ejections)}"])
        self.section(
            f"Governed, by number of busy tenants: {rounds} rounds of {requests:,} requests",
            report.table(["tenants", "CPU us/req"], body),
        )

    def idle(self):
        count, repeats = self.options.idle, 1 if self.options.quick else 3
        values = {
            name: [measure.idle_bytes(self.maker(name), count) for _ in range(repeats)]
            for name in self.names
        }
        self.results["idle"] = values
        self.section(f"Memory of {count:,} idle connections", report.single("bytes each", values))

    def idletls(self):
        repeats = 1 if self.options.quick else 3
        values = {
            name: [tlsidle.bytes_each(self.maker(name, tls=True)) for _ in range(repeats)]
            for name in self.names
        }
        least = tlsidle.floor()
        self.results["idletls"] = values | {"openssl": [least]}
        self.section(
            f"Memory of {tlsidle.CONNECTIONS:,} idle TLS 1.3 connections; OpenSSL alone takes"
            f" {least:,} bytes",
            report.single("bytes each", values),
        )

    def instructions(self):
        requests = 500 if self.options.quick else 4000
        names = [name for name in self.names if name in measure.COUNTED]
        values = {
            name: [measure.instructions(self.maker(name), self.folder, requests)] for name in names
        }
        if "weir" in values:
            governed = measure.instructions(
                lambda: stand.GovernedWeir(self.folder, UPSTREAM=self.upstream.port),
                self.folder,
                requests,
                stand.load_by_tenants,
            )
            values["weir, governed"] = [governed]
        self.results["instructions"] = values
        self.section("User instructions, 1 KB keep-alive", report.single("Ir/req", values))

    def allocations(self):
        if "weir" not in self.names:
            return
        made, freed = measure.allocations(self.maker("weir"), self.folder, self.options.requests)
        self.results["allocations"] = {"allocations": made, "frees": freed}
        rows = [["weir", f"{made:.4f}", f"{freed:.4f}"]]
        self.section(
            "Heap use, 1 KB keep-alive",
            report.table(["proxy", "allocations/req", "frees/req"], rows),
        )

    def routes(self):
        if "weir" not in self.names:
            return
        self.results["routes"], body = {}, []
        for by in ("host", "path"):
            found = self.results["routes"][by] = self._routes(by)
            few, many = found.get("instructions", (0, 0))
            counted = [f"{few:,.0f}", f"{many:,.0f}", f"{many / few:.3f}"] if few else ["-"] * 3
            body.append([f"by {by}", report.ratio(found["cpu_ratio"]), *counted])
        head = ["10,000 routes against 10", "CPU ratio", "Ir/req at 10", "at 10,000", "ratio"]
        self.section("Route lookup", report.table(head, body))

    def _routes(self, by):
        tables = {count: measure.route_table(count, by) for count in (10, 10000)}
        makers = {
            str(count): self.maker("weir", routes=table) for count, (table, _) in tables.items()
        }
        loads = {str(count): load for count, (_, load) in tables.items()}
        requests = max(self.options.requests // 2, 128)
        rows = measure.cpu_series(self.upstream, makers, self.options.rounds, requests, loads)
        found = {"cpu_ratio": measure.paired_ratios(rows, "10000", "10")}
        if not self.options.quick:
            found["instructions"] = tuple(
                measure.instructions(makers[count], self.folder, 20000, loads[count])
                for count in ("10", "10000")
            )
        return found

    def run(self):
        if not self.names:
            raise stand.Failure("there is nothing to measure")
        for scenario in SCENARIOS:
            if scenario in self.options.scenarios:
                if scenario in CPU_SCENARIOS:
                    self.cpu(scenario)
                elif scenario in TLS_SCENARIOS:
                    self.tls(scenario)
                elif scenario in HTTP2_SCENARIOS:
                    self.http2(scenario)
                else:
                    getattr(self, scenario)()


def main():
    options = arguments()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    thresholds = json.loads((stand.HERE / "thresholds.json").read_text())
    try:
        stand.pin(options.cpu)
        stand.build_tools()
        stand.write_files()
        stand.write_certificate()
        with ExitStack() as stack:
            folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="run-", dir=stand.WORK))
            upstream = stack.enter_context(stand.Upstream(folder))
            bench = Bench(options, folder, upstream)
            bench.run()
            versions = {name: stand.PROXIES[name].version() for name in bench.names}
    except (stand.Failure, OSError, subprocess.SubprocessError) as failure:
        sys.exit(f"bench: {failure}")
    summary = report.targets(bench.results, thresholds)
    if summary:
        print(f"\nTargets\n\n{summary}")
        bench.sections.insert(0, f"### Targets\n\n{summary}")
    if options.write:
        command = shlex.join(["Tests/Bench/bench.py", *sys.argv[1:]])
        report.write(
            options.write, "\n\n".join([report.machine(versions, command), *bench.sections])
        )


if __name__ == "__main__":
    main()
