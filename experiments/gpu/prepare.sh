#!/bin/bash
# Makes what the campaign needs beside the tracked files, on a machine with a network and TensorFlow, in the root of the
# repository:
#
#     bash experiments/gpu/prepare.sh [BUDGET] [PRECISION]       # full bfloat16, or quick; a rehearsal: smoke float32
#
#     .whl/        wheels that the GPU machine lacks (Python 3.12, Linux)
#     data/        CIFAR-10, where `harness data` finds it
#     recorded/    what TensorFlow computed, for the agreement of the engines
#     campaign/    the lists of runs; they name the code that they were planned with, so commit first
#
# PYTHON: an environment with the harness, .venv by default. SEEDS: other seeds than those declared, for a rehearsal.

set -eu
budget=${1:-full}
precision=${2:-bfloat16}
python=${PYTHON:-.venv/bin/python}
export PYTHONPATH="$PWD${PYTHONPATH:+:$PYTHONPATH}"
if [ "$budget" != smoke ] && [ -z "${SEEDS:-}" ] && [ -n "$(git status --porcelain)" ]; then
    echo "There are changes that are in no commit (\`git status\`), and runs of such code are no evidence: commit first." >&2
    exit 2
fi
mkdir -p .whl data campaign

# With two versions of a package in the folder, pip would install neither.
wheels="keras==3.15.1 namex==0.1.0 optree==0.20.0 platformdirs==4.14.7"
wheels="$wheels pydantic==2.14.3 pydantic-core==2.50.4 annotated-types==0.8.0 typing-inspection==0.4.5"
if [ "$(cat .whl/list 2> /dev/null)" != "$wheels" ]; then
    rm -f .whl/*
    "$python" -m pip download -q --no-deps --only-binary=:all: --python-version 3.12 --implementation cp \
        --platform manylinux_2_28_x86_64 --platform manylinux_2_27_x86_64 --platform manylinux_2_17_x86_64 \
        --platform manylinux2014_x86_64 -d .whl $wheels
    echo "$wheels" > .whl/list
fi

source=$("$python" -c 'from harness.data.loader import find; found = find(); print(found.path if found else "")')
case $source in
    "") echo "There is no CIFAR-10 here: \`harness data\` downloads it." >&2; exit 2 ;;
    "$PWD"/data | "$PWD"/data/*) ;;
    *) rm -rf data/cifar10; if [ -d "$source" ]; then cp -rL --no-preserve=mode "$source" data/cifar10; else cp -L "$source" data/; fi ;;
esac

# Recorded anew if the engines have changed.
if [ ! -e recorded/dropout.npz ] || [ -n "$(find harness/engine tests/on_jax -name '*.py' -newer recorded/dropout.npz)" ]; then
    rm -rf recorded
    PYTHON=$python sh experiments/gpu.sh record > /dev/null
fi

"$python" -m experiments.gpu.plan campaign "$budget" "$precision"
{ git rev-parse HEAD; git status --porcelain; } > campaign/commit.txt
printf 'budget=%s precision=%s\n' "$budget" "$precision" > campaign/settings
du -ksc .whl data recorded campaign
echo "and $(git ls-files -z | xargs -0 du -kc | tail -n 1 | cut -f 1) kB of tracked files"
