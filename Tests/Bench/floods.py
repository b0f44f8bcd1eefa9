#!/usr/bin/env python3
"""Floods weir while a well-behaved client goes on asking; docs/floods.md says how."""

import argparse
import json
import os
import re
import resource
import shlex
import signal
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from contextlib import ExitStack, contextmanager
from pathlib import Path

import report
import stand
from attacks import ATTACKS, SOON
from measure import note
from stand import Failure

MARK = "<!-- results: written by Tests/Bench/floods.py --write -->"
CONFIGS = stand.HERE / "configs" / "floods"
#: weir has a CPU of its own; the origins, the client and the attacker share the other.
WEIR_CPU, OTHER_CPU = 0, 1
RATIO, MIB = 2.0, 1 << 20
#: What counts a client that is held off: the first of these that moves is the one to show.
COUNTERS = [
    "downstream_http2_floods_total",
    "downstream_connections_refused_total",
    "downstream_tls_handshakes_total",
    "weir_refusals_total",
]
stand.FILES |= {"/attack": 1024, "/1m": MIB}


def arguments():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", default=",".join(ATTACKS), help=", ".join(ATTACKS))
    parser.add_argument("--seconds", type=float, help="of each attack, and of calm before it (5)")
    parser.add_argument("--rounds", type=int, help="runs of each; medians count (3)")
    parser.add_argument(
        "--quick", action="store_true", help="two minutes: shows that all works, nothing to quote"
    )
    parser.add_argument("--write", metavar="PAGE", help="put the results into this page")
    options = parser.parse_args()
    if options.write and options.quick:
        parser.error("--quick makes no figures worth writing down")
    options.seconds = options.seconds or (1.5 if options.quick else 5)
    options.rounds = options.rounds or (1 if options.quick else 3)
    options.only = [word for word in options.only.split(",") if word]
    for word in options.only:
        if word not in ATTACKS:
            parser.error(f"'{word}' is none of {', '.join(ATTACKS)}")
    return options


class Weir(stand.Weir):
    """One worker on a CPU of its own, with limits as they come or as the attack has them."""

    configs = CONFIGS

    def __init__(self, folder, polite, attacked, attack, soon):
        limits = ", ".join(f"{key}: {value}" for key, value in attack.limits.items())
        super().__init__(
            folder,
            LIMITS=limits.replace(SOON, soon),
            SECURE=stand.free_port(),
            CERTIFICATE=stand.CERTIFICATE,
            POLITE=polite.port,
            ATTACKED=attacked.values["HTTP2"] if attack.endpoint_http2 else attacked.port,
            HTTP2="true" if attack.endpoint_http2 else "false",
        )
        self.target = self.values["SECURE"] if attack.is_secure else self.port

    def command(self, config):
        return ["taskset", "-c", WEIR_CPU, self.binary(), "run", config]

    def counters(self):
        """Those that an attacker may move, without their routes."""
        found = Counter()
        pattern = rf"^({'|'.join(COUNTERS)})(?:{{(.*)}})? (\d+)$"
        for name, labels, value in re.findall(pattern, self.get("/metrics"), re.MULTILINE):
            label = re.sub(r'route="[^"]*",?', "", labels)
            # Whoever leaves by himself is not held off.
            if label != 'reason="client_gone"':
                found[name + (f"{{{label}}}" if label else "")] += int(value)
        return found


class Upstream(stand.Upstream):
    """One that speaks HTTP/2 on a second port."""

    configs = CONFIGS

    def __init__(self, folder, priority):
        super().__init__(folder, HTTP2=stand.free_port())
        self.prefix = ["nice", "-n", priority]


class Watch:
    """Looks at weir's memory and CPU from time to time, from a thread of its own."""

    def __init__(self, weir):
        self.weir, self.samples, self.stop = weir, [], threading.Event()
        self.thread = threading.Thread(target=self.look)

    def look(self):
        while not self.stop.is_set():
            memory, cpu = self.weir.anonymous_memory(), self.weir.cost()[0]
            self.samples.append((time.monotonic(), memory, cpu, busy(WEIR_CPU)))
            self.stop.wait(0.02)

    def __enter__(self):
        self.thread.start()
        return self

    def __exit__(self, *_):
        self.stop.set()
        self.thread.join()

    def peak(self, began, ended):
        return max(memory for at, memory, *_ in self.samples if began <= at <= ended)

    def cpu(self, began, ended):
        """CPU seconds in each second."""
        (first, _, before, _), (last, _, after, _) = self._ends(began, ended)
        return (after - before) / 1e9 / (last - first)

    def others(self, began, ended):
        """What else ran on weir's CPU, in seconds in each second."""
        (first, *_, before), (last, *_, after) = self._ends(began, ended)
        return max((after - before) / (last - first) - self.cpu(began, ended), 0)

    def _ends(self, began, ended):
        inside = [sample for sample in self.samples if began <= sample[0] <= ended]
        if len(inside) < 2:
            raise Failure("weir could not be looked at: is the machine busy?")
        return inside[0], inside[-1]


def busy(cpu):
    """Seconds that this CPU has not been idle."""
    lines = Path("/proc/stat").read_text().splitlines()
    line = next(line for line in lines if line.startswith(f"cpu{cpu} "))
    words = [int(word) for word in line.split()[1:9]]
    return (sum(words) - words[3] - words[4]) / os.sysconf("SC_CLK_TCK")


@contextmanager
def helper(script, *words):
    """A process of the stand, once it says that it is ready; what it prints at its end is JSON."""
    child = subprocess.Popen(
        [sys.executable, stand.HERE / script, *map(str, words)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        preexec_fn=stand.die_with_parent,
    )
    try:
        if child.stdout.readline() != "ready\n":
            raise Failure(f"{script} did not begin")
        yield child
    finally:
        if child.poll() is None:
            child.kill()
        child.wait()


def told(child, text="", seconds=30):
    out, _ = child.communicate(text, timeout=seconds)
    if child.returncode != 0:
        raise Failure(f"{' '.join(map(str, child.args[1:]))} failed")
    return json.loads(out)


def percentile(latencies, share):
    return sorted(latencies)[min(int(len(latencies) * share), len(latencies) - 1)] * 1000


def play(name, folder, options):
    """One attack: calm, the attack, what was seen. Nothing is left of it for the next."""
    attack, seconds = ATTACKS[name], options.seconds
    with ExitStack() as stack:
        # The attacker's requests may keep their origin busy; what the client sees is weir's doing.
        origins = [stack.enter_context(Upstream(folder, priority)) for priority in (-10, 0)]
        weir = stack.enter_context(Weir(folder, *origins, attack, soon(options)))
        reached = origins[1].counter()
        polite = stack.enter_context(helper("polite.py", weir.port))
        watch = stack.enter_context(Watch(weir))
        time.sleep(0.5)  # What it needs anyhow is there once it has answered for a while.
        calm = time.monotonic(), time.monotonic() + seconds
        with helper("attacker.py", name, weir.target, seconds) as attacker:
            time.sleep(max(calm[1] - time.monotonic(), 0))
            counted = weir.counters()
            seen = told(attacker, "\n", seconds + 30)
        beside = seen["began"], seen["ended"]
        time.sleep(0.2)  # A peak may come with the end of the connections.
        counted = weir.counters() - counted
        records = told(polite)
        if weir.child.poll() is not None:
            raise Failure(f"weir ended in {name}")
        reached = origins[1].counter() - reached
    return row_of(seen, records, watch, calm, beside) | {"counted": counted, "reached": reached}


def row_of(seen, records, watch, calm, beside):
    """The figures of one run, from what the attacker, the client and the watch have seen."""
    row = {
        "failed": [why for _, _, why in records if why],
        "cpu": watch.cpu(*beside),
        "others": watch.others(calm[0], beside[1]),
        "attacker_cpu": seen["cpu"] / (beside[1] - beside[0]),
        "memory": (watch.peak(beside[0], beside[1] + 0.2) - watch.peak(*calm)) / MIB,
        **{key: seen[key] for key in ("connections", "bytes", "fates", "streams")},
    }
    for phase, (began, ended) in (("calm", calm), ("beside", beside)):
        taken = [taken for due, taken, _ in records if began <= due < ended]
        if not taken:
            raise Failure("the well-behaved client asked for nothing")
        for share in (50, 99):
            row[f"{phase}{share}"] = percentile(taken, share / 100)
    for share in (50, 99):
        row[f"ratio{share}"] = row[f"beside{share}"] / row[f"calm{share}"]
    return row


def soon(options):
    """Timeouts that are no more than half of an attack."""
    return f"{1000 * min(2, options.seconds / 2):.0f}ms"


def middle(rows):
    """The median of each figure; failures and what became of connections are of all runs."""
    found = {}
    for key, value in rows[0].items():
        values = [row[key] for row in rows]
        if isinstance(value, (int, float)):
            found[key] = statistics.median(values)
        elif isinstance(value, dict):
            found[key] = sum(map(Counter, values), Counter())
        else:
            found[key] = sum(values, [])
    return found


def judge(attack, row):
    """What is asked of weir and was missed, in words."""
    if not attack.script:
        return "-"
    missed = []
    if row["failed"]:
        missed.append("failed")
    if row["ratio99"] > RATIO:
        missed.append("p99")
    if row["memory"] >= attack.memory:
        missed.append("memory")
    if attack.reached is not None and row["reached"] > attack.reached:
        missed.append("origin")
    return "missed: " + ", ".join(missed) if missed else "met"


def figures(rows):
    head = ["attack", "p50 ms, calm", "beside", "p99 ms, calm", "beside", "p50 ratio", "p99 ratio"]
    head += ["failed", "CPU s/s, weir", "attacker", "memory MB", "at origin", "asked of weir"]
    body = []
    for name, row in rows.items():
        attack = ATTACKS[name]
        times = [f"{row[key]:.2f}" for key in ("calm50", "beside50", "calm99", "beside99")]
        ratios = [f"{row[key]:.2f}" for key in ("ratio50", "ratio99")]
        costs = [f"{row[key]:.2f}" for key in ("cpu", "attacker_cpu")]
        rest = [f"{row['memory']:.1f}", f"{row['reached']:,.0f}", judge(attack, row)]
        body.append([attack.title, *times, *ratios, f"{len(row['failed'])}", *costs, *rest])
    return report.table(head, body)


def ends(rows, options):
    head = ["attack", "connections", "MB sent", "ended with", "streams", "counted by", "limits"]
    body = []
    for name, row in rows.items():
        attack = ATTACKS[name]
        if not attack.script:
            continue
        counted = sorted(row["counted"], key=lambda key: COUNTERS.index(key.partition("{")[0]))
        limits = ", ".join(f"`{key}: {value}`" for key, value in attack.limits.items())
        body.append(
            [
                attack.title,
                f"{row['connections']:,.0f}",
                f"{row['bytes'] / 1e6:,.1f}",
                shares(row["fates"]),
                ", ".join(key for key, _ in row["streams"].most_common(2)) or "-",
                f"`{counted[0]}`" if counted else "-",
                limits.replace(SOON, soon(options)) or "-",
            ]
        )
    return report.table(head, body)


def shares(counter):
    total = sum(counter.values())
    parts = [(key, 100 * count / total) for key, count in counter.most_common(2)]
    # The few that are left open when the time is over say nothing.
    parts = [(key, part) for key, part in parts if part >= 2]
    return ", ".join(key if part > 97 else f"{key} {part:.0f} %" for key, part in parts) or "-"


def run(options, folder):
    rows = {}
    for name in options.only:
        played = []
        for number in range(options.rounds):
            row = play(name, folder, options)
            note(
                f"{name}: p50 {row['calm50']:.2f} -> {row['beside50']:.2f} ms,"
                f" p99 {row['calm99']:.2f} -> {row['beside99']:.2f} ms,"
                f" others on weir's CPU {row['others']:.2f} s/s,"
                f" {len(row['failed'])} failed {row['failed'][:3]}, {row['memory']:.1f} MB,"
                f" {row['reached']:.0f} at the origin, {dict(row['fates'])} {dict(row['streams'])},"
                f" {dict(row['counted'])}"
            )
            played.append(row)
        rows[name] = middle(played)
    return rows


@contextmanager
def precedence():
    """Go before other work where that is allowed, as the drills do (Tests/Drill/drill.py)."""
    group, before = Path("/proc/self/autogroup"), None
    try:
        if group.exists():
            before = group.read_text().split()[-1]
            group.write_text("-15")
    except OSError:
        note("floods: without the right to a better priority other work will show in the figures")
    try:
        yield
    finally:
        if before is not None:
            group.write_text(before)


def prepare():
    """Where everything runs, and with which rights."""
    if os.cpu_count() < 2:
        raise Failure("weir and its attackers need a CPU each")
    os.sched_setaffinity(0, {OTHER_CPU})
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, 20000), hard))
    stand.WORK.mkdir(parents=True, exist_ok=True)
    stand.write_files()
    stand.write_certificate()


def main():
    options = arguments()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    began = time.monotonic()
    try:
        for name in ("weir", "nginx"):
            missing = stand.available(name)
            if missing:
                raise Failure(f"{name}: {missing}")
        prepare()
        with precedence(), tempfile.TemporaryDirectory(prefix="run-", dir=stand.WORK) as folder:
            # nginx's worker gives up root, and has to get at its folder.
            Path(folder).chmod(0o755)
            rows = run(options, folder)
        versions = {"weir": stand.Weir.version(), "nginx (origin)": stand.Nginx.version()}
    except (Failure, OSError, subprocess.SubprocessError) as failure:
        sys.exit(f"floods: {failure}")
    tables = [figures(rows), ends(rows, options)]
    print("\n" + "\n\n".join(tables) + f"\n\n{(time.monotonic() - began) / 60:.1f} minutes")
    if options.write:
        command = shlex.join(["Tests/Bench/floods.py", *sys.argv[1:]])
        lead = report.machine(versions, command)
        lead += f"\n- each: {options.rounds} runs, {options.seconds:g} s of calm and of attack"
        others = max(row["others"] for row in rows.values())
        lead += f"\n- other work on weir's CPU: at most {others:.2f} s each second"
        report.write(options.write, "\n\n".join([lead, *tables]), MARK)
    if options.quick:
        if any(row["failed"] for row in rows.values()):
            sys.exit("floods: the well-behaved client was failed")
    elif missed := [name for name, row in rows.items() if judge(ATTACKS[name], row) not in ("met", "-")]:
        sys.exit(f"floods: {', '.join(missed)} missed what is asked")


if __name__ == "__main__":
    main()
