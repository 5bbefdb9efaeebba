#!/usr/bin/env bash
# Measures postgres.purge side by side with a single DELETE: 1,000,000 of 5,000,000 rows, while another
# session updates rows of the table, 200 a second: bash benches/purge.sh [--runs N] [--rows N]
#
# A server of its own, made by initdb, with fsync on; a copy of the table for each run. The time of runbook
# is that of the whole process, and of the step alone, without the preview (which counts the rows) that comes
# before. Prints medians, and the longest that the other session waited for one row. By hand, on a machine that does nothing else: no
# test asserts a time. Needs PostgreSQL's server, psql and pgbench; writes about 4 GB to a temporary folder.
set -euo pipefail
cd "$(dirname "$0")/.."

runs=3 rows=5000000
while [ $# -gt 0 ]; do
  case $1 in
    --runs) runs=$2; shift 2 ;;
    --rows) rows=$2; shift 2 ;;
    *) echo "usage: benches/purge.sh [--runs N] [--rows N]" >&2; exit 2 ;;
  esac
done

cargo build --release --locked
runbook=$(realpath "${CARGO_TARGET_DIR:-target}/release/runbook")
bin=$(ls -d /usr/lib/postgresql/*/bin | sort -V | tail -n 1)
folder=$(mktemp -d /tmp/runbook-bench-purge.XXXXXX)
as=()
if [ "$(id -u)" = 0 ]; then
  chown postgres "$folder"
  as=(setpriv --reuid postgres --regid postgres --clear-groups --)
fi
port=$((20000 + RANDOM % 10000))

finish() {
  "${as[@]}" "$bin/pg_ctl" -D "$folder/data" -m immediate stop >/dev/null 2>&1 || true
  rm -rf "$folder"
}
trap finish EXIT

"${as[@]}" "$bin/initdb" -D "$folder/data" -U postgres -A trust -E UTF8 --locale=C.UTF-8 --no-sync >/dev/null
cat >> "$folder/data/postgresql.conf" <<EOF
listen_addresses = '127.0.0.1'
port = $port
unix_socket_directories = '$folder'
shared_buffers = 1GB
max_wal_size = 8GB
autovacuum = off
EOF
"${as[@]}" "$bin/pg_ctl" -D "$folder/data" -w -l "$folder/log" start >/dev/null

ask() { # database, statements…
  local database=$1; shift
  psql -X -q -At -v ON_ERROR_STOP=1 -h "$folder" -p "$port" -U postgres -d "$database" "$@"
}

echo "filling $rows rows" >&2
ask postgres -c "CREATE DATABASE filled"
ask filled -c "
  CREATE TABLE audit_logs (id bigint PRIMARY KEY, created_at timestamptz NOT NULL, actor int, detail text);
  INSERT INTO audit_logs SELECT g, '2026-01-01'::timestamptz + g * interval '1 second', g % 1000, repeat('x', 80)
    FROM generate_series(1, $rows) g" -c "VACUUM ANALYZE audit_logs" \
  -c "CREATE TABLE going AS SELECT 1 AS on_and_on"

mkdir "$folder/run"
cat > "$folder/update.sql" <<EOF
\\set id random(1, $rows)
UPDATE audit_logs SET actor = actor WHERE id = :id;
SELECT 1 / on_and_on FROM going;
EOF

# A fifth of the rows, in each case.
declare -A condition=(
  [oldest]="created_at < '2026-01-01'::timestamptz + $rows / 5 * interval '1 second'"
  [everywhere]="actor % 5 = 0"
)
condition[indexed]=${condition[oldest]}

by_delete() { : > "$folder/run/out.json"; ask work -c "DELETE FROM audit_logs WHERE $1"; }

by_runbook() {
  cat > "$folder/run/purge.yaml" <<EOF
runbook: v1
name: purge
secrets: { url: { env: DATABASE_URL } }
connections: { main: { postgres: { url: "\${{ secrets.url }}" } } }
steps:
  - id: purge
    postgres.purge:
      connection: main
      table: audit_logs
      where: $1
EOF
  (cd "$folder/run" && DATABASE_URL="postgres://postgres@127.0.0.1:$port/work" \
    RUNBOOK_STATE_DIR="$folder/run/state" "$runbook" run purge.yaml --yes --format json > "$folder/run/out.json")
}

# Prints the seconds that it took, the longest wait of the other session in milliseconds, and the seconds that
# the step took.
measure() { # kind, means
  ask postgres -c "SET client_min_messages = error" -c "DROP DATABASE IF EXISTS work" -c "CREATE DATABASE work TEMPLATE filled STRATEGY file_copy"
  if [ "$1" = indexed ]; then
    ask work -c "CREATE INDEX ON audit_logs (created_at)" -c "ANALYZE audit_logs"
  fi
  ask work -c "SELECT sum(actor), count(detail) FROM audit_logs" -c CHECKPOINT >/dev/null
  rm -f "$folder"/updates*
  "$bin/pgbench" -n -h "$folder" -p "$port" -U postgres -c 1 -T 600 -R 200 -l --log-prefix "$folder/updates" \
    -f "$folder/update.sql" work >/dev/null 2>&1 &
  local writer=$! from to
  until [ "$(ask work -c "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'pgbench'")" = 1 ]; do
    sleep 0.05
  done
  from=$(date +%s%N)
  "$2" "${condition[$1]}"
  to=$(date +%s%N)
  # An error ends it, and it writes its log.
  ask work -c "UPDATE going SET on_and_on = 0"
  wait $writer || true
  [ "$(ask work -c "SELECT count(*) FROM audit_logs WHERE ${condition[$1]}")" = 0 ] \
    || { echo "rows are left" >&2; exit 1; }
  local step
  step=$(sed -n '/"steps"/,$ s/.*"duration_ms": \([0-9]*\).*/\1/p' "$folder/run/out.json" | head -n 1)
  # Column 3 of pgbench's log is the time with the wait for its turn, column 7 that wait.
  awk -v took=$((to - from)) -v step="${step:-0}" \
    '{ wait = $3 - $7; if (wait > most) most = wait } END { printf "%.3f %.1f %.3f\n", took / 1e9, most / 1e3, step / 1e3 }' \
    "$folder"/updates*
}

median() { sort -n | awk '{ all[NR] = $1 } END { print all[int((NR + 1) / 2)] }'; }

echo "| rows | one DELETE | postgres.purge | ratio | the step alone | ratio | longest wait: DELETE | purge | one in |"
echo "| --- | --- | --- | --- | --- | --- | --- | --- | --- |"
for kind in oldest indexed everywhere; do
  : > "$folder/delete"; : > "$folder/purge"
  for _ in $(seq "$runs"); do
    measure "$kind" by_delete >> "$folder/delete"
    measure "$kind" by_runbook >> "$folder/purge"
  done
  of() { cut -d' ' -f"$2" "$folder/$1" | median; }
  awk -v kind="$kind" -v a="$(of delete 1)" -v b="$(of purge 1)" -v c="$(of purge 3)" \
    -v v="$(of delete 2)" -v w="$(of purge 2)" \
    'BEGIN { printf "| %s | %.2f s | %.2f s | %.2f | %.2f s | %.2f | %.0f ms | %.0f ms | %.0f |\n", \
      kind, a, b, b / a, c, c / a, v, w, v / w }'
done
