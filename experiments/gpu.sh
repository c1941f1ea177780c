#!/bin/sh
# The campaign on one NVIDIA GPU, in slices of under ten minutes that can be stopped and continued:
#
#     sh experiments/gpu.sh SLICE [DIR]       # DIR: the bundles, ./bundles by default
#
#     published   the notebook's recipe, 5 seeds of 200 epochs
#     fast        20 seeds of the default recipe, and 5 of them in float32
#     epochs      2 seeds each of 5 to 8 epochs on the tune split: the fewest that reach 0.86
#     ablate      every ablation, 10 seeds, tuned and retuned
#     pack        what is finished, without checkpoints, as parts of 15 MB beside DIR
#
# Needs what README.md names under bundles, with `jax[cuda13]`; no TensorFlow, MLflow or Optuna. A slice ends after LIMIT seconds;
# the same command goes on from the last finished epoch. Then, where MLflow is:
#
#     cat bundles.tar.gz.* | tar xz && harness sync bundles
#
# BUDGET=smoke PRECISION=float32 SEEDS=1 tries all of it on a CPU in minutes. What a slice takes at least, by the
# network's memory traffic on an H100 (0.063 to 0.074 s an epoch; counted, not measured): published 63 to 74 s, fast
# 10 to 12 s and the float32 runs, epochs 4 s, ablate (730 runs of 8 epochs) 6 to 7 minutes. Not run on a GPU yet.

set -eu
slice=${1:-}
bundles=${2:-bundles}
budget=${BUDGET:-full}

run() {
    status=0
    # By SIGTERM a run ends in good order.
    timeout --kill-after=30 "${LIMIT:-560}" "${PYTHON:-python3}" -m harness run "$@" \
        --engine jax --budget "$budget" --offline "$bundles" || status=$?
    case $status in
        0) ;;
        124 | 130) echo "The slice is over, the work is not: give the same command again." >&2; exit 75 ;;
        *) exit $status ;;
    esac
}

precision=${PRECISION:-bfloat16}
case $slice in
    published) run baseline --recipe published --seeds "${SEEDS:-5}" --precision "$precision" ;;
    fast)
        run baseline --seeds "${SEEDS:-20}" --precision "$precision"
        run baseline --seeds "${SEEDS:-5}" --precision float32 ;;
    epochs)
        for epochs in 5 6 7 8; do
            run baseline --split tune --set epochs=$epochs --seeds "${SEEDS:-2}" --precision "$precision"
        done ;;
    ablate)
        run ablate_bn ablate_activation ablate_scaling ablate_dropout ablate_order factorial \
            --seeds "${SEEDS:-10}" --precision "$precision" ;;
    pack)
        tar c --exclude=checkpoint.npz --exclude=lock --exclude=holder "$bundles" | gzip | split -b 15M - "$bundles.tar.gz."
        ls -l "$bundles".tar.gz.* ;;
    *)
        sed -n '2,/^$/s/^# \{0,1\}//p' "$0" >&2
        exit 2 ;;
esac
