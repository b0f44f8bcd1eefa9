#!/bin/bash
# Runs the fuzzers: run.sh [--keep] SECONDS [TARGET...], targets: request response chunked config proxy http2 tls.
#
# Works on a copy of the corpus; --keep puts the inputs that reached new code into corpus/found.
# Exits with 1 on a finding, whose input then lies in .build/fuzz-artifacts.
set -u -o pipefail
cd "$(dirname "$0")/../.." || exit 2

usage() {
    sed -n '2s/^# //p' "$0" >&2
    exit 2
}

keep=0
if [ "${1:-}" = --keep ]; then
    keep=1
    shift
fi
[[ "${1:-}" =~ ^[1-9][0-9]*$ ]] || usage
seconds=$1
shift
[ $# -gt 0 ] || set -- request response chunked config proxy http2 tls
for target in "$@"; do
    [[ "$target" =~ ^(request|response|chunked|config|proxy|http2|tls)$ ]] || usage
done

# The backtracer would hang on a finding and hold the pipe.
export SWIFT_BACKTRACE=enable=no
# What lives as long as the process is not freed at its end.
export ASAN_OPTIONS=detect_leaks=0:handle_segv=1:abort_on_error=1
corpus=Tests/Fuzz/corpus
artifacts=.build/fuzz-artifacts
mkdir -p "$artifacts"

# Puts the seeds of a target into a folder.
seed() {
    local target=$1 folder=$2 source
    mkdir -p "$folder"
    for source in "$corpus/$target" "$corpus/found/$target"; do
        [ -d "$source" ] && find "$source" -maxdepth 1 -type f -exec cp -t "$folder" {} +
    done
    [ "$target" = config ] || return 0
    # A golden file is an input, a line of dashes, and what is said about it.
    for source in Tests/WeirConfigTests/Golden/*.golden; do
        awk '/^----------$/ { exit } { print }' "$source" > "$folder/$(basename "$source").yaml"
    done
    cp configs/*.yaml "$folder"
}

# Words of the format for the mutator; the configuration's come from its generated reference.
dictionary() {
    if [ "$1" = config ]; then
        grep -oE '`[A-Za-z0-9_]+`' docs/configuration.md | sort -u | tr '`' '"'
    else
        cat "Tests/Fuzz/$1.dict"
    fi > "$work/$1.dict"
}

last() { grep -o "$1 *[0-9]*" "$2" | tail -1 | grep -o '[0-9]*$'; }

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
# What the server of `tls` proves itself with.
export WEIR_FUZZ_PEM=$work/tls.pem
openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2 -subj /CN=fuzz \
    -keyout "$WEIR_FUZZ_PEM" -out "$work/tls.crt" 2> /dev/null || exit 2
cat "$work/tls.crt" >> "$WEIR_FUZZ_PEM"
for target in "$@"; do
    WEIR_FUZZ=1 swift build -c release --scratch-path .build/fuzz --product "Fuzz${target^}" \
        > "$work/build.log" 2>&1 || { cat "$work/build.log"; exit 2; }
done

# Fuzzes one target and says in one line what came of it.
fuzz() {
    local target=$1 failed=0 binary folder log seeds options code runs rate verdict input name
    binary=.build/fuzz/release/Fuzz${target^}
    folder=$work/$target
    log=$artifacts/$target.log
    seed "$target" "$folder"
    seeds=$(find "$folder" -type f | wc -l)
    dictionary "$target"
    options=(-rss_limit_mb=2048 -timeout=10 -max_len=20000 "-dict=$work/$target.dict")
    timeout -k 10 $((seconds + 60)) "$binary" "${options[@]}" -max_total_time="$seconds" \
        -print_final_stats=1 -artifact_prefix="$artifacts/$target-" "$folder" > "$log" 2>&1
    code=$?
    runs=$(last 'number_of_executed_units:' "$log")
    rate=$(last 'average_exec_per_sec:' "$log")
    verdict=ok
    if [ "$code" -ne 0 ] || [ "${runs:-0}" -eq 0 ]; then
        failed=1
        verdict="FINDING (exit $code), see $log"
        grep -m 3 -E '==FINDING==|ERROR:|broken:|Fatal|Test unit written' "$log"
    fi
    echo "$target: ${runs:-no} executions, ${rate:-0}/s," \
        "corpus $seeds -> $(find "$folder" -type f | wc -l), $verdict"
    if [ "$keep" = 1 ] && [ "$code" -eq 0 ]; then
        # Only what reaches code that the seeds do not, and of that the smallest inputs.
        mkdir -p "$corpus/found/$target"
        rm -rf "$work/$target-seeds"
        seed "$target" "$work/$target-seeds"
        timeout -k 10 600 "$binary" -merge=1 -use_counters=0 -rss_limit_mb=2048 -max_len=4096 \
            "$work/$target-seeds" "$folder" > "$log.merge" 2>&1
        for input in "$work/$target-seeds"/*; do
            name=$(basename "$input")
            # libFuzzer names what it adds by its SHA-1.
            [[ "$name" =~ ^[0-9a-f]{40}$ ]] && cp -n "$input" "$corpus/found/$target/"
        done
        echo "$target: kept $(find "$corpus/found/$target" -type f | wc -l) found inputs"
    fi
    return "$failed"
}

# Two at a time: a target computes on one core.
failed=0
running=()
for target in "$@"; do
    if [ "${#running[@]}" -ge 2 ]; then
        wait "${running[0]}" || failed=1
        running=("${running[@]:1}")
    fi
    fuzz "$target" &
    running+=($!)
done
for job in "${running[@]}"; do wait "$job" || failed=1; done
exit "$failed"
