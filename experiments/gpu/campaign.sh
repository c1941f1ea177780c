#!/bin/bash
# The campaign on one NVIDIA GPU, in one command, in the root of the repository (README.md beside this file):
#
#     bash experiments/gpu/campaign.sh [SECONDS] [MODE]
#
#     main     speed, then side by side: agreement of the engines, ideas for fewer epochs, ablations, `published`
#     more     all of that but speed and agreement goes on
#     quick    the studies at `quick`, and their tuning (prepare.sh quick); the same command goes on with it
#     bench    images/s beside Keras and PyTorch
#
# Ends after SECONDS (535), whatever is done by then. What is done is not done again. Results: the end of the output,
# files in OUT (/tmp/out), bundles in BUNDLES (./bundles).

begin=$(date +%s)
seconds=${1:-535}
mode=${2:-main}
end=$((begin + seconds - 25))
python=${PYTHON:-python3}
bundles=${BUNDLES:-bundles}
out=${OUT:-/tmp/out}
scratch=${SCRATCH:-/tmp/campaign}
log=$scratch/log-$mode
here=experiments/gpu
looked=${LOOK:-50000}
batch=${BATCH:-128}
mkdir -p "$out" "$log" "$bundles"

if ls .whl/*.whl > /dev/null 2>&1; then
    timeout 60 $python -m pip install -q --no-index --no-deps --no-compile --no-cache-dir --upgrade \
        --disable-pip-version-check --root-user-action ignore --target "$scratch/site" .whl/*.whl || exit
fi
# shellcheck disable=SC1091
[ -e campaign/settings ] && . campaign/settings
export BUDGET=${budget:-full} PRECISION=${precision:-bfloat16}
export PYTHONUNBUFFERED=1 HARNESS_CACHE=${HARNESS_CACHE:-$scratch/cache}
export PYTHONPATH="$PWD:$scratch/site${PYTHONPATH:+:$PYTHONPATH}"

# NAME SECONDS COMMAND...: runs it within what is left. Its log is kept; its last lines are shown if it fails.
stage() {
    local name=$1 limit=$2 from rc left
    from=$(date +%s)
    left=$((end - from))
    shift 2
    if [ $left -lt 12 ]; then echo "-- $name: no time left"; return 75; fi
    # The outer redirection is for what bash says of a process that had to be killed.
    { timeout --kill-after=8 $((limit < left ? limit : left)) "$@" >> "$log/$name.log" 2>&1; } 2> /dev/null
    rc=$?
    echo "-- $name: rc $rc, $(($(date +%s) - from)) s, ends at $(($(date +%s) - begin)) s"
    [ $rc -eq 0 ] || [ $rc -eq 124 ] || [ $rc -eq 137 ] || tail -n 5 "$log/$name.log" | cut -c1-200
    return $rc
}

# NAME SECONDS COMMAND...: a stage that goes on from where it failed, once, and without MPS: that may be the reason.
patient() {
    stage "$@"
    case $? in
        0 | 75 | 124 | 137) ;;
        *) (unset CUDA_MPS_PIPE_DIRECTORY CUDA_MPS_LOG_DIRECTORY; stage "$@") ;;
    esac
}
runs() { [ ! -e "campaign/$1.json" ] || patient "$1" "$2" $python -m experiments.gpu.lane "campaign/$1.json" "$bundles"; }
# NAME SHARES: tries settings on the validation images, in several processes.
ideas() {
    local share
    for share in $(seq 0 $(($2 - 1))); do
        patient "$1-$share" 900 $python -m experiments.gpu.ideas "$bundles" "$1" "$share" "$2" &
    done
    wait
}
number() { $python -c 'import json,sys; print(int(json.load(open(sys.argv[1]))[sys.argv[2]]))' "$1" "$2" 2> /dev/null || echo 0; }

# NVIDIA MPS lets the kernels of several processes overlap. Without it the processes take turns.
start_mps() {
    local folder control=
    for folder in ${PATH//:/ } /usr/bin /usr/local/nvidia/bin /usr/local/cuda*/bin; do
        [ -x "$folder/nvidia-cuda-mps-control" ] && { control=$folder/nvidia-cuda-mps-control; break; }
    done
    [ -n "$control" ] || { echo "MPS: off, there is no nvidia-cuda-mps-control"; return; }
    export CUDA_MPS_PIPE_DIRECTORY=$scratch/mps CUDA_MPS_LOG_DIRECTORY=$scratch/log-$mode/mps
    mkdir -p "$CUDA_MPS_PIPE_DIRECTORY" "$CUDA_MPS_LOG_DIRECTORY"
    timeout 10 "$control" -d > "$log/mps.log" 2>&1 < /dev/null
    timeout --kill-after=3 25 $python -c '
import jax
assert jax.devices()[0].platform != "cpu"
matrix = jax.numpy.ones((256, 256))
print(jax.jit(lambda x: (x @ x).sum())(matrix))' >> "$log/mps.log" 2>&1 &&
        servers=$(echo get_server_list | timeout 5 "$control" 2>> "$log/mps.log") && [ -n "$servers" ] && {
        mps=$control
        echo "MPS: on (server $servers)"
        return
    }
    echo quit | timeout 5 "$control" >> "$log/mps.log" 2>&1
    unset CUDA_MPS_PIPE_DIRECTORY CUDA_MPS_LOG_DIRECTORY
    echo "MPS: off, $(tail -n 1 "$log/mps.log" | cut -c1-150)"
}

{
    timeout 20 nvidia-smi
    nproc; free -g; df -h .; $python -V
    timeout 30 $python -m pip list 2> /dev/null | grep -iE '^(jax|keras|numpy|torch|nvidia-cu|cuda)'
    cat campaign/commit.txt campaign/settings
    find /usr/bin /usr/local/nvidia/bin /usr/local/cuda*/bin -maxdepth 1 -name '*mps*' 2> /dev/null
} > "$log/machine.txt" 2>&1
grep -m1 -oE 'NVIDIA [A-Z0-9 ]+[A-Z0-9]' "$log/machine.txt"

mps=
if [ "$mode" = main ]; then
    stage look 130 $python -m experiments.gpu.look $batch $looked "$log/look.json" trace
    grep -A 13 'us a step' "$log/look.log" | cut -c1-90
    if [ "$(number "$log/look.json" images_per_s)" -eq 0 ]; then
        echo "--xla_gpu_deterministic_ops=false --xla_gpu_enable_triton_gemm=false --xla_gpu_autotune_level=0" \
            > "$scratch/flags"
        XLA_FLAGS=$(cat "$scratch/flags") \
            stage look-plain 60 $python -m experiments.gpu.look $batch $looked "$log/look-plain.json"
    fi
fi
if [ -e "$scratch/flags" ]; then
    XLA_FLAGS=$(cat "$scratch/flags")
    export XLA_FLAGS
    echo "going on with XLA_FLAGS=$XLA_FLAGS"
fi

# A run that takes longer hangs. Several processes that compile at once take their time.
STALL=$((240 + 3 * $(number "$scratch/log-main/look.json" first_round_s)))
export STALL

# The last list has dropout, and waits for what is tried with it. `published` is one long run.
lanes() {
    local list last
    last=$(ls campaign/a*.json 2> /dev/null | tail -n 1)
    { ideas dropout 3; [ -z "$last" ] || runs "$(basename "$last" .json)" 900; } &
    ideas record 3 &
    STALL=900 runs published 900 &
    for list in campaign/a*.json; do
        [ "$list" = "$last" ] || runs "$(basename "$list" .json)" 900 &
    done
}

case $mode in
    main)
        start_mps
        lanes
        KERAS_BACKEND=jax RECORDED=recorded stage agree 200 $python -m pytest -o addopts= -p no:cacheprovider -v \
            tests/on_jax/test_agreement.py &
        wait ;;
    more)
        start_mps
        lanes
        wait ;;
    quick)
        start_mps
        for list in campaign/a*.json; do runs "$(basename "$list" .json)" 900 & done
        wait
        # What two processes want at once is trained by one of them, and found by the other one's next try.
        [ ! -e campaign/retuned.txt ] || stage retuned 900 xargs -d '\n' -P 13 -I COMMAND \
            sh -c "for _ in 1 2 3 4; do $python -m COMMAND --offline $bundles && break; done" < campaign/retuned.txt ;;
    bench)
        stage bench 500 $python -m experiments.gpu.beside "$log/beside.json" $looked 128 512 ;;
    *) echo "There is no mode $mode." >&2; exit 2 ;;
esac
[ -z "$mps" ] || echo quit | timeout 5 "$mps" > /dev/null 2>&1

timeout 15 $python $here/tell.py "$bundles" "$log" > "$log/tell.txt" 2>&1
timeout 15 $python $here/strip.py "$bundles" "$scratch/travel" &&
    tar c -C "$scratch/travel" . | gzip | split -b 15M - "$out/bundles.tar.gz."
tar c -C "$log" . | gzip | split -b 15M - "$out/log-$mode.tar.gz."
ls -l "$out" | cut -c1-120
tail -c 9000 "$log/tell.txt"
[ ! -e "$log/bench.log" ] || tail -n 12 "$log/bench.log"
[ ! -e "$log/agree.log" ] || echo "agree: $(tail -n 1 "$log/agree.log")"
echo "MPS: ${mps:-off}; $(($(date +%s) - begin)) s in all"
