#!/bin/sh
# Runs on the machines of a TPU, where tpu.sh puts and calls it; all is in ~/mla_jax there.
#   install [gs://FOLDER]       installs the project from ~/mla_jax/new; copies the folder to ~/mla_jax/data
#   start [--restart] -- FLAGS  starts the training, detached; --restart: again whenever it leaves with 75
#   status                      prints running, "exited CODE" or none
#   stop                        SIGTERM to the training: it saves and leaves with 75
set -eu

BASE=$HOME/mla_jax
RUN=$BASE/run # log: what it prints; flags, pid, code: of the last run; lock: held while it lives

fail() { echo "error: $*" >&2; exit 1; }

# The kernel's lock, on file descriptor 9: processes that are started with it hold it on. `status` may have
# it for a moment.
lock() {
  mkdir -p "$RUN"
  exec 9>>"$RUN/lock"
  flock -w 0.2 9
}

install() {
  lock || fail "a run is on here: tpu.sh stop, then install"
  rm -rf "$BASE/src"
  mv "$BASE/new" "$BASE/src"
  # The machines' own Python may be older than the project needs; uv brings one.
  PATH=$HOME/.local/bin:$PATH
  command -v uv >/dev/null || curl -LsSf https://astral.sh/uv/install.sh | UV_NO_MODIFY_PATH=1 sh
  [ -x "$BASE/venv/bin/python" ] || uv venv --quiet --python 3.11 "$BASE/venv"
  uv pip install --quiet --python "$BASE/venv/bin/python" -e "$BASE/src[tpu]"
  if [ $# = 1 ]; then
    mkdir -p "$BASE/data"
    gcloud storage rsync --recursive "$1" "$BASE/data"
  fi
}

start() {
  if ! lock; then
    printf '%s\n' "$@" | cmp -s - "$RUN/flags" || fail "a run with other flags is on here: tpu.sh stop first"
    echo "runs already"
    return
  fi
  rm -f "$RUN/code" "$RUN/stop" "$RUN/pid"
  printf '%s\n' "$@" >"$RUN/flags"
  # A session of its own, and no terminal: it outlives the ssh that starts it.
  setsid nohup sh "$0" attend "$@" </dev/null >>"$RUN/log" 2>&1 &
  tries=0 # until it has got so far: the end of the ssh must not take it along
  while [ ! -s "$RUN/pid" ] && [ ! -e "$RUN/code" ]; do
    tries=$((tries + 1))
    [ "$tries" -lt 200 ] || fail "it does not start: see $RUN/log"
    sleep 0.05
  done
  echo "started"
}

# Waits for the training and leaves its exit code. If this too is killed there is none: status says `none`.
attend() {
  restart=
  if [ "$1" = --restart ]; then restart=1; shift; fi
  shift # the --
  cd "$BASE"
  export PYTHONPATH="$BASE/src" PYTHONUNBUFFERED=1
  while :; do
    code=0
    # shellcheck disable=SC2016 # the inner shell's own: its process becomes the training
    sh -c 'echo $$ >"$1"; shift; exec "$@"' - "$RUN/pid" venv/bin/python -m experiments.train "$@" || code=$?
    echo "worker.sh: $(date '+%F %T') the training left with $code"
    if [ "$code" != 75 ] || [ -z "$restart" ] || [ -e "$RUN/stop" ]; then break; fi
  done
  echo "$code" >"$RUN/code"
  rm "$RUN/pid" # which may soon be another process's
}

status() {
  if [ -e "$RUN/lock" ] && ! flock -n "$RUN/lock" true; then
    echo running
  elif [ -e "$RUN/code" ]; then
    echo "exited $(cat "$RUN/code")"
  else
    echo none
  fi
}

stop() {
  if [ "$(status)" != running ] || [ ! -s "$RUN/pid" ]; then
    echo "no run is on"
    return
  fi
  if [ -e "$RUN/stop" ]; then # a second signal would end it at once, not saved
    echo "told to stop already"
    return
  fi
  touch "$RUN/stop"
  kill -TERM "$(cat "$RUN/pid")"
  echo "told to stop"
}

command=$1
shift
"$command" "$@"
