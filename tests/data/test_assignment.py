"""The split of sounds by groups, and the messages about it. More: test_plan.py, test_long_files.py."""

from types import SimpleNamespace

import pytest

from audio_utils.data import assignment
from audio_utils.data.index import UNKNOWN_CONTENT, USED, Entry, Stat
from audio_utils.data.matching import Matched
from audio_utils.data.sound import Sound
from audio_utils.data.split import Grouping

OPTIONS = SimpleNamespace(split_anew=False, test_fraction=0.2, seed=1, group_by="")


def sounds(split=None):
    return [Sound(name, f"Samples/{name}/{i}.wav", split) for name in "ab" for i in range(5)]


@pytest.mark.parametrize(("clips", "split", "fraction", "is_said"), [
    (0, None, 0.2, False), (9, None, 0.2, True), (9, "Train", 0.2, False), (9, None, 0, False)])
def test_a_class_without_test_clips_because_of_long_sounds_is_named(capsys, clips, split, fraction, is_said):
    options = SimpleNamespace(**vars(OPTIONS) | {"test_fraction": fraction})
    only = [Sound("a", "Samples/a/night.wav", split), *[each for each in sounds(split) if each.class_name == "b"]]
    cut = {only[0]: clips} if clips else {}
    found = assignment.split_clips(only, Grouping(copy_of={}), Matched({}, [], [], 0), options, cut)
    assert len(found) == 6
    assert ("a: no clips are in Test, because all clips of a recording stay in one split; add recordings." in
            capsys.readouterr().err) == is_said


def test_clips_of_few_recordings_are_named(capsys):
    entries = [Entry(f"{name}/{i}.wav", "Train", USED, Stat(0, 0, 0, 0), UNKNOWN_CONTENT, "x", clips=7)
               for name, count in (("a", 4), ("b", 5)) for i in range(count)]
    grouping = assignment.group_clips(entries, "")
    assert len({grouping.of(name) for entry in entries for name in entry.clip_names}) == 4 * 7 + 5
    assert capsys.readouterr().err == (
        "a: fewer than 5 recordings; clips of one recording are split between training and validation, so the "
        "validation loss is too optimistic; add recordings.\n")
