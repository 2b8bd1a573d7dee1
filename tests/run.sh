#!/usr/bin/env bash
# All tests, on a machine with nothing but Python and the package index: bash tests/run.sh [pytest's arguments]
set -euo pipefail
. "$(dirname "$0")/../audio_utils/environment.sh" requirements.txt tests/requirements.txt

cd "$suite"
"$python" -m ruff check .
exec "$python" -m pytest -n 2 --dist worksteal -p no:cacheprovider -W ignore::DeprecationWarning tests "$@"
