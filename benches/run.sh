#!/usr/bin/env bash
# Measures runbook against the figures that it is to reach, side by side with bare C, and prints a
# table: bash benches/run.sh [--quick] [--only NAME]... [--runs N]
#
# By hand, on a machine that does nothing else: no test asserts a time. Needs gcc, python3, grep, and
# strace (for counting fsyncs). Builds into target/, and writes up to 1.2 GB to target/bench.
set -euo pipefail
cd "$(dirname "$0")/.."

target=$(realpath -m "${CARGO_TARGET_DIR:-target}")
bench=$target/bench
mkdir -p "$bench/bin"

cargo build --release --locked
for program in null spawn timed; do
  gcc -O2 -Wall -Wextra -Werror -o "$bench/bin/$program" "benches/$program.c"
done
exec python3 benches/measure.py --runbook "$target/release/runbook" --folder "$bench" "$@"
