#!/usr/bin/env bash
# Set-up and the whole pipeline on generated sounds, in a folder demo/ of its own: which way does the noise come from?
#
#     bash audio_utils/demo.sh
set -euo pipefail
. "$(dirname "$0")/environment.sh" requirements.txt

if [ -e demo ]; then
    echo "demo: is here already; move it away and run the demo again." >&2
    exit 1
fi
mkdir demo && cd demo
step() { echo; echo "\$ python $*"; "$python" "$suite/$1" "${@:2}"; }
started=$SECONDS

step audio_utils/make_samples.py --seconds 30                 # white, brown and pink noise, and a square wave
step audio_utils/binauralify.py 12 ./*.wav                    # each from 12 directions around a dummy head
step audio_utils/split_audio.py 2 e0*/*.wav -r                # into clips of 2 seconds
mkdir Samples && mv e0* Samples/                              # a class for each direction
step preprocess_data.py
step train_network.py --epochs 12
step eval_network.py

"$python" - "$((SECONDS - started))" <<'END'
import json
import sys

scores = json.load(open("scores.json"))
print(f"\nAfter {sys.argv[1]} s the network tells {len(scores['classes'])} directions apart in "
      f"{scores['accuracy']:.1%} of {scores['files']} clips that it had never heard; look at demo/confusion_matrix.png.")
END
