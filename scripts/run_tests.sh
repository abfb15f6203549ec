#!/bin/sh
# Run the tests with branch coverage; `full` adds the long ones and records the result in docs/test-full.md.
set -eu
BIN=.venv/bin
rm -f .coverage .coverage.*
marks="not full"
[ "${1:-}" = full ] && marks="full or not full"
status=0
# two workers: most tests wait for child processes; one file stays on one worker, so its fixtures are made once, and
# files begin in the order of their folders, the long ones first. What fails is run once more, and named where it passes
# then: real processes on a busy machine; such a test is to be mended all the same
"$BIN/coverage" run -m pytest -n 2 --dist loadfile --no-loadscope-reorder --reruns 1 -r aR --durations 40 -m "$marks" || status=$?
"$BIN/coverage" combine -q
"$BIN/coverage" report || status=$?
if [ "${1:-}" = full ]; then
    sh scripts/test_agent.sh python3.10 python3.12 python3.13 || status=$?
    "$BIN/python" scripts/record_test_full.py "$status"
fi
exit "$status"
