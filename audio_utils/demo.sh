#!/usr/bin/env bash
# Installs the requirements and runs the whole pipeline in a new folder demo/: it classifies noise by its direction.
#
#     bash audio_utils/demo.sh
set -euo pipefail
. "$(dirname "$0")/runtime/environment.sh" requirements.txt

if [ -e demo ]; then
    echo "demo: already exists; rename it and run the demo again." >&2
    exit 1
fi
mkdir demo && cd demo
step() { echo; echo "\$ python $*"; "$python" "$suite/$1" "${@:2}"; }
started=$SECONDS

step audio_utils/make_samples.py --seconds 8 --count 5        # 15 independent noises
step audio_utils/binauralify.py 12 ./*.wav                    # each from 12 directions around a dummy head
step audio_utils/split_audio.py 2 e0*/*.wav -r                # into clips of 2 seconds
mkdir Samples && mv e0* Samples/                              # one class per direction; a noise is in Train or in Test
step preprocess_data.py
step train_network.py --epochs 12
step eval_network.py

"$python" - "$((SECONDS - started))" <<'END'
import json
import sys

scores = json.load(open("scores.json"))
print(f"\nIn {sys.argv[1]} s, the network learned to identify {len(scores['classes'])} directions: its accuracy on "
      f"{scores['files']} test clips is {scores['accuracy']:.1%}; see demo/confusion_matrix.png.")
END

echo
echo "To classify your own sounds, put them into Samples/<class>/ and type:"
[ -n "${VIRTUAL_ENV:-}" ] || printf '    source %q\n' "$suite/.venv/bin/activate"
printf '    python %q\n' "$suite/audio_utils/inspect_samples.py" "$suite/preprocess_data.py"
