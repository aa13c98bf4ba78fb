#!/usr/bin/env bash
# What tpu_setup.sh calls on each worker of a slice, where it came with the project: install, running, start, stop.
# All lies in ~/tpu_job: a directory for each tree of the project that came, the link `source` to the one that is
# installed, the virtual environment `venv`, the variables `env`, and jobs/ID/ with command, pid, log and exit status.
set -euo pipefail

LOCK=${LIBTPU_LOCK:-/tmp/libtpu_lockfile}
GCSFUSE=3.12.0

die() {
  echo "error: $HOSTNAME: $*" >&2
  exit 1
}

install() { # TREE [BUCKET]: idempotent; says 'ready HOSTNAME' when all is there
  cd ~/tpu_job
  [[ ! -e env ]] || chmod 600 env
  # libtpu starts for nobody while this file is held, and a process that was killed leaves it behind
  if [[ -e $LOCK ]] && command -v fuser >/dev/null && ! sudo fuser -s "$LOCK"; then
    sudo rm -f "$LOCK"
  fi
  if [[ $(readlink source) != "$1" ]]; then
    if [[ ! -x venv/bin/python ]]; then # the images carry a Python that is too old; uv fetches one
      rm -rf venv
      PIP_BREAK_SYSTEM_PACKAGES=1 python3 -m pip install --quiet --user --upgrade uv >&2
      python3 -m uv venv --quiet --python 3.11 venv >&2
    fi
    # editable: of two trees with the same version, uv would install what it built for the first
    python3 -m uv pip install --quiet --python venv/bin/python --editable "./$1[tpu]" >&2
    ln -sfn "$1" source
  fi
  [[ -z ${2:-} ]] || mount_bucket "$2" >&2
  echo "ready $HOSTNAME"
}

mount_bucket() { # BUCKET
  local release=https://github.com/GoogleCloudPlatform/gcsfuse/releases/download/v$GCSFUSE deb=/tmp/gcsfuse.deb
  mkdir -p ~/bucket
  if mountpoint -q ~/bucket; then
    [[ $(findmnt -n -o SOURCE ~/bucket) == "$1" ]] || die "$HOME/bucket holds another bucket than $1; unmount it first"
    return
  fi
  if ! command -v gcsfuse >/dev/null; then
    curl -fsSL -o "$deb" "$release/gcsfuse_${GCSFUSE}_$(dpkg --print-architecture).deb"
    sudo apt-get -qq -y -o DPkg::Lock::Timeout=300 install "$deb" # a new machine may still be upgrading itself
  fi
  # The workers write for each other: none may remember what was there (on TPU machines gcsfuse would, for ever).
  # A checkpoint is finished by renaming its directory: a bucket without real directories refuses that by default.
  gcsfuse --implicit-dirs --metadata-cache-ttl-secs=0 --metadata-cache-negative-ttl-secs=0 \
    --rename-dir-limit=200000 "$1" ~/bucket
}

alive() { # JOB_DIRECTORY
  [[ -e $1/pid && ! -e $1/exit ]] && kill -0 -- "-$(<"$1/pid")" 2>/dev/null
}

running() { # 'running ID COMMAND' where a job runs
  local job
  for job in ~/tpu_job/jobs/*; do
    if alive "$job"; then
      echo "running ${job##*/} $(<"$job/command")"
    fi
  done
}

start() { # ID COMMAND...: starts the job unless it runs or ended; follows its output; exits as it did
  local job=$HOME/tpu_job/jobs/$1 worker=${HOSTNAME##*-w-} lines=20 status
  [[ -e $job/pid ]] || lines=+1
  exec 9>~/tpu_job/lock
  flock 9 # gcloud tries again when a connection breaks: the same job may be asked for twice
  [[ -e $job/exit ]] || alive "$job" || launch "$job" "${@:2}"
  exec 9>&-
  tail --pid="$(<"$job/pid")" --sleep-interval=0.2 -n "$lines" -f "$job/log" |
    stdbuf -oL tr '\r' '\n' | sed -u "s/^/[$worker] /"
  status=$(cat "$job/exit" 2>/dev/null || echo 137) # no status: its shell was killed too
  echo "[$worker] exit status $status"
  exit $((status == 255 ? 254 : status)) # 255 would pass for a broken connection
}

launch() { # JOB_DIRECTORY COMMAND...: in a session of its own, so that it outlives the connection
  local job=$1 line
  shift
  [[ -z $(running) ]] || die "another command runs"
  mkdir -p "$job"
  echo "$*" >"$job/command"
  : >>"$job/log" # there before anyone follows it
  cd -P ~/tpu_job/source
  export PATH=$HOME/tpu_job/venv/bin:$PATH PYTHONUNBUFFERED=1 TQDM_MININTERVAL=10 # a log is no terminal
  export MORAL_JAX_PREEMPTED_EXIT=75 # with 0, a run that a preemption cut short would pass for a finished one
  if [[ -e ../env ]]; then
    while IFS= read -r line || [[ $line ]]; do
      [[ $line != [A-Za-z_]*=* ]] || export "${line?}" # as it is: nothing in it is evaluated
    done <../env
  fi
  # what bash starts in the background ignores SIGINT, and stop needs it
  # shellcheck disable=SC2016  # for the inner shell
  env --default-signal=INT setsid bash -c 'trap : INT TERM; "$@"; echo $? >"$0/exit"' "$job" "$@" \
    >>"$job/log" 2>&1 </dev/null 9>&- &
  echo $! >"$job/pid"
}

stop() { # as Ctrl-C would; what does not listen is ended
  local id job signal
  for id in $(running | awk '{ print $2 }'); do
    job=$HOME/tpu_job/jobs/$id
    for signal in INT TERM KILL; do
      kill "-$signal" -- "-$(<"$job/pid")" 2>/dev/null || break
      for _ in {1..100}; do
        alive "$job" || break 2
        sleep 0.2
      done
    done
    echo "$HOSTNAME: stopped"
  done
}

"$@"
