"""The measuring part of database.sh: see there."""

import argparse
import os
import re
import shutil
import statistics
import subprocess
import time

LOOKS = [
    ("postgres.ping: { connection: main }", "SELECT version(), pg_is_in_recovery()"),
    ("postgres.activity: { connection: main }", "SELECT state, count(*) FROM pg_stat_activity GROUP BY 1"),
    ("postgres.locks: { connection: main }", "SELECT pid, pg_blocking_pids(pid) FROM pg_stat_activity WHERE wait_event_type = 'Lock'"),
    ("postgres.slow_queries: { connection: main, limit: 10 }", "SELECT query, calls, mean_exec_time FROM pg_stat_statements ORDER BY 3 DESC LIMIT 10"),
    ("postgres.table_sizes: { connection: main, limit: 10 }", "SELECT oid::regclass, pg_total_relation_size(oid) FROM pg_class WHERE relkind = 'r' ORDER BY 2 DESC LIMIT 10"),
    ("postgres.invalid_indexes: { connection: main }", "SELECT indexrelid::regclass FROM pg_index WHERE NOT indisvalid"),
    ("postgres.unused_indexes: { connection: main, min_age: 0s }", "SELECT indexrelid::regclass FROM pg_stat_user_indexes WHERE idx_scan = 0"),
    ("postgres.wraparound: { connection: main }", "SELECT datname, age(datfrozenxid) FROM pg_database"),
    ("postgres.replication: { connection: main }", "SELECT * FROM pg_stat_replication"),
    ("postgres.query: { connection: main, sql: SELECT count(*) FROM pgbench_branches }", "SELECT count(*) FROM pgbench_branches"),
]
HEAD = """runbook: v1
name: looks
order: parallel
secrets: { url: { env: DATABASE_URL } }
connections: { main: { postgres: { url: "${{ secrets.url }}" } } }
steps:
"""


def timed(command, runs, cwd):
    took = []
    for _ in range(runs):
        began = time.perf_counter()
        subprocess.run(command, cwd=cwd, check=False, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        took.append(time.perf_counter() - began)
    return took


def looks(args):
    with open(f"{args.folder}/looks.yaml", "w") as file:
        file.write(HEAD)
        for at in range(20):
            file.write(f"  - {{ id: s{at}, fail_on: never, {LOOKS[at % len(LOOKS)][0]} }}\n")
    for name, psql in [("looks.sh", "psql"), ("bare.sh", f"{args.bin}/psql")]:
        with open(f"{args.folder}/{name}", "w") as file:
            for at in range(20):
                file.write(f'{psql} -XAt "$DATABASE_URL" -c "{LOOKS[at % len(LOOKS)][1]}"\n')
    ours = [args.runbook, "run", "looks.yaml", "-q"]
    first = subprocess.run(ours, cwd=args.folder, capture_output=True, text=True)
    if first.returncode != 0:
        raise SystemExit(f"the playbook fails:\n{first.stdout}{first.stderr}")
    commands = {"runbook run": ours, "20 psql -c": ["bash", "looks.sh"], "20 psql -c, the bare program": ["bash", "bare.sh"]}
    took = {name: [] for name in commands}
    # In turns, so that what else the machine does falls on all of them.
    for _ in range(args.runs):
        for name, command in commands.items():
            took[name] += timed(command, 1, args.folder)
    own = statistics.median(took["runbook run"])
    for name, times in took.items():
        middle = statistics.median(times)
        print(f"{name:32} {middle * 1e3:8.1f} ms   {middle / own:6.1f} x")


def tps(args, seconds, beside=None):
    bench = subprocess.Popen(
        [f"{args.bin}/pgbench", "-n", "-c", "4", "-T", str(seconds), os.environ["DATABASE_URL"]],
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        # A statement that is blocked for longer fails, and pgbench says so.
        env={**os.environ, "PGOPTIONS": "-c lock_timeout=5000"},
    )
    code = None
    if beside:
        time.sleep(1)
        code = subprocess.run(beside, cwd=args.folder, capture_output=True, text=True).returncode
    text = bench.communicate()[0]
    failed = re.search(r"number of failed transactions: (\d+)", text)
    return float(re.search(r"tps = ([\d.]+)", text)[1]), int(failed[1]) if failed else 0, code


def load(args):
    for name in ["weekly-db-maintenance.yaml", "runbook.yaml"]:
        shutil.copy(f"playbooks/{name}", args.folder)
    alone, _, _ = tps(args, 15)
    run = [args.runbook, "run", "weekly-db-maintenance.yaml", "--yes", "-q", "-p", "slow_mean=10s"]
    beside, failed, code = tps(args, 15, run)
    again, _, _ = tps(args, 15)
    base = (alone + again) / 2
    print(f"pgbench alone {alone:.0f} and {again:.0f} tps, beside the weekly maintenance (exit {code}) {beside:.0f} tps: "
          f"{100 - 100 * beside / base:.0f} % less; statements that waited 5 s for a lock: {failed}")


parser = argparse.ArgumentParser()
for option in ["--runbook", "--bin", "--folder"]:
    parser.add_argument(option, required=True)
parser.add_argument("--runs", type=int, default=11)
arguments = parser.parse_args()
os.environ["RUNBOOK_STATE_DIR"] = f"{arguments.folder}/state"
looks(arguments)
load(arguments)
