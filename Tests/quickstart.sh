#!/usr/bin/env bash
# Runs weir with a configuration in front of two sample origins until Ctrl-C.
set -u
config=${1:-configs/quickstart.yaml}
binaries=.build/release

# The children have sessions of their own, so that Ctrl-C reaches only this script: weir is told
# once, drains, and the origins stay until it has.
stop() {
    trap '' INT TERM
    kill "$weir" 2>/dev/null && wait "$weir"
    kill "${origins[@]}" 2>/dev/null
    wait
}
trap 'stop; exit 0' INT TERM

setsid "$binaries/weir-origin" --port 9001 --name one >/dev/null & origins=($!)
setsid "$binaries/weir-origin" --port 9002 --name two >/dev/null & origins+=($!)
setsid "$binaries/weir" run "$config" & weir=$!

for _ in $(seq 100); do
    kill -0 "$weir" 2>/dev/null || { wait "$weir"; code=$?; stop; exit $code; }
    curl -fs http://127.0.0.1:9901/ready >/dev/null 2>&1 && break
    sleep 0.1
done
cat <<'TEXT'

weir is running. Try:

  curl -i http://127.0.0.1:8080/            # answered by one of two origins, in turn
  curl -i http://127.0.0.1:8080/hello       # answered by weir itself
  curl -s http://127.0.0.1:9901/status      # what weir is doing

Edit the configuration while it runs: it is reloaded when you save it. Ctrl-C stops everything.

TEXT
wait "$weir"
code=$?
stop
exit $code
