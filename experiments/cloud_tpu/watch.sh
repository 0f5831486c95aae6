# shellcheck shell=sh
# `tpu.sh watch`: looks again and again, and brings about the one thing that is missing. Read by tpu.sh.

# The commands of `watch`, for --dry_run.
watch_commands() {
  echo '# every look:'
  list queued-resources state.state
  list tpu-vm state
  echo '# none is there, or it was deleted:'
  create
  echo '# it is ACTIVE and READY:'
  run_state 0
  echo '# nothing runs on it:'
  install
  run
  echo "# it is PREEMPTED, TERMINATED, SUSPENDED or FAILED${DELETE_AT_END:+, or the run is finished}:"
  delete
}

# Brings about what is missing, one step a look, so that it may be ended and started again at any moment.
watch() {
  restarted=0 failures=0
  half_started='' # `run` did not reach every worker: it is sent again
  last_code=''    # of a run that failed, in the look before
  while :; do
    request=unknown node=unknown
    step || {
      failures=$((failures + 1))
      [ "$failures" -lt 10 ] || give_up "ten looks in a row failed"
      sleep "$EVERY"
      continue
    }
    failures=0
    [ -n "$again" ] || sleep "$EVERY"
  done
}

step() {
  again=
  look || return
  say "$(date '+%F %T') request $request, node $node"
  case "$request/$node" in
    DELETING/* | SUSPENDING/* | */DELETING) ;;
    SUSPENDED/* | FAILED/* | */PREEMPTED | */TERMINATED)
      [ "$restarted" -lt "$RESTARTS" ] || give_up "gone again after --restarts=$RESTARTS"
      delete || return
      restarted=$((restarted + 1)) half_started='' last_code='' again=1
      ;;
    none/*) create ;;
    ACTIVE/READY) look_after_run ;;
  esac
}

look_after_run() {
  if [ -n "$half_started" ]; then start_run; return; fi
  state=$(run_state 0) || return
  say "run: $state"
  case "$state" in
    running) last_code= ;;
    'exited 0')
      if [ -n "$DELETE_AT_END" ]; then
        delete || return
        say "the run is finished"
      else
        say "the run is finished; the TPU is still there, and costs: tpu.sh delete"
      fi
      exit 0
      ;;
    none | 'exited 75') last_code=; install && start_run ;;
    "$last_code") give_up "the run failed, $state: tpu.sh log says how" ;;
    # Seen once it may be a preemption that has reached the workers before the node's state.
    *) last_code=$state ;;
  esac
}

give_up() {
  say "error: $1; the TPU may still be there, and cost: tpu.sh status, tpu.sh delete"
  exit 1
}

start_run() {
  half_started=1
  run || return
  half_started=
}
