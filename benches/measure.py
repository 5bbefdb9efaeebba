"""Measures runbook side by side with bare C programs, and prints one table.

Run by `benches/run.sh`, which builds what this needs. Every figure is the median of several runs, the
two sides of a ratio run in turn (A B A B ...), so that a change of the machine's speed hits both. What
a run did is checked (its journal holds a result for every step), so a fast failure is no record.
Standard library alone.
"""

import argparse
import dataclasses
import json
import os
import pathlib
import re
import shutil
import statistics
import subprocess
import sys
import time

REPOSITORY = pathlib.Path(__file__).resolve().parent.parent
LOG_BYTES = 1_000_000_000

# A run's own fsyncs (folders, ledger, start and end), which are no step's.
RUN_FSYNCS = 20


@dataclasses.dataclass
class Cost:
    """What one run of a program took: seconds, and KiB of its largest process."""

    wall: float
    user: float
    system: float
    peak: int

    @property
    def cpu(self):
        return self.user + self.system


class Failed(Exception):
    """A run that did not do its work: nothing to measure."""


class Bench:
    def __init__(self, options):
        self.folder = options.folder
        self.bin = options.folder / "bin"
        self.inputs = options.folder / "inputs"
        self.runbook = options.runbook
        self.quick = options.quick
        self.runs = options.runs or (3 if options.quick else 7)
        self.inputs.mkdir(exist_ok=True)

    def time(self, argv, env=None, cwd=None):
        """Runs a program once, from a small C parent, and returns its cost. A failure is `Failed`."""
        result = self.folder / "timed.out"
        # Not /dev/null: grep sees that, and stops at the first match.
        with open(self.folder / "stdout", "wb") as stdout:
            done = subprocess.run(
                [self.bin / "timed", result, *argv],
                env=env, cwd=cwd, stdin=subprocess.DEVNULL, stdout=stdout,
                stderr=subprocess.PIPE, text=True,
            )
        if done.returncode != 0:
            raise Failed(done.stderr.strip() or f"exit {done.returncode}")
        wall, user, system, peak, code = result.read_text().split()
        if code != "0":
            raise Failed(f"exit {code}: {done.stderr.strip()[-300:]}")
        return Cost(float(wall), float(user), float(system), int(peak))

    def c(self, program, *args):
        return lambda: self.time([self.bin / program, *map(str, args)])

    def command(self, *args):
        """runbook without a run: `--version`, `validate`."""
        return lambda: self.time([self.runbook, *map(str, args)])

    def state(self):
        """A state folder that is new each time, on the disk of the target folder."""
        state = self.folder / "state"
        shutil.rmtree(state, ignore_errors=True)
        return state

    def environment(self, state):
        return {
            "PATH": os.environ["PATH"],
            "HOME": str(self.folder),
            "LANG": "C.UTF-8",
            "RUNBOOK_STATE_DIR": str(state),
        }

    def run(self, playbook, steps):
        """runbook run, whose journal must hold a result for each step."""

        def once():
            state = self.state()
            argv = [self.runbook, "run", playbook]
            cost = self.time(argv, self.environment(state), self.inputs)
            self.check(state, steps)
            return cost

        return once

    def check(self, state, steps):
        journals = list(state.glob("runs/*/journal.jsonl"))
        if len(journals) != 1:
            raise Failed(f"{len(journals)} journals in the state folder")
        results = 0
        with open(journals[0], encoding="utf-8") as journal:
            for line in journal:
                results += json.loads(line)["kind"] == "step.result"
        if results < steps:
            raise Failed(f"{results} results of {steps} steps in the journal")

    def in_turn(self, *sides):
        """Each side's costs, run in turn; one run of each first, which does not count."""
        costs = [[] for _ in sides]
        for turn in range(self.runs + 1):
            for side, kept in zip(sides, costs):
                cost = side()
                if turn > 0:
                    kept.append(cost)
        return costs

    def fsyncs(self, playbook):
        """How often a run asks for the disk: calls of fsync and its kin, counted by strace."""
        state = self.state()
        counts = self.folder / "strace.out"
        calls = "fsync,fdatasync,sync_file_range,syncfs,sync,msync"
        done = subprocess.run(
            ["strace", "-f", "-c", "-qq", "-o", counts, "-e", f"trace={calls}",
             self.runbook, "run", playbook],
            env=self.environment(state), cwd=self.inputs, stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True,
        )
        if done.returncode != 0:
            raise Failed(f"under strace: exit {done.returncode}: {done.stderr.strip()[-300:]}")
        total = 0
        for line in counts.read_text().splitlines():
            fields = line.split()
            if fields and fields[-1] in calls.split(","):
                total += int(fields[3])
        return total

    def fsync_cost(self):
        """Median seconds of appending one record and fsync, on the state folder's disk."""
        path = self.folder / "fsync.probe"
        costs = []
        with open(path, "wb", buffering=0) as probe:
            for _ in range(50 if self.quick else 300):
                probe.write(b"x" * 400)
                start = time.perf_counter()
                os.fsync(probe.fileno())
                costs.append(time.perf_counter() - start)
        path.unlink()
        return statistics.median(costs)

    # --- inputs

    def playbook(self, name, steps, head=()):
        path = self.inputs / f"{name}.yaml"
        lines = ["runbook: v1", f"name: {name}", *head, "steps:", *steps]
        path.write_text("\n".join(lines) + "\n", encoding="utf-8")
        return path

    def exec_steps(self, count, effect=""):
        return [
            f"  - {{ id: s{n}, {effect}exec.command: {{ argv: [/bin/true] }} }}"
            for n in range(1, count + 1)
        ]

    def set_steps(self, count):
        return [
            f"  - {{ id: s{n}, flow.set: {{ values: {{ x: {n} }} }} }}" for n in range(1, count + 1)
        ]

    def log(self):
        """A log of 1 GB in which one line in 1,000 holds ERROR."""
        path = self.inputs / "app.log"
        if path.exists() and path.stat().st_size >= LOG_BYTES:
            return path
        block = []
        for n in range(10_000):
            level = "ERROR" if n % 1000 == 999 else "INFO"
            block.append(
                f"2026-01-05T10:{n // 60 % 60:02}:{n % 60:02}.{n % 1000:03}Z {level} "
                f"worker-{n % 16} request {n * 7919 % 1_000_003} took {n % 350} ms\n"
            )
        block = "".join(block).encode()
        with open(path, "wb") as log:
            for _ in range(LOG_BYTES // len(block) + 1):
                log.write(block)
        return path


# --- the table


def spread(values, unit):
    scale, digits = {"ms": (1e3, 2), "s": (1, 3), "MB": (1 / 1024, 1), "x": (1, 2)}[unit]
    low, middle, high = (
        round(value * scale, digits) for value in (min(values), statistics.median(values), max(values))
    )
    return f"{middle} {unit} ({low}-{high})"


def ratio(ours, theirs):
    return statistics.median(a / b for a, b in zip(ours, theirs))


def row(what, ours, theirs="", value=None, reach=None, at_least=False):
    """One line: what was measured, both sides as text, and a value with what it is to reach."""
    if value is None:
        return [what, ours, theirs, "", "", ""]
    met = value >= reach if at_least else value <= reach
    sign = ">=" if at_least else "<="
    return [what, ours, theirs, f"{value:.2f}", f"{sign} {reach:.3g}", "yes" if met else "NO"]


def walls(costs):
    return [cost.wall for cost in costs]


def cpus(costs):
    return [cost.cpu for cost in costs]


def peaks(costs):
    return [cost.peak for cost in costs]


def floor(bench):
    """The C programs alone: what the machine does today."""
    null, chain, captured, pair = bench.in_turn(
        bench.c("null"), bench.c("spawn", 1000, 1), bench.c("spawn", 1000, 1, "capture"),
        bench.c("spawn", 1000, 2),
    )
    yield row("a C program that returns 0", spread(walls(null), "ms"))
    yield row("1,000 x /bin/true in C, in a chain", spread(walls(chain), "s"))
    yield row("the same, output captured", spread(walls(captured), "s"))
    yield row("the same, two at once", spread(walls(pair), "s"))
    yield row("one fsync of one record", f"{bench.fsync_cost() * 1e3:.3f} ms")


def startup(bench):
    said = subprocess.run([bench.runbook, "--version"], capture_output=True, text=True, check=False)
    if not re.search(r"\d+\.\d+\.\d+", said.stdout):
        raise Failed("`runbook --version` says no version")
    ours, null = [], []
    for _ in range(3 if bench.quick else 10):
        ours_now, null_now = bench.in_turn(bench.command("--version"), bench.c("null"))
        ours += ours_now
        null += null_now
    # 3 ms where the C program takes 0.9.
    yield row("start-up: runbook --version / C that returns 0", spread(walls(ours), "ms"),
              spread(walls(null), "ms"), ratio(walls(ours), walls(null)), 3 / 0.9)


def must_validate(bench):
    """`validate` refuses a broken playbook: else what it takes for good ones says nothing."""
    broken = bench.playbook("broken", ["  - { id: s1, no.such: {} }"])
    done = subprocess.run([bench.runbook, "validate", broken], capture_output=True, check=False)
    if done.returncode != 1:
        raise Failed(f"`validate` of a broken playbook exits {done.returncode}, not 1")


def validate_daily(bench):
    must_validate(bench)
    daily = REPOSITORY / "playbooks" / "daily-check.yaml"
    if not daily.exists():
        raise Failed(f"{daily} is not there yet")
    [ours] = bench.in_turn(bench.command("validate", daily))
    yield row("validate the daily check: CPU ms", spread(cpus(ours), "ms"), "",
              statistics.median(cpus(ours)) * 1e3, 10)


def exec_read(bench):
    playbook = bench.playbook("exec-read", bench.exec_steps(1000, "effect: read, "))
    ours, chain = bench.in_turn(bench.run(playbook, 1000), bench.c("spawn", 1000, 1))
    yield row("1,000 exec.command, read, chain / C loop: wall", spread(walls(ours), "s"),
              spread(walls(chain), "s"), ratio(walls(ours), walls(chain)), 1.6)
    yield row("    CPU, peak memory",
              f"{spread(cpus(ours), 's')}, {spread(peaks(ours), 'MB')}", spread(cpus(chain), "s"))
    count = bench.fsyncs(playbook)
    yield row("    fsyncs in the whole run", str(count))


def exec_change(bench):
    playbook = bench.playbook("exec-change", bench.exec_steps(1000))
    ours, chain = bench.in_turn(bench.run(playbook, 1000), bench.c("spawn", 1000, 1))
    cost = bench.fsync_cost()
    yield row("1,000 exec.command, default effect, chain: wall", spread(walls(ours), "s"),
              spread(walls(chain), "s"))
    count = bench.fsyncs(playbook)
    yield row(f"    fsyncs a step ({cost * 1e3:.3f} ms each here)", f"{count} in all", "",
              (count - RUN_FSYNCS) / 1000, 2)


def exec_parallel(bench):
    head = ["order: parallel"]
    steps = bench.exec_steps(1000, "effect: read, ")
    playbook = bench.playbook("exec-parallel", steps, head)
    ours, pair = bench.in_turn(bench.run(playbook, 1000), bench.c("spawn", 1000, 2))
    yield row("1,000 exec.command, read, parallel / C, two at once", spread(walls(ours), "s"),
              spread(walls(pair), "s"), ratio(walls(ours), walls(pair)), 1.8)
    playbook = bench.playbook("exec-parallel-change", bench.exec_steps(1000), head)
    ours, pair = bench.in_turn(bench.run(playbook, 1000), bench.c("spawn", 1000, 2))
    yield row("    the same, default effect: wall", spread(walls(ours), "s"),
              spread(walls(pair), "s"))
    count = bench.fsyncs(playbook)
    yield row("    fsyncs a step, grouped", f"{count} in all", "", (count - RUN_FSYNCS) / 1000, 2)


def validate_long(bench):
    must_validate(bench)
    small = bench.playbook("steps-10000", bench.set_steps(10_000))
    large = bench.playbook("steps-100000", bench.set_steps(100_000))
    ours, ten_times = bench.in_turn(
        bench.command("validate", small), bench.command("validate", large)
    )
    yield row("validate 10,000 one-line steps: CPU ms", spread(cpus(ours), "ms"), "",
              statistics.median(cpus(ours)) * 1e3, 120)
    yield row("validate 100,000 / 10,000: CPU", spread(cpus(ten_times), "ms"),
              spread(cpus(ours), "ms"), ratio(cpus(ten_times), cpus(ours)), 12)
    yield row("    peak memory, 100,000", spread(peaks(ten_times), "MB"))


def flow_set(bench):
    playbook = bench.playbook("set-10000", bench.set_steps(10_000))
    [ours] = bench.in_turn(bench.run(playbook, 10_000))
    yield row("run 10,000 flow.set: CPU ms", spread(cpus(ours), "ms"), "",
              statistics.median(cpus(ours)) * 1e3, 400)
    yield row("    peak memory: MB", spread(peaks(ours), "MB"), "",
              statistics.median(peaks(ours)) / 1024, 120)


def log_scan(bench):
    log = bench.log()
    step = f"  - {{ id: scan, log.scan: {{ path: {log}, pattern: ERROR, max: 1000000000 }} }}"
    playbook = bench.playbook("log-scan", [step])

    def grep():
        env = {"PATH": os.environ["PATH"], "LC_ALL": "C"}
        return bench.time(["grep", "-c", "ERROR", log], env)

    ours, theirs = bench.in_turn(bench.run(playbook, 1), grep)
    speed = LOG_BYTES / 1e9 / statistics.median(walls(theirs))
    yield row("log.scan 1 GB, speed / grep -c in C", spread(walls(ours), "s"),
              f"{spread(walls(theirs), 's')}, {speed:.1f} GB/s",
              ratio(walls(theirs), walls(ours)), 1, at_least=True)
    yield row("    peak memory", spread(peaks(ours), "MB"), spread(peaks(theirs), "MB"))


MEASURES = {
    "floor": floor,
    "startup": startup,
    "validate-daily": validate_daily,
    "exec-read": exec_read,
    "exec-change": exec_change,
    "exec-parallel": exec_parallel,
    "validate-long": validate_long,
    "flow-set": flow_set,
    "log-scan": log_scan,
}


def print_table(rows):
    head = ["what", "runbook", "beside it", "value", "reach", "met"]
    widths = [max(len(line[i]) for line in [head, *rows]) for i in range(len(head))]
    for line in [head, ["-" * width for width in widths], *rows]:
        print("| " + " | ".join(cell.ljust(width) for cell, width in zip(line, widths)) + " |")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--runbook", type=pathlib.Path, required=True)
    parser.add_argument("--folder", type=pathlib.Path, required=True)
    parser.add_argument("--quick", action="store_true", help="3 runs instead of 7")
    parser.add_argument("--runs", type=int, help="counted runs of each side")
    parser.add_argument("--only", action="append", choices=list(MEASURES), help="just this one")
    options = parser.parse_args()

    bench = Bench(options)
    rows = []
    failed = False
    for name in options.only or MEASURES:
        print(f"measuring {name}", file=sys.stderr, flush=True)
        try:
            rows.extend(MEASURES[name](bench))
        except Failed as failure:
            failed = True
            rows.append([name, "not measured", str(failure)[:60], "", "", ""])
    load = os.getloadavg()[0]
    print(f"\n{os.cpu_count()} processors, load {load:.1f}, medians of {bench.runs} runs (min-max)\n")
    print_table(rows)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
