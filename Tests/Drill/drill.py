#!/usr/bin/env python3
"""Drills weir beside nginx, HAProxy and Envoy under overload; docs/drills.md says how."""

import argparse
import os
import resource
import shlex
import signal
import subprocess
import sys
import tempfile
import time
from contextlib import contextmanager
from pathlib import Path

import stage as stages
from scenarios import SCENARIOS, Outcome
from stage import Failure, Stage, stand
from tally import Tally

import report as bench_report

CAPACITY_PLAN = "seed 7\nconnections 32\nstream name=all patience_ms=20000\nphase 6 3200\n"
QUICK = ["healthy", "O1", "death"]
MARK = "<!-- results: written by Tests/Drill/drill.py --write -->"


def arguments():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", default=",".join(SCENARIOS), help=", ".join(SCENARIOS))
    parser.add_argument("--proxies", default="weir,nginx,haproxy,envoy", help="which to drill")
    parser.add_argument("--weir", metavar="PATH", help="the binary (.build/release/weir)")
    parser.add_argument("--origin", metavar="PATH", help="the origins (.build/release/weir-origin)")
    parser.add_argument("--rounds", type=int, default=1, help="runs of each; the median counts (1)")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--quick", action="store_true", help="a minute, weir alone, sanity only")
    parser.add_argument("--keep", metavar="FOLDER", help="keep records and outputs in this folder")
    parser.add_argument("--write", metavar="PAGE", help="put the results into this page")
    options = parser.parse_args()
    options.only = _chosen(parser, options.only, SCENARIOS)
    options.proxies = _chosen(parser, options.proxies, stages.PROXIES)
    if options.weir:
        os.environ["WEIR_BIN"] = options.weir
    if options.origin:
        stages.ORIGIN = options.origin
    if options.quick:
        options.only, options.proxies, options.rounds = QUICK, ["weir"], 1
        if options.write:
            parser.error("--quick makes no figures worth writing down")
    return options


def _chosen(parser, text, known):
    words = [word for word in text.split(",") if word]
    for word in words:
        if word not in known:
            parser.error(f"'{word}' is none of {', '.join(known)}")
    return words


def note(text):
    print(text, file=sys.stderr, flush=True)


@contextmanager
def precedence():
    """Timing is what is measured: go before other work where that is allowed.

    Where the kernel groups processes by session, a process's own priority counts only among those
    of its session.
    """
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, 20000), hard))
    group = Path("/proc/self/autogroup")
    before = None
    try:
        os.setpriority(os.PRIO_PROCESS, 0, -10)
        if group.exists():
            before = group.read_text().split()[-1]
            group.write_text("-15")
    except OSError:
        note("drill: without the right to a better priority other work will show in the figures")
    try:
        yield
    finally:
        if before is not None:
            group.write_text(before)


class Drill:
    """One run: the stage, its capacity, and the rows of the table."""

    def __init__(self, options, stage):
        self.options, self.stage = options, stage
        self.capacity, self.rows, self.baselines, self.ratios = 0.0, [], {}, []

    def measure_capacity(self):
        """What the origins serve when they always have enough to do, without a proxy."""
        tape = self.stage.play(None, CAPACITY_PLAN, direct=True)
        done = [due + latency for due, latency, _, _, status in tape.records if status == 200]
        self.capacity = sum(1e6 <= at < 6e6 for at in done) / 5
        nominal = stages.COUNT * stages.SLOTS * 1000 / stages.SERVICE_MS
        note(f"drill: capacity {self.capacity:.0f} requests a second, {nominal:.0f} by design")
        if abs(self.capacity / nominal - 1) > 0.08:
            raise Failure("the origins do not have the capacity they should: is the machine busy?")

    def run(self):
        self.measure_capacity()
        for name in self.options.only:
            scenario = SCENARIOS[name]
            proxies = [p for p in self.options.proxies if p != "roundrobin"]
            if scenario.needs_baseline:
                proxies.insert(0, "roundrobin")
            for proxy in proxies:
                self.play(scenario, proxy)

    def play(self, scenario, proxy):
        outcomes = []
        for number in range(self.options.rounds):
            plan = scenario.plan(self.capacity, self.options.seed + number)
            tape = self.stage.play(proxy, plan, scenario.events(self.stage))
            outcome = outcome_of(scenario, tape, self.capacity)
            if proxy == "roundrobin":
                self.baselines.setdefault(scenario.name, outcome.p99)
            outcome.baseline_p99 = self.baselines.get(scenario.name)
            self._say(scenario, proxy, tape, outcome)
            outcomes.append(outcome)
        self.rows.append((scenario, proxy, median_of(outcomes)))

    def _say(self, scenario, proxy, tape, outcome):
        costs, summary = tape.costs, tape.summary
        clock = costs["clock"]
        other = costs["machine"] - costs["proxy"] - costs["origins"] - costs["load"]
        checks = [
            f"{'ok' if check.is_met() else 'MISSED'} {check.what}={text(check.value)}"
            for check in scenario.judge(outcome)
        ]
        note(
            f"{scenario.name} {proxy}: {'; '.join(checks)} | all ok {text(outcome.every)} %,"
            f" p99 {text(outcome.p99)} ms | CPU s/s: proxy {costs['proxy'] / clock:.2f},"
            f" origins {costs['origins'] / clock:.2f}, load {costs['load'] / clock:.2f},"
            f" rest {other / clock:.2f} | load late by {summary['lag_mean_us']:.0f} us on average,"
            f" {100 * summary['late_share']:.1f} % by over 1 ms; {summary['connects']} connections"
        )


def outcome_of(scenario, tape, capacity):
    tally, window, fault = Tally(tape, scenario.streams), scenario.window, scenario.fault
    critical = [s.name for s in scenario.streams if s.priority == "critical"]
    outcome = Outcome(
        critical=tally.good_percent(window, critical) if critical else None,
        polite=tally.good_percent(window, scenario.polite) if scenario.polite else None,
        every=tally.good_percent(window),
        p99=tally.percentile(window, 0.99),
        refusal=tally.refusal_percentile(window, 0.99),
        attempts=tally.attempts_per_request(scenario.attempts_in or window),
    )
    servable = scenario.servable(window, tally.due_rate(window) / capacity) * capacity
    if servable > 0:
        outcome.goodput = 100 * tally.answered_rate(window) / servable
    if fault and scenario.victim is not None:
        outcome.shunned = tally.shunned_after(scenario.victim, *fault)
        if fault[1] < scenario.seconds:
            outcome.used = tally.used_after(scenario.victim, fault[1], scenario.seconds)
    elif fault:
        outcome.recovery = tally.recovery(fault[1], scenario.seconds)
    return outcome


def median_of(outcomes):
    """The median of each figure; a figure that was missing once counts as missing."""
    middle = Outcome()
    for key in vars(middle):
        values = [getattr(outcome, key) for outcome in outcomes]
        if None not in values:
            setattr(middle, key, sorted(values)[len(values) // 2])
    return middle


def text(value, digits=2):
    if value is None:
        return "-"
    if value >= 99.5 and value < 100:
        return f"{value:.3f}"
    return f"{value:.{digits}f}" if value < 1000 else f"{value:.0f}"


COLUMNS = [
    ("critical ok %", "critical"),
    ("polite ok %", "polite"),
    ("all ok %", "every"),
    ("goodput %", "goodput"),
    ("p99 ms", "p99"),
    ("refused p99 ms", "refusal"),
    ("shunned s", "shunned"),
    ("used again s", "used"),
    ("recovery s", "recovery"),
    ("attempts/req", "attempts"),
]


def table(rows):
    head = ["drill", "proxy", *(title for title, _ in COLUMNS), "asked of weir"]
    body = []
    for scenario, proxy, outcome in rows:
        missed = [check.what for check in scenario.judge(outcome) if not check.is_met()]
        verdict = "missed: " + ", ".join(missed) if missed else "met"
        if proxy == "roundrobin":
            verdict = "-"
        cells = [text(getattr(outcome, key)) for _, key in COLUMNS]
        body.append([scenario.name, proxy, *cells, verdict])
    return bench_report.table(head, body)


def asked():
    """What is asked, in words: one line a drill."""
    rows = []
    for scenario in SCENARIOS.values():
        checks = scenario.judge(Outcome())
        words = [
            f"{check.what} {'>=' if check.at_least is not None else '<='}"
            f" {check.at_least if check.at_least is not None else check.at_most}"
            for check in checks
        ]
        rows.append([scenario.name, scenario.title, "; ".join(words)])
    return bench_report.table(["drill", "what happens", "asked"], rows)


def check_sanity(rows):
    """What `--quick` asks: that all works, nothing that luck could spoil."""
    for scenario, proxy, outcome in rows:
        wrong = []
        if outcome.every is None or (scenario.name != "O1" and outcome.every < 90):
            wrong.append(f"only {text(outcome.every)} % were answered well")
        if outcome.goodput is None or outcome.goodput < 50:
            wrong.append(f"goodput was {text(outcome.goodput)} %")
        if wrong:
            raise Failure(f"{scenario.name} {proxy}: {', '.join(wrong)}")


def main():
    options = arguments()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    began = time.monotonic()
    try:
        missing = {name: stand.available(name) for name in options.proxies if name != "roundrobin"}
        for name, why in missing.items():
            if why:
                note(f"drill: without {name}: {why}")
        options.proxies = [name for name in options.proxies if not missing.get(name)]
        if not options.proxies or not os.access(stages.ORIGIN, os.X_OK):
            raise Failure(f"there is nothing to drill, or no {stages.ORIGIN}")
        stages.build_load()
        with precedence(), tempfile.TemporaryDirectory(prefix="run-", dir=stages.WORK) as folder:
            with Stage(options.keep or folder) as stage:
                drill = Drill(options, stage)
                drill.run()
        if options.quick:
            check_sanity(drill.rows)
        versions = {name: stages.PROXIES[name].version() for name in options.proxies}
    except (Failure, OSError, subprocess.SubprocessError) as failure:
        sys.exit(f"drill: {failure}")
    results = table(drill.rows)
    print(f"\n{results}\n\n{(time.monotonic() - began) / 60:.1f} minutes")
    if options.write:
        command = shlex.join(["Tests/Drill/drill.py", *sys.argv[1:]])
        lead = bench_report.machine(versions, command)
        lead += f"\n- capacity without a proxy: {drill.capacity:.0f} requests a second"
        bench_report.write(options.write, "\n\n".join([lead, asked(), results]), MARK)


if __name__ == "__main__":
    main()
