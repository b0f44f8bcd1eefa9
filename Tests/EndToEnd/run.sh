#!/bin/bash
# Builds weir and runs the end-to-end suite: run.sh [none|address|thread] [pytest arguments].
#
# A sanitizer's build has a scratch path of its own, .build/asan or .build/tsan.
set -eu -o pipefail
tests=$(cd "$(dirname "$0")" && pwd)
cd "$tests/../.."
top=$PWD

sanitizer=none
case "${1:-}" in
    none | address | thread)
        sanitizer=$1
        shift
        ;;
esac

case "$sanitizer" in
    none) scratch=$top/.build build=() slowdown=1 processes=6 ;;
    address) scratch=$top/.build/asan build=(--sanitize=address) slowdown=4 processes=6 ;;
    thread) scratch=$top/.build/tsan build=(--sanitize=thread) slowdown=6 processes=4 ;;
esac
for product in weir weir-origin; do
    swift build --scratch-path "$scratch" "${build[@]}" --product "$product"
done

venv=$top/.build/e2e-venv
if ! cmp -s "$tests/requirements.txt" "$venv/requirements.txt"; then
    python3 -m venv --clear "$venv"
    "$venv/bin/pip" install --quiet --disable-pip-version-check -r "$tests/requirements.txt"
    cp "$tests/requirements.txt" "$venv/requirements.txt"
fi

export WEIR_BIN=$scratch/debug/weir
export WEIR_ORIGIN=$scratch/debug/weir-origin
export WEIR_TEST_SANITIZER=$sanitizer
export WEIR_TEST_SLOWDOWN=${WEIR_TEST_SLOWDOWN:-$slowdown}
# The backtracer hangs on a crash and hides the sanitizer's report.
export SWIFT_BACKTRACE=enable=no
export ASAN_OPTIONS=detect_leaks=1:${ASAN_OPTIONS:-}
export LSAN_OPTIONS=suppressions=$tests/lsan.suppressions:print_suppressions=0:${LSAN_OPTIONS:-}
export TSAN_OPTIONS=halt_on_error=1:exitcode=66:suppressions=$tests/tsan.suppressions:${TSAN_OPTIONS:-}
if [ "$sanitizer" = thread ]; then
    # Races need company; a test that depends on a number of workers names it.
    export WEIR_TEST_WORKERS=${WEIR_TEST_WORKERS:-4}
    # What one connection's bytes mean is no matter of threads; the other two builds read them all.
    for file in malformed_requests malformed_responses http2_malformed transparent_script; do
        set -- "--ignore=test_$file.py" "$@"
    done
fi

cd "$tests"
# Several at a time, on two cores: most tests wait more than they compute.
exec "$venv/bin/pytest" -p no:cacheprovider -n "${WEIR_TEST_PROCESSES:-$processes}" "$@"
