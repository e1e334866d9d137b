# shellcheck shell=bash
# shellcheck disable=SC2034 # used by the scripts that source this file
# What every script here shares. Source it; it moves to the root of the repository.

# The oldest Rust that compiles this project: `rust-version` in Cargo.toml.
rust_needed=1.95
# Minutes that a build takes when nothing is compiled yet, on a machine with two cores.
cold_build_minutes=7

root="$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)"
cd "$root" || exit 1

# rustup puts cargo where a shell that has not been restarted does not look.
cargo_bin="${CARGO_HOME:-${HOME:-}/.cargo}/bin"
if ! command -v cargo >/dev/null 2>&1 && [[ -x "$cargo_bin/cargo" ]]; then PATH="$cargo_bin:$PATH"; fi

# Compiled code stays out of the repository, in a place that a fresh checkout finds again:
# quickstart and test share it, so that dependencies are compiled once.
if [[ -z "${CARGO_TARGET_DIR:-}" ]]; then
  cache="${XDG_CACHE_HOME:-${HOME:+$HOME/.cache}}"
  if [[ -n "$cache" ]] && mkdir -p "$cache/shakedown/target" 2>/dev/null && [[ -w "$cache/shakedown/target" ]]; then
    CARGO_TARGET_DIR="$cache/shakedown/target"
  else
    CARGO_TARGET_DIR="$root/target" # ignored by git
  fi
fi
export CARGO_TARGET_DIR

# Where the clients of other languages are installed; the tests look in the same place.
clients_home() { echo "${SHAKEDOWN_CLIENTS:-${XDG_CACHE_HOME:-$HOME/.cache}/shakedown/clients}"; }

if [[ -t 1 && -z "${NO_COLOR:-}" ]]; then
  bold=$'\e[1m' green=$'\e[32m' yellow=$'\e[33m' red=$'\e[31m' plain=$'\e[0m'
else
  bold='' green='' yellow='' red='' plain=''
fi

# A heading: what happens next.
step() { printf '%s==> %s%s\n' "$bold" "$*" "$plain"; }

# A detail below a heading.
say() { printf '    %s\n' "$*"; }

# Something that the reader should know and that stops nothing.
warn() { printf '%swarning:%s %s\n' "$yellow" "$plain" "$*" >&2; }

# Ends the script: first what is wrong, then what to do about it, one argument a line.
die() {
  printf '%serror:%s %s\n' "$red" "$plain" "$1" >&2
  shift
  if (($#)); then printf '       %s\n' "$@" >&2; fi
  exit 1
}

have() { command -v "$1" >/dev/null 2>&1; }

# Seconds as people read them: 7 s, 3 min 05 s.
duration() {
  if (($1 < 60)); then printf '%d s' "$1"; else printf '%d min %02d s' $(($1 / 60)) $(($1 % 60)); fi
}

cores() { nproc 2>/dev/null || sysctl -n hw.ncpu 2>/dev/null || echo 1; }

# Is version $1 at least version $2?
at_least() { [[ "$(printf '%s\n%s\n' "$2" "$1" | sort -V | head -n 1)" == "$2" ]]; }

# Says how long the build will take, if nothing has been compiled yet.
announce_build() {
  if [[ -d "$CARGO_TARGET_DIR/debug/.fingerprint" ]]; then
    say "compiled code is reused from $CARGO_TARGET_DIR"
  else
    say "first build on this machine: about $cold_build_minutes minutes on two cores (there are $(cores) here)"
    say "compiled code is kept in $CARGO_TARGET_DIR"
  fi
}

# --- Docker ----------------------------------------------------------------------------------

docker_answers() { have docker && timeout 10 docker info >/dev/null 2>&1; }

# What stands in the way of Docker, in one line.
why_no_docker() {
  if ! have docker; then
    echo "the docker command is not installed"
  else
    timeout 10 docker info 2>&1 >/dev/null | grep -vi '^$' | tail -n 1 | cut -c 1-200
  fi
}

# Starts Docker's daemon where none answers and that is possible; `stop_docker` ends the one started here.
# Gives 1, and says why, when there is no Docker in the end.
start_docker() {
  dockerd_pid=''
  if docker_answers; then
    say "Docker $(docker version --format '{{.Server.Version}}' 2>/dev/null) answers"
    return 0
  fi
  if [[ -n "${DOCKER_HOST:-}" ]]; then
    warn "DOCKER_HOST=$DOCKER_HOST does not answer: $(why_no_docker)"
    return 1
  fi
  if ((EUID != 0)) || ! have dockerd; then
    warn "no Docker here ($(why_no_docker)); only root can start its daemon, with: scripts/install docker && dockerd"
    return 1
  fi
  local log deadline=$((SECONDS + 30))
  log="$(mktemp)"
  # A process group of its own: Ctrl-C is for the checks, and the daemon is ended after them.
  setsid dockerd >"$log" 2>&1 &
  dockerd_pid=$!
  until docker_answers; do
    if ! kill -0 "$dockerd_pid" 2>/dev/null || ((SECONDS >= deadline)); then
      stop_docker
      warn "Docker's daemon does not start here; its last words:"
      tail -n 3 "$log" | cut -c 1-200 | sed 's/^/    /' >&2
      rm -f "$log"
      return 1
    fi
    sleep 0.2
  done
  rm -f "$log"
  say "started Docker $(docker version --format '{{.Server.Version}}') for this run"
}

stop_docker() {
  [[ -n "${dockerd_pid:-}" ]] || return 0
  kill "$dockerd_pid" 2>/dev/null || true
  wait "$dockerd_pid" 2>/dev/null || true
  dockerd_pid=''
}
