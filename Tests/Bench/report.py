"""Results as text: the same Markdown tables for the terminal and for docs/benchmarks.md."""

import datetime
import os
import platform
import statistics
from pathlib import Path

import measure

BEGIN, END = "<!-- results: written by Tests/Bench/bench.py --write -->", "<!-- /results -->"

# What weir is held to: scenario, compared with, at most.
TARGETS = [
    ("1k", "nginx", 0.80),
    ("1k", "haproxy", 0.80),
    ("1k", "envoy", 0.40),
    ("100k", "nginx", 0.35),
    ("tls1k", "nginx", 0.80),
    ("tls1k", "haproxy", 0.80),
    *[("h2c8", "nginx", 0.45), ("h2c8", "haproxy", 0.75), ("h2c8", "envoy", 0.30)],
    *[("h2tls8", "nginx", 0.45), ("h2tls8", "haproxy", 0.75), ("h2tls8", "envoy", 0.30)],
    ("governed", "nginx", 0.85),
    ("governed", "haproxy", 0.85),
    ("governed", "envoy", 0.40),
]


def table(head, rows):
    widths = [max(len(row[i]) for row in [head, *rows]) for i in range(len(head))]
    align = [str.ljust] + [str.rjust] * (len(head) - 1)

    def line(cells):
        return "| " + " | ".join(f(c, w) for f, c, w in zip(align, cells, widths)) + " |"

    rule = ["-" * w if i == 0 else "-" * (w - 1) + ":" for i, w in enumerate(widths)]
    return "\n".join([line(head), line(rule), *map(line, rows)])


def ratio(triple):
    return "-" if triple is None else "{:.2f} ({:.2f}..{:.2f})".format(*triple)


def cpu(rows):
    """One scenario of `measure.cpu_series`."""
    head = [
        "proxy",
        "CPU us/req",
        "ctx/req",
        "req/s",
        "p50 us",
        "p99 us",
        "proxy / nginx",
        "weir / proxy",
    ]
    body = []
    for name in rows:
        m = {key: measure.median(rows[name], key) for key in rows[name][0]}
        body.append(
            [
                name,
                f"{m['cpu_us']:.2f}",
                f"{m['switches']:.3f}",
                f"{m['rate']:.0f}",
                f"{m['p50_us']:.0f}",
                f"{m['p99_us']:.0f}",
                ratio(measure.paired_ratios(rows, name, "nginx")) if name != "nginx" else "1",
                ratio(measure.paired_ratios(rows, "weir", name)) if name != "weir" else "1",
            ]
        )
    return table(head, body)


def handshakes(rows):
    """One scenario of `measure.handshake_series`."""
    body = [
        [
            name,
            f"{measure.median(rows[name], 'cpu_us'):.0f}",
            f"{measure.median(rows[name], 'rate'):.0f}",
            ratio(measure.paired_ratios(rows, "weir", name)) if name != "weir" else "1",
        ]
        for name in rows
    ]
    return table(["proxy", "CPU us each", "a second", "weir / proxy"], body)


def single(unit, values, digits=0):
    """One figure a proxy, each a list of repetitions."""
    median = {name: statistics.median(v) for name, v in values.items()}
    body = []
    for name, v in values.items():
        weir = f"{median['weir'] / median[name]:.2f}" if "weir" in median and median[name] else "-"
        spread = f"{min(v):,.{digits}f}..{max(v):,.{digits}f}" if len(v) > 1 else "-"
        body.append([name, f"{median[name]:,.{digits}f}", spread, weir])
    return table(["proxy", unit, "range", "weir / proxy"], body)


def targets(results, thresholds):
    """Each target with what was measured, as far as it was; weir only."""
    body = []

    def add(what, limit, value, form="{:.2f}"):
        body.append(
            [
                what,
                "<= " + form.format(limit),
                form.format(value),
                "met" if value <= limit else "MISSED",
            ]
        )

    for scenario, peer, limit in TARGETS:
        measured = measure.paired_ratios(results.get(scenario, {}), "weir", peer)
        if measured:
            add(f"{scenario}: CPU, weir / {peer}", limit, measured[0])
    if "weir" in results.get("instructions", {}):
        value = statistics.median(results["instructions"]["weir"])
        add("instructions a request", thresholds["instructions_per_request"], value, "{:,.0f}")
        value = statistics.median(results["instructions"]["weir, governed"])
        limit = thresholds["instructions_per_governed_request"]
        add("instructions a governed request", limit, value, "{:,.0f}")
    if "weir" in results.get("idle", {}):
        value = statistics.median(results["idle"]["weir"])
        add("bytes an idle connection", thresholds["idle_bytes"], value, "{:,.0f}")
    if "weir" in results.get("idletls", {}):
        value = statistics.median(results["idletls"]["weir"]) - results["idletls"]["openssl"][0]
        add("bytes an idle TLS connection beyond OpenSSL's", 10_000, value, "{:,.0f}")
    if "allocations" in results:
        value = results["allocations"]["allocations"]
        add("heap allocations a request", thresholds["allocations_per_request"], value, "{:.4f}")
    if "tenants" in results:
        add("CPU, 1,000,000 tenants / 10", 1.2, results["tenants"][0])
    for by, found in results.get("routes", {}).items():
        add(f"CPU, 10,000 routes / 10, by {by}", 1.2, found["cpu_ratio"][0])
        if "instructions" in found:
            add(
                f"instructions, 10,000 routes / 10, by {by}",
                1.2,
                found["instructions"][1] / found["instructions"][0],
            )
    return table(["target", "limit", "measured", ""], body) if body else None


def machine(versions, command):
    model = next(
        (
            l.split(":")[1].strip()
            for l in Path("/proc/cpuinfo").read_text().splitlines()
            if "model name" in l
        ),
        platform.machine(),
    )
    day = datetime.date.today().isoformat()
    lines = [
        f"- date: {day}",
        f"- machine: {model}, {os.cpu_count()} CPUs, Linux {platform.release()}",
        *[f"- {name}: {version}" for name, version in versions.items()],
        f"- command: `{command}`",
    ]
    return "\n".join(lines)


def write(path, text, begin=BEGIN):
    """Replaces what stands between the two marks of a page; the rest is written by hand."""
    page = Path(path).read_text()
    before, _, rest = page.partition(begin)
    _, found, after = rest.partition(END)
    if not found:
        raise SystemExit(f"bench: {path} lacks the marks {begin} and {END}")
    Path(path).write_text(f"{before}{begin}\n\n{text}\n\n{END}{after}")
