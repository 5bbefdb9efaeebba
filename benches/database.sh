#!/usr/bin/env bash
# Measures what `runbook` does with a database, side by side with what people do in a shell, and prints
# medians: bash benches/database.sh [RUNS]
#
# By hand, on a machine that does nothing else: no test asserts a time. Needs PostgreSQL's server and
# clients, python3, and root (initdb refuses it, so the server runs as `postgres`). Makes a server of its
# own in target/bench, and ends it.
#
# 1. A check playbook of 20 look steps on one database, against 20 `psql -c` calls in a shell: with `psql` as
#    it is found on PATH (Debian's is a wrapper in Perl), and with the program behind it. Once with the same
#    statements, in `postgres.query`; once with the typed looks, which ask for more than they do.
# 2. The throughput of pgbench while the weekly maintenance runs, as a share of what it is before and after.
set -euo pipefail
cd "$(dirname "$0")/.."
runs=${1:-11}
target=$(realpath -m "${CARGO_TARGET_DIR:-target}")
place=$target/bench/database
bin=$(ls -d /usr/lib/postgresql/*/bin | sort -V | tail -1)
cargo build --release --locked

as_postgres() { setpriv --reuid postgres --regid postgres --clear-groups "$@"; }
# Below /root nobody else may look.
data=$(mktemp -d /tmp/bench-postgres.XXXXXX)
trap 'as_postgres "$bin/pg_ctl" -D "$data/data" -m immediate stop >/dev/null 2>&1 || :; rm -rf "$data"' EXIT
chown postgres "$data"
rm -rf "$place"
mkdir -p "$place"
port=$(python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])')
as_postgres "$bin/initdb" -D "$data/data" -A trust -E UTF8 --locale=C.UTF-8 --no-sync >/dev/null
cat >>"$data/data/postgresql.conf" <<EOF
listen_addresses = '127.0.0.1'
port = $port
unix_socket_directories = '$data'
shared_preload_libraries = 'pg_stat_statements'
max_wal_size = 4GB
EOF
as_postgres "$bin/pg_ctl" -D "$data/data" -w -l "$data/log" start >/dev/null
admin=postgres://postgres@127.0.0.1:$port/postgres
export DATABASE_URL=postgres://postgres@127.0.0.1:$port/shop REDIS_URL=redis://127.0.0.1:1
psql -Xqc 'CREATE DATABASE shop' "$admin"
"$bin/pgbench" -i -q -s 10 "$DATABASE_URL" 2>/dev/null
psql -Xqf benches/shop.sql "$DATABASE_URL"
python3 benches/database.py --runbook "$target/release/runbook" --bin "$bin" --folder "$place" --runs "$runs"
