#!/usr/bin/env bash
# Starts training on a TPU slice of a GKE cluster that XPK made. IMAGE comes from the Dockerfile beside this file.
#
#   CLUSTER=my-cluster IMAGE=REGISTRY/moral-jax:tpu examples/cluster/xpk.sh [FLAGS OF xpk workload create]
#
# With --dry-run XPK prints what it would do. STORAGE is a bucket that `xpk storage attach` made known, mounted at /runs.
set -euo pipefail
: "${CLUSTER:?the name of the cluster}" "${IMAGE:?the image}"
exec xpk workload create --cluster="$CLUSTER" --workload="${WORKLOAD:-moral}" --tpu-type="${TPU_TYPE:-v5litepod-16}" \
  --num-slices="${SLICES:-1}" --docker-image="$IMAGE" --storage="${STORAGE:-runs}" --max-restarts=10 \
  --env=MORAL_JAX_PREEMPTED_EXIT=75 \
  --command="python train.py --config=scruples/mistral_7b_dilemmas:v5e-16 --config.mesh.slices=${SLICES:-1} --workdir=/runs/mistral" \
  "$@"
