#!/usr/bin/env python3
"""Fails when weir costs more than thresholds.json allows: instructions, allocations, idle memory.

None of these depends on how busy the machine is, so they can be tests. Exit codes: 0 within
the limits, 1 beyond one of them, 2 could not be measured.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
from contextlib import ExitStack

import measure
import stand

CHECKS = ["instructions", "allocations", "idle"]
# What is measured of a plain request and of one with every governor at work.
LOADS = [
    ("", stand.Weir, stand.load),
    ("governed_", stand.GovernedWeir, stand.load_by_tenants),
    ("http2_", stand.Weir, stand.load_h2),
]


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--bin", help="weir's release binary (WEIR_BIN, else .build/release/weir)")
    parser.add_argument(
        "--only", choices=CHECKS, action="append", help="may be repeated; all without it"
    )
    options = parser.parse_args()
    if options.bin:
        os.environ["WEIR_BIN"] = os.path.abspath(options.bin)
    limits = json.loads((stand.HERE / "thresholds.json").read_text())

    exceeded = False

    def judge(what, value, limit, digits):
        nonlocal exceeded
        exceeded |= value > limit
        verdict = "MORE THAN ALLOWED" if value > limit else "ok"
        print(f"{what}: {value:,.{digits}f} (limit {limit:,}) {verdict}", flush=True)

    try:
        if missing := stand.available("weir"):
            raise stand.Failure(missing)
        stand.pin(0)
        stand.build_tools()
        stand.write_files()
        with ExitStack() as stack:
            folder = stack.enter_context(
                tempfile.TemporaryDirectory(prefix="check-", dir=stand.WORK)
            )
            upstream = stack.enter_context(stand.Upstream(folder))

            for check in options.only or CHECKS:
                if check == "idle":
                    value = measure.idle_bytes(lambda: stand.Weir(folder, UPSTREAM=upstream.port))
                    judge("bytes an idle connection", value, limits["idle_bytes"], 0)
                    continue
                for kind, make, load in LOADS:

                    def proxy(make=make):
                        return make(folder, UPSTREAM=upstream.port)

                    what = f"a {kind}request".replace("_", " ")
                    if check == "instructions":
                        value = measure.instructions(proxy, folder, 4000, load)
                        limit = limits[f"instructions_per_{kind}request"]
                        judge(f"instructions {what}", value, limit, 0)
                    else:
                        made, _ = measure.allocations(proxy, folder, 20000, load)
                        limit = limits[f"allocations_per_{kind}request"]
                        judge(f"heap allocations {what}", made, limit, 4)
    except (stand.Failure, OSError, subprocess.SubprocessError) as failure:
        print(f"check_costs: {failure}", file=sys.stderr)
        sys.exit(2)
    sys.exit(1 if exceeded else 0)


if __name__ == "__main__":
    main()
