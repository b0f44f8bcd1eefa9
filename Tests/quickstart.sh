#!/usr/bin/env bash
# Runs weir with a configuration in front of two sample origins until Ctrl-C.
set -u
config=${1:-configs/quickstart.yaml}
binaries=.build/release
children=()

stop() {
    trap - INT TERM EXIT
    for child in "${children[@]}"; do kill "$child" 2>/dev/null; done
    wait
}
trap 'stop; exit 0' INT TERM
trap stop EXIT

"$binaries/weir-origin" --port 9001 --name one >/dev/null & children+=($!)
"$binaries/weir-origin" --port 9002 --name two >/dev/null & children+=($!)
"$binaries/weir" run "$config" & weir=$!; children+=($weir)

for _ in $(seq 100); do
    kill -0 "$weir" 2>/dev/null || { wait "$weir"; exit $?; }
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
