#!/usr/bin/env bash
# Runs all tests, on a machine with only Python and access to the package index: bash tests/run.sh [pytest's arguments]
# `bash tests/run.sh --quick` skips the slow ones and takes about a minute.
set -euo pipefail
. "$(dirname "$0")/../audio_utils/runtime/environment.sh" requirements.txt tests/requirements.txt

if [ "${1:-}" = --quick ]; then
    shift
    set -- -m "not slow" "$@"
fi
cd "$suite"
"$python" -m ruff check .
exec "$python" -m pytest -n 2 --dist worksteal -p no:cacheprovider -W ignore::DeprecationWarning tests "$@"
