#!/bin/sh
# Trains on Cloud TPU: every subcommand is a few gcloud commands, and --dry_run prints them instead.
# README.md beside this walks through it; commands.sh and watch.sh are its parts, and worker.sh is what
# runs on the TPU's machines.
set -eu

HERE=$(cd "$(dirname "$0")" && pwd)
ROOT=$(dirname "$(dirname "$HERE")")
# shellcheck source-path=SCRIPTDIR source=commands.sh
. "$HERE/commands.sh"
# shellcheck source-path=SCRIPTDIR source=watch.sh
. "$HERE/watch.sh"

usage() {
  cat <<'END'
tpu.sh COMMAND [FLAGS] [-- TRAINING FLAGS]

  create    asks for the TPU: a queued resource and its node, both called --name
  install   copies a commit of this checkout to every worker and installs it there
  run       starts `python -m experiments.train TRAINING FLAGS` on every worker
  log       follows a worker's log; Ctrl-C ends the following, not the run
  status    the state of the request, of the node and of the run
  stop      has the run save and leave, with exit code 75
  watch     create, install and run, each where it is missing, and all again after a preemption,
            until the run is finished
  delete    deletes the TPU, and with it the costs; asks first

  --name=N --project=P --zone=Z   which TPU; or TPU_NAME, PROJECT_ID, ZONE in the environment
  --dry_run                       prints the commands, ready to be pasted; runs none of them

create and watch:
  --type=T               v5litepod-8, v6e-16, ...; or ACCELERATOR_TYPE in the environment
  --runtime=R            the machines' software; or RUNTIME_VERSION; known for v5e, v5p and v6e
  --spot                 cheaper, and may be taken away at any moment
  --network=N --subnetwork=S --service_account=A
  --create_flag=F        any other flag of `gcloud compute tpus queued-resources create`; may be repeated
install and watch:
  --ref=R                the commit, branch or tag to install (HEAD)
  --data=gs://B/F        a folder of packed clips, copied to ~/mla_jax/data; the run starts in ~/mla_jax
run and watch:
  --restart              a worker starts the training again whenever it leaves with 75
watch:
  --every=S              seconds between two looks (60)
  --restarts=N           how often it deletes and asks again, at most (100)
  --delete_at_end        deletes the TPU when the run is finished
log:     --worker=N      whose log (0)
delete:  --yes           does not ask
all:     --internal_ips  machines without an external address; you must be in their network
END
}

case "${1-}" in
  create | install | run | log | status | stop | watch | delete) COMMAND=$1 ;;
  help | --help | -h) usage; exit ;;
  '') wrong "give a command: create, install, run, log, status, stop, watch, delete; tpu.sh help says more" ;;
  *) wrong "$1 is no command; tpu.sh help lists them" ;;
esac
shift

NAME=${TPU_NAME-} PROJECT=${PROJECT_ID-} ZONE=${ZONE-} TYPE=${ACCELERATOR_TYPE-} RUNTIME=${RUNTIME_VERSION-}
SPOT='' NETWORK='' SUBNETWORK='' SERVICE_ACCOUNT='' INTERNAL_IPS='' CREATE_FLAGS='' REF=HEAD DATA=''
RESTART='' EVERY=60 RESTARTS=100 DELETE_AT_END='' WORKER=0 YES='' DRY_RUN=''

while [ $# -gt 0 ]; do
  value=${1#*=}
  case "$1" in
    --name=*) NAME=$value ;;
    --project=*) PROJECT=$value ;;
    --zone=*) ZONE=$value ;;
    --type=*) TYPE=$value ;;
    --runtime=*) RUNTIME=$value ;;
    --spot) SPOT=1 ;;
    --network=*) NETWORK=$value ;;
    --subnetwork=*) SUBNETWORK=$value ;;
    --service_account=*) SERVICE_ACCOUNT=$value ;;
    --internal_ips) INTERNAL_IPS=1 ;;
    --create_flag=*) CREATE_FLAGS="$CREATE_FLAGS $(quote "$value")" ;;
    --ref=*) REF=$value ;;
    --data=*) DATA=$value ;;
    --restart) RESTART=' --restart' ;;
    --every=*) EVERY=$value ;;
    --restarts=*) RESTARTS=$value ;;
    --delete_at_end) DELETE_AT_END=1 ;;
    --worker=*) WORKER=$value ;;
    --yes) YES=1 ;;
    --dry_run) DRY_RUN=1 ;;
    --) shift; break ;;
    *) wrong "$1 is no flag of tpu.sh; those of the training come after --; tpu.sh help lists the others" ;;
  esac
  shift
done

[ -n "$NAME" ] || wrong "give --name, or TPU_NAME in the environment"
[ -n "$PROJECT" ] || wrong "give --project, or PROJECT_ID in the environment"
[ -n "$ZONE" ] || wrong "give --zone, or ZONE in the environment"
case "$NAME" in
  [!a-z]* | *[!a-z0-9-]*) wrong "--name=$NAME: small letters, digits and - only, a letter first" ;;
esac
for number in "--every=$EVERY" "--restarts=$RESTARTS" "--worker=$WORKER"; do
  case "${number#*=}" in '' | *[!0-9]*) wrong "$number is not a whole number" ;; esac
done
case "$DATA" in '' | gs://?*) ;; *) wrong "--data=$DATA: the workers can reach gs://bucket/folder" ;; esac

case "$COMMAND" in
  create | watch)
    [ -n "$TYPE" ] || wrong "give --type, such as v5litepod-8, or ACCELERATOR_TYPE in the environment"
    [ -n "$RUNTIME" ] || case "$TYPE" in
      v5litepod-*) RUNTIME=v2-alpha-tpuv5-lite ;;
      v5p-*) RUNTIME=v2-alpha-tpuv5 ;;
      v6e-*) RUNTIME=v2-alpha-tpuv6e ;;
      *) wrong "give --runtime: the runtime version for $TYPE is not known here" ;;
    esac
    ;;
esac

TRAINING='' workdir='' distributed=' --distributed=auto'
for flag; do
  case "$flag" in
    --workdir=gs://?*) workdir=1 ;;
    --distributed=*) distributed= ;;
  esac
  TRAINING="$TRAINING $(quote "$flag")"
done
TRAINING="$TRAINING$distributed"

case "$COMMAND" in
  run | watch)
    [ -n "$workdir" ] || wrong "give -- ... --workdir=gs://bucket/folder: the TPU's own disks go with it"
    ;;
  *) [ $# = 0 ] || wrong "$COMMAND takes no flags of the training: $1" ;;
esac
case "$COMMAND" in install | watch) find_commit ;; esac
[ -n "$DRY_RUN" ] || command -v gcloud >/dev/null ||
  wrong "gcloud is not installed: https://cloud.google.com/sdk/docs/install"

case "$COMMAND" in
  create)
    create
    [ -n "$DRY_RUN" ] || say "asked for; it costs once it is ACTIVE and READY: tpu.sh status"
    ;;
  log) on "$WORKER" 'tail -n 200 -F ~/mla_jax/run/log' ;;
  stop) on all "sh $WORKER_SH stop" ;;
  delete) ask_and_delete ;;
  watch) if [ -n "$DRY_RUN" ]; then watch_commands; else watch </dev/null; fi ;;
  *) "$COMMAND" ;;
esac
