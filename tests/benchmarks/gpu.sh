#!/usr/bin/env bash
# Measure the suite on an NVIDIA GPU, in less than 8 minutes: training with JAX and torch, and resuming a killed run.
#
#     bash tests/benchmarks/gpu.sh [flag value]...
#       --wheels FOLDER       install the wheels in it into a temporary folder; the environment stays as it is
#       --clips 1667          clips of each of the 12 classes
#       --seconds 90          training time for each backend, start-up included
#       --resume-clips 4000   clips per epoch in the runs that are killed and resumed
#       --backends "jax torch"
#       --limit PART=SECONDS  another time limit for a part; may be repeated: install, sounds, melgrams,
#                             train-jax, steps-jax, plain-jax, resume-jax, train-torch, ...
#       --total 468           time limit in seconds for all parts together
#
# Reads   the wheels. It needs Python ($PYTHON, or python3) with JAX or torch, numpy, scipy, h5py, numba, scikit-learn,
#         matplotlib, jinja2, tqdm and pillow; neither network access nor TensorFlow nor librosa. Without a GPU,
#         it is a dry run on the CPU, for which --clips 12 --seconds 40 --resume-clips 200 is enough.
# Writes  gpu_benchmark/table.md, log.txt and results/*.json in the working directory
#
# The wheels, for Python 3.12 on Linux, from a machine with network access:
#     python3 -m pip download --no-deps --only-binary=:all: --python-version 3.12 --implementation cp \
#       --platform manylinux_2_28_x86_64 --platform manylinux_2_27_x86_64 --platform manylinux_2_17_x86_64 \
#       --platform manylinux2014_x86_64 -d FOLDER "keras>=3.14,<4" namex optree soundfile cffi pycparser soxr \
#       python-stretch absl-py rich markdown-it-py mdurl pygments typing-extensions
set -uo pipefail

wheels="" clips=1667 seconds=90 resume_clips=4000 backends="jax torch" total=468
declare -A limits=()
while (($#)); do
    case $1 in
        -h|--help) sed -n '2,/^set/{/^set/d; s/^# \{0,1\}//; p}' "$0"; exit ;;
        --limit) : "${2:?$1 needs a value}"; limits[${2%%=*}]=${2#*=} ;;
        --wheels|--clips|--seconds|--resume-clips|--backends|--total)
            name=${1#--}; printf -v "${name//-/_}" %s "${2:?$1 needs a value}" ;;
        *) echo "$1: is not a flag; see --help." >&2; exit 2 ;;
    esac; shift 2
done
[[ -z $wheels ]] || wheels=$(cd "$wheels" && pwd) || exit 1

suite=$(cd "$(dirname "$0")/../.." && pwd) python=${PYTHON:-python3} out=$PWD/gpu_benchmark work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
rm -rf "$out/results" && mkdir -p "$out/results" || exit 1
export PYTHONPATH=$work/site${PYTHONPATH:+:$PYTHONPATH}

part() {  # name, limit in seconds, command: run it within the limit and the remaining total
    local name=$1 limit=${limits[$1]:-$2} left=$((total - SECONDS)) start=$SECONDS status=0 outcome=done
    shift 2; ((limit < left)) || limit=$left
    printf '\n== %s (at %d s, limit %d s)\n' "$name" "$SECONDS" "$limit"
    if ((limit < 1)); then
        outcome="not run: the total of $total s was used up"
    else
        timeout -k 2 "$limit" "$@" </dev/null || status=$?
        case $status in
            0) ;;
            124|137) outcome="cut off by its limit of $limit s" ;;
            *) outcome="failed with exit status $status; see log.txt" ;;
        esac
    fi
    echo "$name|$((SECONDS - start))|$outcome" | tee -a "$out/results/parts.txt"
}

gpu() { part "$1-$2" "$3" "$python" "$suite/tests/benchmarks/gpu.py" "$1" "$2" "${flags[@]}"; }

{
    cd "$work" || exit 1
    flags=(--results "$out/results" --seconds "$seconds" --resume-clips "$resume_clips")
    [[ -z $wheels ]] || part install 40 "$python" -m pip install -q --no-index --no-deps --no-compile \
        --find-links "$wheels" --target "$work/site" "$wheels"/*.whl
    part sounds 100 "$python" "$suite/tests/benchmarks/guitar_effects.py" "$clips"
    part melgrams 60 "$python" "$suite/preprocess_data.py"
    for backend in $backends; do gpu train "$backend" $((seconds + 15)); done
    for backend in $backends; do gpu steps "$backend" 60; done
    for backend in $backends; do  # concurrently on a GPU: no speed is measured
        gpu resume "$backend" 120 | sed -u "s/^/$backend: /" &
        command -v nvidia-smi >/dev/null || wait
    done; wait
    for backend in $backends; do gpu plain "$backend" 60; done
    timeout 10 "$python" "$suite/tests/benchmarks/gpu_table.py" "${backends// /,}" --results "$out/results" |
        tee "$out/table.md"
} 2>&1 | tee "$out/log.txt"
