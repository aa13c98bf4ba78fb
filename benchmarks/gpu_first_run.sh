#!/usr/bin/env bash
# The first thing to run on a new GPU, ended after 8 minutes: is every kind of attention right there, how fast do shapes of
# Mistral-7B train and score, and in how much memory. The exit status is 1 if a part failed or had no time left.
#
#   benchmarks/gpu_first_run.sh FOLDER           writes tables to standard output, JSON files and the log to FOLDER
#   benchmarks/gpu_first_run.sh FOLDER --tiny    the same path with tiny shapes, on any machine; further flags go to the
#                                                config: --config.model.path=SMALL_MODEL
set -u
cd "$(dirname "$0")/.." || exit
out=${1:?usage: benchmarks/gpu_first_run.sh FOLDER [--tiny [--config.SECTION.FIELD=VALUE ...]]}
mkdir -p "$out"
export HF_HUB_OFFLINE=1 PYTHONUNBUFFERED=1 PYTHONPATH=$PWD${PYTHONPATH:+:$PYTHONPATH}
config=configs/scruples/mistral_7b_dilemmas.py
limit=480 # seconds
if [ "${2:-}" = --tiny ]; then
  attention=(--lengths 128 --tokens 128)
  cells=("--config=$config:tiny --layers=1 --methods full lora ${*:3}")
else
  attention=(--lengths 512 2048 4096)
  cells=(
    "--config=$config:gpu-80gb --methods lora qlora --lengths 2048"
    "--config=$config:gpu-80gb --methods full --lengths 2048 --layers=16 --config.optim.moment_dtype=bfloat16"
    "--config=$config:gpu-80gb --methods lora --lengths 512"
  )
fi
failed=0
part() {
  local left=$((limit - SECONDS))
  if [ "$left" -le 0 ]; then
    echo "no time left for: $*"
    failed=1
    return
  fi
  timeout "$left" "$@" || failed=1
}
run() {
  nvidia-smi --query-gpu=name,driver_version,memory.total --format=csv,noheader 2>/dev/null
  python3 -c 'import jax; print("JAX", jax.__version__, jax.devices())'
  part python3 benchmarks/attention.py "${attention[@]}" --out="$out/attention.json"
  for i in "${!cells[@]}"; do
    # shellcheck disable=SC2086  # each is a list of flags
    part python3 benchmarks/mfu.py ${cells[$i]} --out="$out/mfu_$i.json"
  done
  echo "took $SECONDS s"
  return "$failed"
}
set -o pipefail
run 2>&1 | tee "$out/log"
