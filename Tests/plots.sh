#!/bin/bash
# Draws what docs/policies shows, with seed 1: plots.sh FOLDER.
set -eu -o pipefail
cd "$(dirname "$0")/.."
folder=$1
mkdir -p "$folder"

draw() { # NAME SCENARIO [OPTION...]
    local name=$1 scenario=$2
    shift 2
    .build/release/weir simulate --scenario "$scenario" --seed 1 --svg "$folder/$name.svg" "$@" \
        > /dev/null
}

draw adaptive-concurrency sustained-overload
draw ceilings-and-queue priority-surge
draw deadlines metastable
draw health-checks flapping-endpoint
draw load-balancing heterogeneous
draw outlier-ejection slow-endpoint
draw rate-limits noisy-neighbour --config configs/tenants.yaml
draw retries-and-hedging retry-amplification
draw tenants noisy-neighbour
draw breakers retry-amplification --config configs/sidecar.yaml
