#!/bin/sh
# The campaign on one NVIDIA GPU, in slices of under ten minutes that can be stopped and continued:
#
#     sh experiments/gpu.sh SLICE [DIR]       # DIR: the bundles, ./bundles by default
#
#     record      not there but where TensorFlow is: what it computes from given weights, to ./recorded
#     agree       JAX on the GPU, in float32, against ./recorded
#     profile     a trace of two epochs of `fast`, the first with compilation, to DIR/profile (open it in Perfetto)
#     published   the notebook's recipe, 5 seeds of 200 epochs
#     fast        20 seeds of the default recipe, and 5 of them in float32
#     epochs      2 seeds each of 5 to 8 epochs on the tune split: the fewest that reach 0.86
#     fewest      20 seeds of EPOCHS=6 epochs, or whatever `epochs` has shown, on the test images
#     ablate      every ablation, 10 seeds, tuned and retuned
#     search      100 trials, and the best three on ten fresh seeds (needs Optuna)
#     bench       images/s beside Keras fit on JAX and torch.compile, at batch 128 and 512 (needs PyTorch)
#     pack        what is finished, without checkpoints and profile, as parts of 15 MB beside DIR
#     report      where MLflow is, when all that went before is done: import DIR, and write tables and figures to
#                 TO=experiments/results/gpu
#
# Needs what README.md names under bundles, with `jax[cuda13]`, and pytest for `agree`; no TensorFlow or MLflow. A slice
# ends after LIMIT seconds; the same command goes on from the last finished epoch. Then, where MLflow is:
#
#     cat bundles.tar.gz.* | tar xz && sh experiments/gpu.sh report
#
# BUDGET=smoke PRECISION=float32 SEEDS=1 TRIALS=2 IMAGES=512 tries all of it on a CPU in minutes. The network's memory
# traffic on an H100 (0.063 to 0.074 s an epoch; counted, not measured) is only the floor of what a slice takes: published
# 63 to 74 s, fast 10 to 12 s and the float32 runs, epochs 4 s, fewest 8 to 9 s, ablate (730 runs of 8 epochs) 6 to 7
# minutes, search (100 trials of 1 to 12 epochs in all, 40 runs of 8) 30 to 110 s, bench half a second for the engine.
# Compilation comes on top: once for each network, optimizer, precision and size of batch or data, 6 and 15 s on an
# H200. There an epoch of `fast` takes 0.59 s in all: ten seeds of 8 epochs a minute, so ablate takes an hour. Five
# processes under NVIDIA MPS train 2.4 times as much (experiments/gpu/campaign.sh). The slices are not measured yet.

set -eu
slice=${1:-}
bundles=${2:-bundles}
bundles=${bundles%/}
budget=${BUDGET:-full}
precision=${PRECISION:-bfloat16}
python=${PYTHON:-python3}

# A command within the slice's time; by SIGTERM a run ends in good order.
limited() {
    status=0
    timeout --kill-after=30 "${LIMIT:-560}" "$@" || status=$?
    case $status in
        0) ;;
        124 | 130) echo "The slice is over, the work is not: give the same command again." >&2; exit 75 ;;
        *) exit $status ;;
    esac
}

run() {
    limited "$python" -m harness run "$@" --engine jax --budget "$budget" --offline "$bundles"
}

search() {
    limited "$python" -m harness search --trials "${TRIALS:-100}" --budget "$budget" --engine jax \
        --precision "$precision" "$@"
}

agree() {
    KERAS_BACKEND=jax RECORDED=recorded limited "$python" -m pytest -o addopts= -v tests/on_jax/test_agreement.py
}

# The stored answer to some words, as JSON.
stored() {
    "$python" -m harness compare "$@" --engine jax --budget "$budget" --precision "$precision" --to "$to" --json
}

# The run keys in such an answer.
keys() {
    "$python" -c 'import json, sys; print(*(run["run_key"] for run in json.load(open(sys.argv[1]))["runs"]))' "$to/$1.json"
}

ablations="ablate_bn ablate_activation ablate_scaling ablate_dropout ablate_order factorial"
case $slice in
    record) JAX_PLATFORMS=cpu agree ;;
    agree)
        [ -d recorded ] || { echo "There is no ./recorded: make it with the slice record, and bring it here." >&2; exit 2; }
        mkdir -p "$bundles"
        agree > "$bundles/agreement.txt" || { cat "$bundles/agreement.txt" >&2; exit 1; }
        cat "$bundles/agreement.txt" ;;
    profile)
        # In a folder of its own, where the run is not done yet: a run that is done leaves no trace.
        # JAX is imported by the harness: the trace starts the backend, which reads XLA's flags only then.
        limited "$python" -c 'import sys; from harness.engine.backend import import_keras; import_keras("jax")
import jax; from harness.cli.app import main
with jax.profiler.trace(sys.argv.pop(1), create_perfetto_trace=True): main()' "$bundles/profile" \
            run baseline --set epochs=2 --no-probe --engine jax --budget "$budget" --precision "$precision" \
            --offline "$bundles/profile/$(date +%s)" ;;
    published) run baseline --recipe published --seeds "${SEEDS:-5}" --precision "$precision" ;;
    fast)
        run baseline --seeds "${SEEDS:-20}" --precision "$precision"
        run baseline --seeds "${SEEDS:-5}" --precision float32 ;;
    epochs)
        for epochs in 5 6 7 8; do
            run baseline --split tune --set epochs=$epochs --seeds "${SEEDS:-2}" --precision "$precision"
        done ;;
    fewest) run baseline --set "epochs=${EPOCHS:-6}" --seeds "${SEEDS:-20}" --precision "$precision" ;;
    ablate) run $ablations --seeds "${SEEDS:-10}" --precision "$precision" ;;
    search)
        search --offline "$bundles"
        search --offline "$bundles" --confirm --seeds "${CONFIRM:-10}" ;;
    bench)
        for batch in 128 512; do
            HARNESS_MLRUNS="$bundles/bench-$batch" limited "$python" -m harness bench --engine jax --batch-size $batch \
                ${IMAGES:+--images $IMAGES}
        done ;;
    pack)
        tar c --exclude=checkpoint.npz --exclude=lock --exclude=holder --exclude="$bundles/profile" "$bundles" \
            | gzip | split -b 15M - "$bundles.tar.gz."
        ls -l "$bundles".tar.gz.* ;;
    report)
        # What is not there would be searched here.
        [ -e "$bundles/optuna.db" ] || { echo "There is no search in $bundles: its slice comes first." >&2; exit 2; }
        to=${TO:-experiments/results/gpu}
        mkdir -p "$to"
        "$python" -m harness sync "$bundles"
        stored baseline --recipe published --seeds "${SEEDS:-5}" > "$to/published.json"
        stored baseline --seeds "${SEEDS:-20}" > "$to/fast.json"
        stored baseline --seeds "${SEEDS:-5}" --precision float32 > "$to/fast-float32.json"
        # Do the two precisions differ? The first runs are the ones to compare with.
        "$python" -m harness compare $(keys fast-float32) $(keys fast) --to "$to" > "$to/precision.txt"
        for epochs in 5 6 7 8; do
            stored baseline --split tune --set epochs=$epochs --seeds "${SEEDS:-2}" > "$to/tune-$epochs-epochs.json"
        done
        stored baseline --set "epochs=${EPOCHS:-6}" --seeds "${SEEDS:-20}" > "$to/fewest.json"
        stored $ablations --seeds "${SEEDS:-10}" > "$to/ablations.json"
        search --to "$to" > "$to/search.txt"
        search --confirm --seeds "${CONFIRM:-10}" --to "$to" > "$to/confirmed.txt"
        cp "$bundles/agreement.txt" "$to"
        for batch in 128 512; do cp "$bundles/bench-$batch/bench-jax.json" "$to/bench-$batch.json"; done ;;
    *)
        sed -n '2,/^$/s/^# \{0,1\}//p' "$0" >&2
        exit 2 ;;
esac
