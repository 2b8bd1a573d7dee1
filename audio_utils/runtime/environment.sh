# Sourced by demo.sh and tests/run.sh: sets $python, and installs the requirements files given as arguments.
# If no virtual environment is active, it creates .venv in the suite's folder.
suite=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
supported='import sys, venv, ensurepip; sys.exit(not (3, 11) <= sys.version_info < (3, 14))'

if [ -n "${VIRTUAL_ENV:-}" ]; then
    python=$VIRTUAL_ENV/bin/python
    "$python" -c "$supported" 2>/dev/null || {
        echo "$VIRTUAL_ENV: does not contain Python 3.11, 3.12 or 3.13; type deactivate, and the same command again." >&2
        exit 1
    }
else
    if [ ! -x "$suite/.venv/bin/python" ]; then
        for base in python3 python3.13 python3.12 python3.11 none; do
            [ $base = none ] && { echo "Panotti needs Python 3.11, 3.12 or 3.13; install one of them." >&2; exit 1; }
            "$base" -c "$supported" 2>/dev/null && break
        done
        echo "Creating .venv with $("$base" --version) …"
        "$base" -m venv "$suite/.venv"
    fi
    python=$suite/.venv/bin/python
fi

wanted=()
for file in "$@"; do
    wanted+=(-r "$suite/$file")
done
if ! "$python" -m pip install --quiet --no-index "${wanted[@]}" 2>/dev/null; then  # succeeds if nothing is missing
    echo "Installing packages: up to 0.7 GB to download and 2.6 GB on disk; this takes"
    echo "some minutes …"
    "$python" -m pip install --disable-pip-version-check "${wanted[@]}" | while read -r line; do
        case $line in  # of 230 lines, those that show the progress
            Downloading*" MB)") echo "$line" ;;
            "Installing collected packages"*) echo "Installing all of them …" ;;
            "Successfully installed"*) echo "All packages are installed." ;;
        esac
    done
fi
