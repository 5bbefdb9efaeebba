"""Prints every secret in every form: to stdout or stderr, in pieces cut anywhere.

print.py COUNT SEED [FORM]: secrets are in the environment as S0, S1, ...; with a form, that one alone
and in one piece.
"""

import base64
import html
import json
import os
import quopri
import random
import shlex
import sys
import urllib.parse


def wrapped(text, width, end="\n"):
    return end.join(text[at : at + width] for at in range(0, len(text), width)) + end


def xxd(data):
    lines = []
    for at in range(0, len(data), 16):
        row = data[at : at + 16]
        groups = " ".join(row[i : i + 2].hex() for i in range(0, len(row), 2))
        shown = "".join(chr(b) if 32 <= b < 127 else "." for b in row)
        lines.append(f"{at:08x}: {groups:<39}  {shown}")
    return "\n".join(lines) + "\n"


def hexdump(data):
    lines = []
    for at in range(0, len(data), 16):
        row = data[at : at + 16]
        halves = "  ".join(half.hex(" ") for half in (row[:8], row[8:]) if half)
        shown = "".join(chr(b) if 32 <= b < 127 else "." for b in row)
        lines.append(f"{at:08x}  {halves:<48}  |{shown}|")
    return "\n".join(lines) + f"\n{len(data):08x}\n"


def od(data):
    rows = (data[at : at + 16] for at in range(0, len(data), 16))
    return "".join(f"{at * 16:07o} {row.hex(' ')}\n" for at, row in enumerate(rows))


# What stands around a secret: bytes without a decimal digit in hex, for by chance a few of those are the
# number that is looked for.
NOISE = [16 * high + low for high in range(10, 16) for low in range(10, 16)]


def around(rng, data):
    """Something before and after, so that a form begins and ends anywhere."""
    some = lambda: bytes(rng.choice(NOISE) for _ in range(rng.randrange(40)))
    return some() + data + some()


def b64(rng, text):
    return base64.b64encode(around(rng, text.encode())).decode()


FORMS = {
    "raw": lambda rng, s: s,
    "lines": lambda rng, s: "\n".join(f"> {line}" for line in s.splitlines()),
    "base64": b64,
    "base64url": lambda rng, s: base64.urlsafe_b64encode(around(rng, s.encode())).decode(),
    "hex": lambda rng, s: around(rng, s.encode()).hex(),
    "HEX": lambda rng, s: around(rng, s.encode()).hex().upper(),
    "hex pairs": lambda rng, s: s.encode().hex(":"),
    "percent": lambda rng, s: urllib.parse.quote(s, safe=""),
    "percent path": lambda rng, s: urllib.parse.quote(s),
    "form": lambda rng, s: urllib.parse.urlencode({"k": s}),
    "json": lambda rng, s: json.dumps({"k": s}),
    "json utf-8": lambda rng, s: json.dumps([s], ensure_ascii=False),
    "shell": lambda rng, s: shlex.quote(s),
    "sql": lambda rng, s: "'" + s.replace("'", "''") + "'",
    "html": lambda rng, s: f"<p title=\"{html.escape(s)}\">",
    "xml": lambda rng, s: s.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;"),
    "python": lambda rng, s: repr(s),
    "base64 at 76": lambda rng, s: wrapped(b64(rng, s), 76),
    "base64 at 64, CRLF": lambda rng, s: wrapped(b64(rng, s), 64, "\r\n"),
    "base64, indented": lambda rng, s: "  " + wrapped(b64(rng, s), 60, "\n  "),
    "hex at 60": lambda rng, s: wrapped(around(rng, s.encode()).hex(), 60),
    "quoted-printable": lambda rng, s: quopri.encodestring(s.encode()).decode(),
    "xxd": lambda rng, s: xxd(around(rng, s.encode())),
    "hexdump": lambda rng, s: hexdump(around(rng, s.encode())),
    "od": lambda rng, s: od(around(rng, s.encode())),
}


def main():
    count, seed = int(sys.argv[1]), int(sys.argv[2])
    rng = random.Random(seed)
    only = sys.argv[3:]
    forms = only or list(FORMS)
    streams = [1] if only or not os.environ.get("BOTH") else [1, 2]
    for stream in streams:
        for form in forms:
            for number in range(count):
                # A surrogate is a byte that is not UTF-8.
                text = FORMS[form](rng, os.environ[f"S{number}"]) + "\n"
                data = text.encode("utf-8", "surrogateescape")
                while data:
                    size = len(data) if only or rng.random() < 0.5 else rng.randrange(1, 64)
                    os.write(stream, data[:size])
                    data = data[size:]


main()
