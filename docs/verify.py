"""Verifies what runbook recorded, with the standard library alone: see docs/audit.md.

usage: python3 verify.py STATE_FOLDER      (or the folder that `runbook audit export` made)
"""

import hashlib
import json
import os
import re
import sys


class Wrong(Exception):
    pass


def sha256(data):
    return hashlib.sha256(data).hexdigest()


def regular(path, what="rb"):
    """Opens a file; a pipe or a device in its place would never end."""
    if os.path.lexists(path) and not os.path.isfile(path):
        raise Wrong("%s is no regular file" % path)
    return open(path, what)


def fitting(line, seq, prev):
    """The record that the line is, if its place is here."""
    try:
        record = json.loads(line)
    except (ValueError, RecursionError):
        return None
    place = {"v": 1, "seq": seq, "prev": prev}
    if isinstance(record, dict) and place.items() <= record.items():
        return record
    return None


def chain(path):
    """The records of a file, their hashes, and the torn bytes at its end."""
    with regular(path) as file:
        *lines, torn = file.read().split(b"\n")
    records, hashes, prev, aside = [], [], "0" * 64, []
    for line in lines:
        record = fitting(line, len(records) + 1, prev)
        if record is None:
            aside.append(line)
            continue
        if record["kind"] == "audit.torn":
            left = b"\n".join(aside)
            if not aside or record["data"] != {"bytes": len(left), "sha256": sha256(left)}:
                raise Wrong("other bytes were torn than record %d says" % record["seq"])
            aside = []
        if aside:
            break
        records.append(record)
        prev = sha256(line)
        hashes.append(prev)
    if aside:
        raise Wrong("what follows record %d does not fit it" % len(records))
    return records, hashes, torn


def same(fields, one, other):
    for field in fields:
        if one[field] != other[field]:
            raise Wrong("journal and ledger have another %s" % field)


def check(folder, run, start, end, before, pruned):
    """Checks a run that starts and ends like this in the ledger; None where it does not. Its journal
    stood at each of `before` when it was gone on with."""
    path = os.path.join(folder, "journal.jsonl")
    if pruned:
        return "ok, pruned by %s at %s" % pruned
    if start is None and not os.path.exists(path):
        return "ok, nothing was done"
    records, hashes, torn = chain(path)
    first = records[0] if records else {"kind": "nothing", "data": {}}
    if records and (first["kind"], first["data"].get("run")) != ("run.start", run):
        raise Wrong("the journal is that of another run")
    if start is None:
        if len(records) > 1:
            raise Wrong("the ledger does not have it")
        return "ok, nothing was done"
    if not records:
        raise Wrong("the journal is empty")
    same(["user", "host"], first["data"], start["data"])
    same(["name"], first["data"]["playbook"], {"name": start["data"]["playbook"]})
    same(["t"], first, start)
    if end:
        if torn or len(records) != end["data"]["records"]:
            raise Wrong("it does not end where the ledger says")
        same(["kind", "t"], records[-1], end)
        same(["status", "exit_code", "duration_ms"], records[-1]["data"], end["data"])
    for known in before + ([end["data"]] if end else []):
        if hashes[known["records"] - 1 : known["records"]] != [known["last_hash"]]:
            raise Wrong("record %d is not the one that the ledger has" % known["records"])
    for record in records:
        logs = record["data"].get("logs", []) if record["kind"] == "step.result" else []
        for log in logs:
            with regular(os.path.join(folder, log["file"])) as file:
                if sha256(file.read()) != log["sha256"]:
                    raise Wrong("record %d names a log that was changed" % record["seq"])
    return "ok, %d records%s%s" % (
        len(records),
        "" if end else ", not ended",
        ", %d torn bytes" % len(torn) if torn else "",
    )


def main(state):
    bad = 0
    starts, ends, before, pruned = {}, {}, {}, {}
    try:
        for record in chain(os.path.join(state, "ledger.jsonl"))[0]:
            kind, data = record["kind"], record["data"]
            if kind == "run.start":
                starts[data["run"]] = record
            elif kind == "run.end":
                ends[data["run"]] = record
            elif kind == "run.resume":
                end = ends.pop(data["run"], None)
                known = before.setdefault(data["run"], [])
                known.extend([end["data"], data] if end else [data])
            elif kind == "audit.prune":
                pruned.update({run: (data["user"], record["t"]) for run in data["runs"]})
    except (Wrong, OSError, KeyError, TypeError) as error:
        print("the ledger: %s" % error)
        bad += 1
    runs = os.path.join(state, "runs")
    names = {name for name in os.listdir(runs) if re.fullmatch("[a-z0-9]{16}", name)}
    wanted = names | starts.keys() | ends.keys()
    exported = os.path.join(state, "export.json")
    if os.path.exists(exported):
        # The ledger knows others, whose folders were left where they are.
        with regular(exported) as file:
            wanted = names | set(json.load(file)["runs"])
    for run in sorted(wanted):
        try:
            start, end = starts.get(run), ends.get(run)
            folder = os.path.join(runs, run)
            text = check(folder, run, start, end, before.get(run, []), pruned.get(run))
        except (Wrong, OSError, KeyError, TypeError, AttributeError) as error:
            text = "NOT OK: %s" % (error if str(error) else type(error).__name__)
            bad += 1
        print("%s %s" % (run, text))
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
