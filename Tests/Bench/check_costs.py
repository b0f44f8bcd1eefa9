#!/usr/bin/env python3
"""Fails when weir costs more than thresholds.json allows: instructions, allocations, idle memory.

None of the three depends on how busy the machine is, so they can be tests. Exit codes: 0 within
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

            def weir():
                return stand.Weir(folder, UPSTREAM=upstream.port)

            for check in options.only or CHECKS:
                if check == "instructions":
                    value = measure.instructions(weir, folder, 4000)
                    judge("instructions a request", value, limits["instructions_per_request"], 0)
                elif check == "allocations":
                    made, _ = measure.allocations(weir, folder, 20000)
                    judge("heap allocations a request", made, limits["allocations_per_request"], 4)
                else:
                    judge(
                        "bytes an idle connection",
                        measure.idle_bytes(weir),
                        limits["idle_bytes"],
                        0,
                    )
    except (stand.Failure, OSError, subprocess.SubprocessError) as failure:
        print(f"check_costs: {failure}", file=sys.stderr)
        sys.exit(2)
    sys.exit(1 if exceeded else 0)


if __name__ == "__main__":
    main()
