#!/usr/bin/env bash
# One Cloud TPU slice, from nothing to a running job. What happens on its workers is in tpu_worker.sh.
set -euo pipefail

teach() {
  cat <<'TEXT'
One Cloud TPU slice, from nothing to a running job.

  ./tpu_setup.sh create | setup | run | status | stop | delete   [options] [-- COMMAND...]

  create   requests the slice as a queued resource and waits until it is there; a preempted one is deleted first
  setup    copies this checkout (all that git does not ignore) to every worker and installs it, Python included
  run      setup, then starts COMMAND on every worker, follows its output and exits as it does. After a preemption:
           create, setup and COMMAND again. Where COMMAND runs already it is followed. Ctrl-C stops it; a lost
           connection does not: the same line follows it again
  status   what there is, and what runs
  stop     stops the command on every worker
  delete   deletes the slice: until then it costs

For example:

  export TPU_NAME=moral TPU_ZONE=us-west4-a TPU_BUCKET=my-bucket TPU_SPOT=yes
  ./tpu_setup.sh create
  ./tpu_setup.sh run -- 'python train.py --config=configs/demo.py --workdir=$HOME/bucket/runs/demo'
  ./tpu_setup.sh delete

COMMAND runs in the project's directory and virtual environment. One argument is a line for the workers' shell, as
above; several are passed on as they are. Run directories must be on a disk that all workers share, as ~/bucket is: a
run that starts again resumes from what it finds there.

  --name=NAME         of the queued resource and its node; needed
  --zone=ZONE         needed
  --project=PROJECT   default: gcloud's
  --type=TYPE         accelerator type, default v5litepod-16
  --runtime=VERSION   default: the one for JAX on that type
  --spot              cheaper, and may be preempted
  --bucket=BUCKET     setup and run: mount this Cloud Storage bucket at ~/bucket on every worker
  --env-file=FILE     setup and run: lines NAME=VALUE for the environment of COMMAND. The place for secrets (HF_TOKEN):
                      it is copied through ssh, for your eyes only, and is on no command line and in no log
  --retries=N         run: how often to start again, default 10
  --timeout=MINUTES   how long to wait for the slice, default 1440
  --yes               delete: do not ask
  --dry-run           print every gcloud command, ready to paste, and run none

Each option is also a variable: TPU_NAME, TPU_ZONE, TPU_ENV_FILE... A flag wins.
TEXT
}

say() { echo "$(date +%H:%M:%S) $*" >&2; }

die() { echo "error: $*" >&2 && exit 1; }
misuse() { echo "error: $*" >&2 && exit 2; }

# ---------------------------------------------------------------------------------------------------- the slice

act() { # whatever asks or changes something out there; a dry run prints it instead
  local word line='' quote="'\\''"
  if [[ -z $TPU_DRY_RUN ]]; then
    "$@"
    return
  fi
  for word in "$@"; do
    [[ $word =~ ^[A-Za-z0-9_./:=-]+$ ]] || word="'${word//\'/$quote}'"
    line+="$word "
  done
  echo "${line% }" >&3
}

tpus() { act gcloud compute tpus "$@" "${WHERE[@]}"; }

describe() { # KIND FIELD PRETENDED: one field, or NONE where there is no such thing; a dry run pretends
  local answer
  if answer=$(tpus "$1" describe "$TPU_NAME" --format="value($2)" 2>"$SCRATCH/error"); then
    [[ -z $TPU_DRY_RUN ]] || answer=$3
    echo "${answer:-UNKNOWN}"
  elif grep -q NOT_FOUND "$SCRATCH/error" && grep -q "$TPU_NAME" "$SCRATCH/error"; then
    echo NONE
  else
    cat "$SCRATCH/error" >&2
    exit 1
  fi
}

queue_state() { describe queued-resources state.state "$PRETENDED"; }
node_state() { describe tpu-vm state "${PRETENDED/ACTIVE/READY}"; }
workers() { describe tpu-vm 'networkEndpoints.len()' 1; }

slice_state() { # the queued resource's and, once that is ACTIVE, the node's: either may be the first to know
  local queue node=''
  queue=$(queue_state) || exit
  [[ $queue != ACTIVE ]] || node=$(node_state) || exit
  echo "$queue${node:+ $node}"
}

nap() { # WHAT: until the next look, if there is to be one
  [[ -z $TPU_DRY_RUN ]] || return 0
  ((SECONDS < DEADLINE)) || die "$1 after $TPU_TIMEOUT minutes. The same line waits on; 'delete' gives up"
  sleep "$POLL"
}

create() {
  local state seen='' requested='' misses=5 # the first look must succeed; later, a few in a row may fail
  local request=(--node-id="$TPU_NAME" --accelerator-type="$TPU_TYPE")
  [[ -z $TPU_SPOT ]] || request+=(--spot)
  DEADLINE=$((SECONDS + TPU_TIMEOUT * 60))
  while :; do
    if state=$(slice_state); then
      misses=0
    else
      ((++misses <= 5)) || exit 1
      state='not known'
    fi
    [[ $state == "$seen" ]] || say "slice $TPU_NAME: $state"
    seen=$state
    case $state in
      'ACTIVE READY') return ;;
      NONE) # a request takes a moment to show
        [[ $requested ]] || tpus queued-resources create "$TPU_NAME" "${request[@]}" --runtime-version="$TPU_RUNTIME"
        requested=yes PRETENDED=ACTIVE
        nap "slice $TPU_NAME does not show"
        ;;
      FAILED)
        if [[ $requested ]]; then # this very request: the next one would fail too
          tpus queued-resources describe "$TPU_NAME" --format='yaml(state)' >&2
          die "the request for $TPU_TYPE in $TPU_ZONE failed; quota, zone and type are the usual reasons"
        fi
        remove
        ;;
      SUSPENDED | 'ACTIVE PREEMPTED' | 'ACTIVE TERMINATED' | 'ACTIVE NONE')
        remove
        requested=''
        ;;
      *) nap "slice $TPU_NAME is $state" ;;
    esac
  done
}

remove() { # the queued resource and its node, until both are gone: what is left costs, and blocks the name
  local state asked=''
  while :; do
    state=$(queue_state)
    case $state in
      NONE) break ;;
      SUSPENDING | DELETING) ;;
      *)
        [[ $asked ]] || tpus queued-resources delete "$TPU_NAME" --force --quiet
        asked=yes PRETENDED=NONE
        ;;
    esac
    nap "queued resource $TPU_NAME is $state"
  done
  state=$(node_state)
  [[ $state == NONE ]] || tpus tpu-vm delete "$TPU_NAME" --quiet
}

delete() {
  local queue node answer=''
  queue=$(queue_state)
  node=$(node_state)
  if [[ $queue == NONE && $node == NONE ]]; then
    say "no slice $TPU_NAME in $TPU_ZONE: nothing to delete"
    return
  fi
  if [[ -z $TPU_YES$TPU_DRY_RUN ]]; then
    read -r -p "Delete $TPU_NAME in $TPU_ZONE (queued resource $queue, node $node)? [y/N] " answer || :
    [[ $answer == [yY]* ]] || die "not deleted; --yes does not ask"
  fi
  DEADLINE=$((SECONDS + TPU_TIMEOUT * 60))
  remove
  [[ $TPU_DRY_RUN ]] || say "$TPU_NAME is deleted"
}

# -------------------------------------------------------------------------------------------------- its workers

ON_WORKER='[ ! -e tpu_job/source ] || bash tpu_job/source/tpu_worker.sh' # does nothing before the first setup

on_workers() { # LINE: for the shell of every worker at once, in its home directory; 255 says that ssh failed
  tpus tpu-vm ssh "$TPU_NAME" --worker=all --quiet \
    --ssh-flag='-oServerAliveInterval=30 -oConnectTimeout=10' --command="$1" </dev/null
}

to_workers() { tpus tpu-vm scp "$1" "$TPU_NAME:$2" --worker=all --quiet; }

everyone() { # WORD LINE: every worker of the slice must answer the line with 'WORD HOSTNAME ...'
  local expected answered status=0
  expected=$(workers)
  on_workers "$2" >"$SCRATCH/answers" || status=$?
  [[ -z $TPU_DRY_RUN ]] || return 0
  answered=$(awk -v word="$1" '$1 == word && !seen[$2]++ { n++ } END { print n + 0 }' "$SCRATCH/answers")
  if ((answered != expected || status)); then
    grep -v "^$1 " "$SCRATCH/answers" >&2 || :
    echo "error: $answered of $expected workers are $1, and gcloud exited with $status. Try 'setup' again; if" \
      "workers stay away, 'delete' and 'create' give another slice" >&2
    exit $((status ? status : 1))
  fi
  say "$answered of $expected workers are $1"
}

project_tree() { # the checkout as it is now, new files too, ignored ones not, as a tree of git: named by content
  export GIT_INDEX_FILE=$SCRATCH/index
  if ! git -C "$ROOT" add --all || ! git -C "$ROOT" write-tree; then
    die "$ROOT must be a git checkout: setup copies what git does not ignore"
  fi
}

check_env_file() { # names the faulty line, and never shows it
  local line
  [[ -r $TPU_ENV_FILE ]] || misuse "--env-file=$TPU_ENV_FILE: cannot be read"
  line=$(grep -nvE "^([A-Za-z_][A-Za-z0-9_]*=([^\"'].*)?|#.*|)\$" "$TPU_ENV_FILE" | head -n 1 | cut -d : -f 1) || :
  [[ -z $line ]] || misuse "--env-file=$TPU_ENV_FILE, line $line: expected NAME=VALUE, without quotes or 'export'"
  line=$(grep -nE "^[^#].*[[:space:]]\$" "$TPU_ENV_FILE" | head -n 1 | cut -d : -f 1) || :
  [[ -z $line ]] || misuse "--env-file=$TPU_ENV_FILE, line $line: ends in a blank, or in the carriage return of Windows"
  [[ $TPU_ENV_FILE == /* ]] || TPU_ENV_FILE=$PWD/$TPU_ENV_FILE
  if git -C "$ROOT" ls-files -co --exclude-standard -- "$TPU_ENV_FILE" 2>"$SCRATCH/error" | grep -q .; then
    misuse "--env-file=$TPU_ENV_FILE would travel with the project: move it out, or name it in .gitignore"
  fi
}

setup() {
  local archive=${TMPDIR:-/tmp}/tpu_job-$TREE.tar.gz unpack=''
  # shellcheck disable=SC2016  # for the workers' shell
  everyone reachable 'mkdir -p -m 700 tpu_job && echo "reachable $HOSTNAME $(readlink tpu_job/source)"'
  if [[ $TPU_DRY_RUN ]] || grep '^reachable ' "$SCRATCH/answers" | grep -qv " $TREE\$"; then
    say "installing the project on the workers: minutes the first time"
    act git -C "$ROOT" archive --output="$archive" "$TREE"
    to_workers "$archive" tpu_job/project.tar.gz
    rm -f "$archive"
    unpack="mkdir -p $TREE && tar -xzf project.tar.gz -C $TREE && "
  fi
  [[ -z $TPU_ENV_FILE ]] || to_workers "$TPU_ENV_FILE" tpu_job/env
  everyone ready "cd tpu_job && ${unpack}bash $TREE/tpu_worker.sh install $TREE $(printf %q "${TPU_BUCKET#gs://}")"
  [[ $TPU_BUCKET ]] || say "no --bucket: run directories must be on another disk that all workers share"
}

follow() { # INSTALLED ID COMMAND...: starts the command where it does not run yet
  local line
  [[ $1 ]] || setup
  printf -v line '%q ' "${@:2}"
  on_workers "bash tpu_job/source/tpu_worker.sh start ${line% }"
}

healthy() { # after a preemption the states are late to tell: three looks
  local look state
  for look in 1 2 3; do
    state=$(slice_state) && [[ $state == 'ACTIVE READY' ]] || return 1
    ((look == 3)) || sleep "$POLL"
  done
}

run() {
  local state sum running id installed='' retry status
  (($#)) || misuse "run: which command? It comes last: -- COMMAND..."
  (($# > 1)) || set -- bash -c "$1"
  state=$(slice_state)
  [[ $state != NONE ]] || die "no slice $TPU_NAME in $TPU_ZONE: ./tpu_setup.sh create"
  trap interrupted INT
  create
  sum=$(printf '%s\n' "$@" | git hash-object --stdin | cut -c 1-12)
  running=$(on_workers "$ON_WORKER running" | awk '$1 == "running" { print $2 }' | sort -u)
  case $running in
    '') id=$sum.$(date +%s) ;;
    *$'\n'*) die "several commands run on $TPU_NAME: 'status' shows them, 'stop' stops them" ;;
    "$sum".*) id=$running installed=yes ;;
    *) die "another command runs on $TPU_NAME: 'status' shows it, 'stop' stops it" ;;
  esac
  for ((retry = 1; ; retry++)); do
    status=0
    follow "$installed" "$id" "$@" & # Ctrl-C must not wait for gcloud's end
    FOLLOWER=$!
    wait "$FOLLOWER" || status=$?
    FOLLOWER=''
    ((status)) || return 0
    say "exit status $status: was the slice preempted?"
    if ! healthy; then
      installed=''
    elif ((status != 255)); then
      exit "$status" # the command's own
    fi # else ssh's: the connection broke, and the command may well go on
    ((retry <= TPU_RETRIES)) || die "gave up after $TPU_RETRIES retries; the same line goes on"
    say "retry $retry of $TPU_RETRIES"
    create
  done
}

stop() { on_workers "$ON_WORKER stop"; }

# shellcheck disable=SC2329  # a trap calls it
interrupted() {
  [[ $FOLLOWER ]] || { say "interrupted; what was requested stays, and 'delete' removes it" && exit 130; }
  trap 'say "the command goes on: the same line follows it, stop stops it"; exit 130' INT
  say "stopping the command on every worker (Ctrl-C again: let it go on)"
  stop
  wait "$FOLLOWER" || :
  exit 130
}

status() {
  local state
  state=$(slice_state)
  echo "slice $TPU_NAME in $TPU_ZONE: $state"
  [[ $state == 'ACTIVE READY' ]] || return 0
  echo "workers: $(workers)"
  on_workers "$ON_WORKER running" >"$SCRATCH/answers"
  sort "$SCRATCH/answers" | uniq -c | sed 's/^ *\([0-9]*\) running [^ ]* /running on \1: /'
  [[ -s $SCRATCH/answers ]] || echo "no command runs"
}

# ------------------------------------------------------------------------------------------------------ options

case ${1:-} in
  create | setup | run | status | stop | delete) ACTION=$1 ;;
  -h | --help | help) teach && exit ;;
  *) misuse "${1:-no action}: expected create, setup, run, status, stop or delete; --help explains" ;;
esac
shift
while (($#)); do
  case $1 in
    --name=* | --zone=* | --project=* | --type=* | --runtime=* | --bucket=* | --env-file=* | --retries=* | --timeout=*)
      option=$(tr a-z- A-Z_ <<<"${1%%=*}")
      printf -v "TPU${option#_}" '%s' "${1#*=}"
      ;;
    --spot) TPU_SPOT=yes ;;
    --yes) TPU_YES=yes ;;
    --dry-run) TPU_DRY_RUN=yes ;;
    -h | --help) teach && exit ;;
    --) shift && break ;;
    *) misuse "$1: unknown option, or not written --option=VALUE; a command comes after --" ;;
  esac
  shift
done
: "${TPU_PROJECT:=}" "${TPU_TYPE:=v5litepod-16}" "${TPU_RUNTIME:=}" "${TPU_SPOT:=}" "${TPU_BUCKET:=}"
: "${TPU_ENV_FILE:=}" "${TPU_RETRIES:=10}" "${TPU_TIMEOUT:=1440}" "${TPU_YES:=}" "${TPU_DRY_RUN:=}"
[[ ${TPU_NAME:-} ]] || misuse "--name is missing: --name=NAME, or export TPU_NAME"
[[ ${TPU_ZONE:-} ]] || misuse "--zone is missing: --zone=ZONE, or export TPU_ZONE"
[[ $TPU_RETRIES =~ ^[0-9]{1,6}$ ]] || misuse "--retries=$TPU_RETRIES: expected a number of up to six digits"
[[ $TPU_TIMEOUT =~ ^[0-9]{1,6}$ ]] || misuse "--timeout=$TPU_TIMEOUT: expected minutes, of up to six digits"
TPU_RETRIES=$((10#$TPU_RETRIES)) TPU_TIMEOUT=$((10#$TPU_TIMEOUT)) # 08 is no octal number
for flag in "$TPU_SPOT" "$TPU_YES" "$TPU_DRY_RUN"; do
  [[ $flag =~ ^(yes)?$ ]] || misuse "TPU_SPOT, TPU_YES and TPU_DRY_RUN are 'yes' or empty, not '$flag'"
done
if [[ -z $TPU_RUNTIME ]]; then
  case $TPU_TYPE in
    v6e-*) TPU_RUNTIME=v2-alpha-tpuv6e ;;
    v5p-*) TPU_RUNTIME=v2-alpha-tpuv5 ;;
    v5litepod-*) TPU_RUNTIME=v2-alpha-tpuv5-lite ;;
    v[234]-*) TPU_RUNTIME=tpu-ubuntu2204-base ;;
    *) misuse "--type=$TPU_TYPE: no runtime is known for it (v5e is called v5litepod); give --runtime" ;;
  esac
fi
[[ $TPU_DRY_RUN ]] || command -v gcloud >/dev/null ||
  die "gcloud is not on the PATH: install the Google Cloud CLI (cloud.google.com/sdk/docs/install), or use Cloud Shell"

WHERE=(--zone="$TPU_ZONE")
[[ -z $TPU_PROJECT ]] || WHERE+=(--project="$TPU_PROJECT")
ROOT=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
POLL=${TPU_POLL:-30} # seconds from one look at the slice to the next
DEADLINE=0 FOLLOWER='' PRETENDED=ACTIVE
[[ $ACTION != create ]] || PRETENDED=NONE
SCRATCH=$(mktemp -d)
trap 'rm -rf "$SCRATCH"' EXIT
exec 3>&1
if [[ $ACTION == setup || $ACTION == run ]]; then
  [[ -z $TPU_ENV_FILE ]] || check_env_file
  TREE=$(project_tree) # once: what starts again after a preemption is the same code
fi
"$ACTION" "$@"
