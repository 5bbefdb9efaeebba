"""The measuring part of database.sh: see there."""

import argparse
import os
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
    playbooks = {
        "looks.yaml": [look for look, _ in LOOKS],
        "same.yaml": [f'postgres.query: {{ connection: main, sql: "{sql}" }}' for _, sql in LOOKS],
    }
    for name, steps in playbooks.items():
        with open(f"{args.folder}/{name}", "w") as file:
            file.write(HEAD)
            for at in range(20):
                file.write(f"  - {{ id: s{at}, fail_on: never, {steps[at % len(LOOKS)]} }}\n")
    for name, psql in [("looks.sh", "psql"), ("bare.sh", f"{args.bin}/psql")]:
        with open(f"{args.folder}/{name}", "w") as file:
            for at in range(20):
                file.write(f'{psql} -XAt "$DATABASE_URL" -c "{LOOKS[at % len(LOOKS)][1]}"\n')
    for name in playbooks:
        first = subprocess.run([args.runbook, "run", name, "-q"], cwd=args.folder, capture_output=True, text=True)
        if first.returncode != 0:
            raise SystemExit(f"the playbook fails:\n{first.stdout}{first.stderr}")
    commands = {
        "20 x postgres.query": [args.runbook, "run", "same.yaml", "-q"],
        "20 typed looks": [args.runbook, "run", "looks.yaml", "-q"],
        "20 psql -c": ["bash", "looks.sh"],
        "20 psql -c, the bare program": ["bash", "bare.sh"],
    }
    took = {name: [] for name in commands}
    # In turns, so that what else the machine does falls on all of them.
    for _ in range(args.runs):
        for name, command in commands.items():
            took[name] += timed(command, 1, args.folder)
    same, typed, *_ = [statistics.median(times) for times in took.values()]
    for name, times in took.items():
        middle = statistics.median(times)
        print(f"{name:30} {middle * 1e3:8.1f} ms   {middle / same:6.1f} x the same statements   {middle / typed:6.1f} x the typed looks")


def load(args):
    """Throughput of pgbench before, while and after the weekly maintenance runs, by its log of transactions."""
    for name in ["weekly-db-maintenance.yaml", "runbook.yaml"]:
        shutil.copy(f"playbooks/{name}", args.folder)
    run = [args.runbook, "run", "weekly-db-maintenance.yaml", "--yes", "-p", "slow_mean=10s"]
    bench = subprocess.Popen(
        [f"{args.bin}/pgbench", "-n", "-c", "4", "-T", "40", "-l", "--log-prefix", f"{args.folder}/load", os.environ["DATABASE_URL"]],
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        # A statement that is blocked for longer fails, and pgbench gives its client up.
        env={**os.environ, "PGOPTIONS": "-c lock_timeout=5000"},
    )
    time.sleep(15)
    began = time.time()
    done = subprocess.run(run, cwd=args.folder, capture_output=True, text=True)
    ended = time.time()
    text = bench.communicate()[0]
    if done.returncode != 0:
        raise SystemExit(f"the weekly maintenance fails:\n{done.stdout}{done.stderr}")
    if "aborted" in text:
        raise SystemExit(f"somebody waited for 5 s:\n{text}")
    transactions = []
    for name in os.listdir(args.folder):
        if name.startswith("load."):
            with open(f"{args.folder}/{name}") as file:
                for line in file:
                    _, _, took, _, seconds, micros, *_ = line.split()
                    transactions.append((int(seconds) + int(micros) / 1e6, int(took) / 1e3))
    def within(start, end):
        took = [took for at, took in transactions if start <= at < end]
        return len(took) / (end - start), max(took)
    alone, longest = within(began - 10, began)
    after, _ = within(ended + 1, ended + 8)
    beside, waited = within(began, ended)
    base = (alone + after) / 2
    print(f"pgbench before {alone:.0f} and after {after:.0f} tps; beside the weekly maintenance of {ended - began:.1f} s {beside:.0f} tps: "
          f"{100 - 100 * beside / base:.0f} % less; the longest transaction {waited:.0f} ms (before {longest:.0f} ms)")


parser = argparse.ArgumentParser()
for option in ["--runbook", "--bin", "--folder"]:
    parser.add_argument(option, required=True)
parser.add_argument("--runs", type=int, default=11)
arguments = parser.parse_args()
os.environ["RUNBOOK_STATE_DIR"] = f"{arguments.folder}/state"
looks(arguments)
load(arguments)
