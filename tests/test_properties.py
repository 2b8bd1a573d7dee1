"""Properties of every sound and every data set: the reader, the melgram and the split, on random examples."""

import dataclasses
import shutil
import tempfile
from collections import Counter, defaultdict
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from audio_utils.audio import audio_io, melgram, resampling
from audio_utils.audio.melgram import MelgramSettings
from audio_utils.data import preproc, split
from audio_utils.data.sounds import find_sounds
from audio_utils.data.split import Grouping

pytestmark = pytest.mark.slow
settings.register_profile("panotti", derandomize=True, database=None, deadline=None, max_examples=60,
                          suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("panotti")

LOSSLESS = {("wav", "PCM_16"): 2 ** -15, ("wav", "PCM_24"): 2 ** -22, ("wav", "FLOAT"): 0, ("wav", "DOUBLE"): 0,
            ("wav", "PCM_U8"): 2 ** -7, ("flac", "PCM_16"): 2 ** -15, ("flac", "PCM_24"): 2 ** -22,
            ("aiff", "PCM_16"): 2 ** -15, ("aiff", "FLOAT"): 0}  # format → the maximum error
RATES = st.sampled_from([100, 7919, 8000, 11025, 22050, 44100, 48000, 96000, 192000])


def noise(channels, samples, seed):
    """float32 (channels, samples), with the first sample at one end of the range and the last at the other."""
    audio = np.random.default_rng(seed).uniform(-1, 1, (channels, samples)).astype(np.float32)
    audio[:, -1], audio[:, 0] = 1, -1
    return audio


audio_signals = st.builds(noise, st.integers(1, 8), st.integers(1, 3000), st.integers(0, 99))


# --- the reader ------------------------------------------------------------------------------------------------------

@given(audio_signals, RATES, st.sampled_from(sorted(LOSSLESS)), st.integers(0, 3100), st.integers(0, 3100))
def test_written_audio_is_read_back(audio, rate, kind, start, samples):
    extension, subtype = kind
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / f"a tone.{extension}"
        audio_io.write(path, audio, rate, subtype)
        back, its_rate = audio_io.read(path)
        part, _ = audio_io.read(path, start, samples)
        assert audio_io.info(path)[:3] == (audio.shape[1], rate, len(audio))
    assert (back.dtype, back.shape, its_rate) == (np.float32, audio.shape, rate)
    assert back.flags.c_contiguous
    assert np.abs(back - audio).max() <= LOSSLESS[kind]
    assert np.array_equal(part, back[:, start:start + samples])


@given(st.sampled_from([("ogg", 8), ("mp3", 2)]), st.integers(1, 8), st.integers(1, 3000),
       st.sampled_from([8000, 16000, 44100]))
def test_lossy_formats_keep_rate_and_channels(kind, channels, samples, rate):
    extension, max_channels = kind
    audio = noise(min(channels, max_channels), samples, 0)
    with tempfile.TemporaryDirectory() as folder:
        audio_io.write(Path(folder) / f"x.{extension}", audio, rate)
        back, its_rate = audio_io.read(Path(folder) / f"x.{extension}")
    assert (len(back), its_rate) == (len(audio), rate)
    assert back.shape[1] == samples
    assert np.isfinite(back).all()


@given(audio_signals, st.integers(1000, 50_000), st.integers(1000, 50_000))
def test_resampling_is_independent_for_each_channel(audio, from_rate, to_rate):
    together = resampling.resample(audio, from_rate, to_rate)
    assert together.shape == (len(audio), -(-audio.shape[1] * to_rate // from_rate))
    separate = [resampling.resample(channel[np.newaxis], from_rate, to_rate)[0] for channel in audio]
    assert np.allclose(together, separate, atol=1e-5)


# --- the melgram -----------------------------------------------------------------------------------------------------

melgram_settings = st.builds(MelgramSettings.of, st.sampled_from([4000, 8000, 11025]), st.integers(1, 5000),
                             st.integers(1, 4), st.integers(1, 40), st.floats(1, 100), st.floats(1, 100))


@given(melgram_settings)
def test_settings_are_read_back_from_their_dictionary(wanted):
    assert MelgramSettings.from_dict(wanted.to_dict(), "here", "remedy") == wanted
    assert wanted.bytes == np.zeros(wanted.shape, np.float32).nbytes


@given(audio_signals, st.sampled_from([4000, 8000, 22050]), melgram_settings)
def test_melgrams_of_all_sounds_have_the_same_shape(audio, rate, wanted):
    audio = audio[:wanted.channels] if wanted.channels > 1 else audio
    found = melgram.melgram(melgram.conform(audio, rate, wanted), wanted)
    assert (found.dtype, found.shape) == (np.float32, wanted.shape)
    assert found.flags.c_contiguous
    assert np.isfinite(found).all()
    assert np.ptp(found, axis=(0, 1)).max() <= melgram.TOP_DB + 1e-3


@given(audio_signals, melgram_settings)
def test_melgrams_are_independent_for_each_channel(audio, wanted):
    together = melgram.melgram(audio, wanted)
    for index, channel in enumerate(audio):
        assert np.allclose(together[:, :, index], melgram.melgram(channel[np.newaxis], wanted)[:, :, 0], atol=1e-3)


@given(audio_signals, st.sampled_from([4000, 8000, 22050]), melgram_settings, st.data())
def test_a_dc_offset_in_any_channel_changes_nothing(audio, rate, wanted, data):
    """Below the maximum by up to 60 dB; the rest of the tolerance is the rounding of the samples with the offset."""
    audio = audio[:wanted.channels] if wanted.channels > 1 else audio
    offsets = [data.draw(st.floats(0.001, 0.5)) * data.draw(st.sampled_from([-1, 0, 1])) for _ in audio]
    moved = (audio + np.array([offsets]).T).astype(np.float32)
    before, after = (melgram.melgram(melgram.conform(each, rate, wanted), wanted) for each in (audio, moved))
    audible = before > max(before.max() - 60, melgram.SILENT_DB + 20)
    assert np.abs(before - after)[audible].max(initial=0) < 0.01


@given(audio_signals, melgram_settings, st.floats(-20, 0))
def test_a_gain_shifts_the_melgram_by_its_db(audio, wanted, gain_db):
    louder = melgram.melgram(audio, wanted)
    softer = melgram.melgram(audio * np.float32(10 ** (gain_db / 20)), wanted)
    above_floor = (softer > -90) & (louder > louder.max(axis=(0, 1)) - melgram.TOP_DB + 1)
    assert np.allclose(softer[above_floor], louder[above_floor] + gain_db, atol=0.01)


# --- the split -------------------------------------------------------------------------------------------------------

def named(counts, copies):
    """Names of files. counts: the number of clips of each recording of each class; copies: clips that are augmented."""
    names = [f"c{index}/r{index}-{recording}_s{clip}" for index, recordings in enumerate(counts)
             for recording, clips in enumerate(recordings) for clip in range(1, clips + 1)]
    return [f"{name}.wav" for name in names] + [f"{names[i % len(names)]}_aug{1 + i % 3}.wav" for i in copies if names]


data_sets = st.builds(named, st.lists(st.lists(st.integers(1, 4), min_size=1, max_size=12), min_size=1, max_size=4),
                      st.lists(st.integers(0, 200), max_size=10, unique=True))
fractions = st.floats(0.05, 0.5)
patterns = ["", r"_s\d+$", r"-(\d+)_"]  # the last one groups sounds of several classes
recordings = st.dictionaries(st.integers(0, 4).flatmap(lambda i: st.builds("c{0}/r{0}-{1}_s{2}.wav".format, st.just(i),
                             st.integers(0, 11), st.integers(1, 4))), st.sampled_from("xyz"), max_size=20)
groupings = st.builds(Grouping, st.sampled_from(patterns), recordings=recordings)


def splits_of_groups(held_out, grouping):
    """group → the set of values of its originals in `held_out`."""
    found = defaultdict(set)
    for name, is_held_out in held_out.items():
        if not Grouping().is_copy(name):
            found[grouping.of(name)].add(is_held_out)
    return found


@given(data_sets, fractions, st.integers(), groupings, st.randoms())
def test_the_split_does_not_depend_on_the_order_of_the_names(names, fraction, seed, grouping, random):
    shuffled = random.sample(names, len(names))
    assert split.hold_out(shuffled, {}, fraction, seed, grouping) == split.hold_out(names, {}, fraction, seed, grouping)


@given(data_sets, fractions, st.integers(), groupings)
def test_groups_are_in_one_split_and_copies_follow_their_parents(names, fraction, seed, grouping):
    held_out = split.hold_out(names, {}, fraction, seed, grouping)
    assert held_out.keys() == set(names)
    groups = splits_of_groups(held_out, grouping)
    assert all(len(each) == 1 for each in groups.values())
    for name in filter(Grouping().is_copy, names):
        parent_is_held_out = groups[grouping.of(name)] == {True}
        assert held_out[name] is (None if parent_is_held_out else False)  # never held out themselves


@settings(max_examples=300)
@given(data_sets, st.floats(0.05, 0.9), st.integers(), groupings)
def test_every_class_keeps_sounds_to_train_on(names, fraction, seed, grouping):
    held_out = split.hold_out(names, {}, fraction, seed, grouping)
    classes = {name.partition("/")[0] for name in names}
    assert {name.partition("/")[0] for name, is_held_out in held_out.items() if is_held_out is False} == classes


@given(data_sets, fractions, st.integers())
def test_the_fraction_holds_in_each_class(names, fraction, seed):
    held_out = split.hold_out(names, {}, fraction, seed, Grouping())
    originals = [name for name in names if not Grouping().is_copy(name)]
    totals = Counter(name.partition("/")[0] for name in originals)
    counts = Counter(name.partition("/")[0] for name in originals if held_out[name])
    assert all(counts[each] == (max(1, round(total * fraction)) if total > 1 else 0) for each, total in totals.items())


@given(data_sets, data_sets, fractions, fractions, st.integers(), st.integers(), groupings)
def test_assigned_sounds_stay(names, more, fraction, other_fraction, seed, other_seed, grouping):
    first = split.hold_out(names, {}, fraction, seed, grouping)
    before = {name: is_held_out for name, is_held_out in first.items() if is_held_out is not None}
    after = split.hold_out(sorted({*names, *more}), before, other_fraction, other_seed, grouping)
    assert all(after[name] is is_held_out for name, is_held_out in before.items())
    assert all(len(each) == 1 for each in splits_of_groups(after, grouping).values())


@settings(max_examples=20)
@given(data_sets, fractions, st.integers(), groupings)
def test_sounds_with_a_melgram_stay(names, fraction, seed, grouping):
    """The same through the files of Samples/ and Preproc/, as in preprocess_data.py."""
    with tempfile.TemporaryDirectory() as folder:
        for name in names:
            path = Path(folder, "Samples", name)
            path.parent.mkdir(parents=True, exist_ok=True)
            path.touch()
        sounds, _ = find_sounds(Path(folder, "Samples"))
        copy_of = {sound.name: sound.copy_of for sound in sounds if sound.copy_of}
        grouping = dataclasses.replace(grouping, copy_of=copy_of)
        first = split.split_sounds(sounds, {}, fraction, seed, grouping)
        for sound, assigned in zip(sounds, first, strict=True):
            if assigned:
                path = preproc.melgram_path(folder, assigned, sound.name)
                path.parent.mkdir(parents=True, exist_ok=True)
                path.touch()
        before = {name: assigned for assigned, name in preproc.find_melgrams(folder)}
        assert split.split_sounds(sounds, before, 0.5, seed + 1, grouping) == first
        shutil.rmtree(Path(folder, "Samples"))
    assert not any(Grouping().is_copy(name) for name, assigned in before.items() if assigned == "Test")
