# shellcheck shell=sh
# What tpu.sh does with gcloud, a function for each command. Read by tpu.sh, whose settings are in capitals.

say() { printf '%s\n' "$*" >&2; }
wrong() { say "error: $*"; exit 2; }

# A word as a POSIX shell reads it back.
quote() {
  case "$1" in
    '' | *[!A-Za-z0-9_@%+=:,./-]*) printf '%s\n' "$1" | LC_ALL=C sed "s/'/'\\\\''/g; 1s/^/'/; \$s/\$/'/" ;;
    *) printf '%s\n' "$1" ;;
  esac
}

# Runs a command, or prints it.
act() {
  if [ -z "$DRY_RUN" ]; then
    "$@"
    return
  fi
  line=
  for word; do line="$line $(quote "$word")"; done
  printf '%s\n' "${line# }"
}

tpus() { act gcloud compute tpus "$@" "--zone=$ZONE" "--project=$PROJECT"; }

# on WORKERS COMMAND. gcloud sends a command again where ssh itself failed: each must bear being sent twice.
on() {
  set -- tpu-vm ssh "$NAME" "--worker=$1" "--command=$2"
  [ -z "$INTERNAL_IPS" ] || set -- "$@" --internal-ip
  tpus "$@"
}

# shellcheck disable=SC2088 # the worker's shell puts its own home there
WORKER_SH='~/mla_jax/src/experiments/cloud_tpu/worker.sh'

create() {
  set -- queued-resources create "$NAME" "--node-id=$NAME"
  set -- "$@" "--accelerator-type=$TYPE" "--runtime-version=$RUNTIME"
  [ -z "$SPOT" ] || set -- "$@" --spot
  [ -z "$NETWORK" ] || set -- "$@" "--network=$NETWORK"
  [ -z "$SUBNETWORK" ] || set -- "$@" "--subnetwork=$SUBNETWORK"
  [ -z "$SERVICE_ACCOUNT" ] || set -- "$@" "--service-account=$SERVICE_ACCOUNT"
  [ -z "$INTERNAL_IPS" ] || set -- "$@" --internal-ips
  eval "set -- \"\$@\"$CREATE_FLAGS"
  tpus "$@"
}

# Also when the run is restarted much later, it is the commit that was meant at the start.
find_commit() {
  COMMIT=$(git -C "$ROOT" rev-parse --verify --quiet "$REF^{commit}") ||
    wrong "--ref=$REF is no commit of a git checkout in $ROOT"
  ARCHIVE=$(git -C "$ROOT" rev-parse --absolute-git-dir)/mla_jax.tar.gz
  if [ "$REF" = HEAD ] && [ -n "$(git -C "$ROOT" status --porcelain)" ]; then
    say "note: what is not committed is not copied"
  fi
}

install() {
  remote='rm -rf ~/mla_jax/new && mkdir -p ~/mla_jax/new && tar -xzf ~/mla_jax.tar.gz -C ~/mla_jax/new'
  remote="$remote && sh ~/mla_jax/new/experiments/cloud_tpu/worker.sh install${DATA:+ $(quote "$DATA")}"
  set -- tpu-vm scp "$ARCHIVE" "$NAME:mla_jax.tar.gz" --worker=all
  [ -z "$INTERNAL_IPS" ] || set -- "$@" --internal-ip
  act git -C "$ROOT" archive --format=tar.gz "--output=$ARCHIVE" "$COMMIT" && tpus "$@" && on all "$remote"
}

run() { on all "sh $WORKER_SH start$RESTART --$TRAINING"; }

delete() { tpus queued-resources delete "$NAME" --force --quiet; }

ask_and_delete() {
  if [ -z "$YES$DRY_RUN" ]; then
    printf 'Delete %s in %s with all that is on its disks? [y/N] ' "$NAME" "$ZONE" >&2
    read -r answer || answer=
    case "$answer" in
      y | Y | yes) ;;
      *) say "nothing is deleted"; exit 1 ;;
    esac
  fi
  delete
}

# An empty list is a thing that is not there; an error stays an error.
list() { tpus "$1" list "--filter=name~/$NAME\$" "--format=value($2)"; }

# Sets `request` and `node`, as in ACTIVE and READY.
look() {
  request=$(list queued-resources state.state) && node=$(list tpu-vm state) || return
  request=${request:-none} node=${node:-none}
}

run_state() { on "$1" "if [ -f $WORKER_SH ]; then sh $WORKER_SH status; else echo none; fi"; }

status() {
  if [ -n "$DRY_RUN" ]; then
    list queued-resources state.state
    list tpu-vm state
    run_state all
    return
  fi
  look
  echo "request $request, node $node"
  [ "$request/$node" != ACTIVE/READY ] || run_state all
}
