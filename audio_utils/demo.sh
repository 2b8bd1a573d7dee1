#!/usr/bin/env bash
# Installs the requirements and runs the whole pipeline in a new folder demo/: it classifies noise by its direction.
#
#     bash audio_utils/demo.sh
set -euo pipefail
. "$(dirname "$0")/runtime/environment.sh" requirements.txt

if [ -e demo ]; then
    echo "The packages are installed; nothing more is needed." >&2
    echo "demo: already exists; rename or delete it, and run the demo again." >&2
    exit 1
fi
mkdir demo && cd demo
step() { echo; echo "\$ python $*"; "$python" "$suite/$1" ${@:2}; }  # not quoted: * is expanded after it is printed
started=$SECONDS

step audio_utils/make_samples.py --seconds 8 --count 5        # 15 independent noises
step audio_utils/binauralify.py 12 '*.wav'                    # each from 12 directions around a dummy head
echo "(e0a30 is the direction with elevation 0° and azimuth 30°.)"
step audio_utils/split_audio.py 2 'e0*/*.wav' -r              # into clips of 2 seconds
mkdir Samples && mv e0* Samples/                              # one class per direction; a noise is in Train or in Test
step preprocess_data.py
step train_network.py --epochs 10
step eval_network.py

"$python" - "$((SECONDS - started))" <<'END'
import json
import sys

scores = json.load(open("scores.json"))
print(f"\nIn {sys.argv[1]} s, the network learned to identify {len(scores['classes'])} directions: its accuracy on\n"
      f"{scores['files']} test clips is {scores['accuracy']:.1%}; see demo/confusion_matrix.png.")
END

echo
echo "To classify your own sounds, put them into Samples/<class>/ in a folder of"
echo "your own, and type there:"
[ -n "${VIRTUAL_ENV:-}" ] || printf '    source %q\n' "$suite/.venv/bin/activate"
for script in audio_utils/inspect_samples.py preprocess_data.py train_network.py eval_network.py; do
    printf '    python %q\n' "$suite/$script"
done
