#!/usr/bin/env bash
# The proofs at their full length: bash tests/full.sh
#
# tests/run.sh tries an evenly spread part of the places at which the engine can be killed or its state
# folder can fail, some random playbooks, and each secret cut once. This tries all of them, 1,000 moments
# (RUNBOOK_TEST_KILLS), 1,000 playbooks and 50 ways to cut. Run tests/run.sh
# first: it installs what is needed. Takes about half an hour on two cores.
set -euo pipefail
cd "$(dirname "$0")/.."
export RUNBOOK_TEST_FULL=1 RUNBOOK_TEST_KILLS="${RUNBOOK_TEST_KILLS:-1000}" \
  RUNBOOK_TEST_PLANS="${RUNBOOK_TEST_PLANS:-1000}" RUNBOOK_TEST_CANARIES="${RUNBOOK_TEST_CANARIES:-50}"

log=$(realpath -m "${CARGO_TARGET_DIR:-target}")/full.log
started=$SECONDS code=0
# One after the other: each works on as many runs side by side as there are cores.
cargo test --locked --test it -- --nocapture --test-threads=1 \
  killed:: faults:: full:: stopped:: resume::killed pure::kept canary:: 2>&1 | tee "$log" || code=$?
echo "==> figures"
sed -n 's/.*figure: //p' "$log"
grep '^test result: ' "$log" || true
((code == 0)) && echo "==> all passed in $((SECONDS - started)) s" || echo "==> FAILED (exit $code)"
exit "$code"
