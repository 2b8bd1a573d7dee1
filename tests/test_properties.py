"""What holds for every sound and every data set: the reader, the melgram and the split on drawn examples."""

import shutil
import tempfile
from collections import Counter, defaultdict
from pathlib import Path

import numpy as np
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from audio_utils import audio_io, dataset, melgram
from audio_utils.melgram import MelgramSettings

settings.register_profile("panotti", derandomize=True, database=None, deadline=None, max_examples=60,
                          suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("panotti")

LOSSLESS = {("wav", "PCM_16"): 2 ** -15, ("wav", "PCM_24"): 2 ** -22, ("wav", "FLOAT"): 0, ("wav", "DOUBLE"): 0,
            ("wav", "PCM_U8"): 2 ** -7, ("flac", "PCM_16"): 2 ** -15, ("flac", "PCM_24"): 2 ** -22,
            ("aiff", "PCM_16"): 2 ** -15, ("aiff", "FLOAT"): 0}  # format → the largest error
RATES = st.sampled_from([100, 7919, 8000, 11025, 22050, 44100, 48000, 96000, 192000])


def noise(channels, samples, seed):
    """float32 (channels, samples), its first sample at the one end of the range and its last at the other."""
    audio = np.random.default_rng(seed).uniform(-1, 1, (channels, samples)).astype(np.float32)
    audio[:, -1], audio[:, 0] = 1, -1
    return audio


sounds = st.builds(noise, st.integers(1, 8), st.integers(1, 3000), st.integers(0, 99))


# --- the reader ------------------------------------------------------------------------------------------------------

@given(sounds, RATES, st.sampled_from(sorted(LOSSLESS)), st.integers(0, 3100), st.integers(0, 3100))
def test_what_was_written_is_read(audio, rate, kind, start, samples):
    extension, subtype = kind
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / f"ein Ton.{extension}"
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
    extension, most = kind
    audio = noise(min(channels, most), samples, 0)
    with tempfile.TemporaryDirectory() as folder:
        audio_io.write(Path(folder) / f"x.{extension}", audio, rate)
        back, its_rate = audio_io.read(Path(folder) / f"x.{extension}")
    assert (len(back), its_rate) == (len(audio), rate)
    assert back.shape[1] == samples
    assert np.isfinite(back).all()


@given(sounds, st.integers(1000, 50_000), st.integers(1000, 50_000))
def test_resampling_treats_each_channel_by_itself(audio, from_rate, to_rate):
    together = audio_io.resample(audio, from_rate, to_rate)
    assert together.shape == (len(audio), -(-audio.shape[1] * to_rate // from_rate))
    alone = [audio_io.resample(channel[np.newaxis], from_rate, to_rate)[0] for channel in audio]
    assert np.allclose(together, alone, atol=1e-5)


# --- the melgram -----------------------------------------------------------------------------------------------------

melgram_settings = st.builds(MelgramSettings.of, st.sampled_from([4000, 8000, 11025]), st.integers(1, 5000),
                             st.integers(1, 4), st.integers(1, 40), st.floats(1, 100), st.floats(1, 100))


@given(melgram_settings)
def test_settings_come_back_from_json(wanted):
    assert MelgramSettings.from_dict(wanted.to_dict(), "here") == wanted
    assert wanted.bytes == np.zeros(wanted.shape, np.float32).nbytes


@given(sounds, st.sampled_from([4000, 8000, 22050]), melgram_settings)
def test_every_sound_has_a_melgram_of_the_shape_of_all(audio, rate, wanted):
    audio = audio[:wanted.channels] if wanted.channels > 1 else audio
    found = melgram.melgram(melgram.conform(audio, rate, wanted), wanted)
    assert (found.dtype, found.shape) == (np.float32, wanted.shape)
    assert found.flags.c_contiguous
    assert np.isfinite(found).all()
    assert np.ptp(found, axis=(0, 1)).max() <= melgram.TOP_DB + 1e-3


@given(sounds, melgram_settings)
def test_each_channel_is_as_it_would_be_alone(audio, wanted):
    together = melgram.melgram(audio, wanted)
    for place, channel in enumerate(audio):
        assert np.allclose(together[:, :, place], melgram.melgram(channel[np.newaxis], wanted)[:, :, 0], atol=1e-3)


@given(sounds, melgram_settings, st.floats(-20, 0))
def test_level_in_is_level_out(audio, wanted, gain_db):
    louder = melgram.melgram(audio, wanted)
    softer = melgram.melgram(audio * np.float32(10 ** (gain_db / 20)), wanted)
    heard = (softer > -90) & (louder > louder.max(axis=(0, 1)) - melgram.TOP_DB + 1)  # beyond the floor of either
    assert np.allclose(softer[heard], louder[heard] + gain_db, atol=0.01)


# --- the split -------------------------------------------------------------------------------------------------------

def named(counts, copies):
    """Names of files: class → how many recordings of how many clips, some of them with augmented copies."""
    names = [f"c{place}/r{place}-{recording}_s{clip}" for place, recordings in enumerate(counts)
             for recording, clips in enumerate(recordings) for clip in range(1, clips + 1)]
    return [f"{name}.wav" for name in names] + [f"{names[i % len(names)]}_aug{1 + i % 3}.wav" for i in copies if names]


data_sets = st.builds(named, st.lists(st.lists(st.integers(1, 4), min_size=1, max_size=12), min_size=1, max_size=4),
                      st.lists(st.integers(0, 200), max_size=10, unique=True))
fractions = st.floats(0.05, 0.5)
patterns = st.sampled_from(["", r"_s\d+$", r"-(\d+)_"])  # the last makes siblings across classes


def groups_of(dealt, pattern):
    """group → the set of sides of its originals."""
    sides = defaultdict(set)
    for name, held in dealt.items():
        if not dataset.is_augmented(name):
            sides[dataset.group_of(name, pattern)].add(held)
    return sides


@given(data_sets, fractions, st.integers(), patterns, st.randoms())
def test_the_deal_depends_on_the_names_alone(names, fraction, seed, pattern, random):
    shuffled = random.sample(names, len(names))
    assert dataset.deal(shuffled, {}, fraction, seed, pattern) == dataset.deal(names, {}, fraction, seed, pattern)


@given(data_sets, fractions, st.integers(), patterns)
def test_groups_are_on_one_side_and_copies_with_their_parents(names, fraction, seed, pattern):
    dealt = dataset.deal(names, {}, fraction, seed, pattern)
    assert dealt.keys() == set(names)
    sides = groups_of(dealt, pattern)
    assert all(len(each) == 1 for each in sides.values())
    for name in filter(dataset.is_augmented, names):
        held = sides[dataset.group_of(name, pattern)] == {True}
        assert dealt[name] is (None if held else False)  # never among those held out


@settings(max_examples=300)
@given(data_sets, st.floats(0.05, 0.9), st.integers(), patterns)
def test_every_class_is_left_some_to_train_on(names, fraction, seed, pattern):
    dealt = dataset.deal(names, {}, fraction, seed, pattern)
    classes = {name.partition("/")[0] for name in names}
    assert {name.partition("/")[0] for name, held in dealt.items() if held is False} == classes


@given(data_sets, fractions, st.integers())
def test_each_class_is_dealt_by_the_fraction(names, fraction, seed):
    dealt = dataset.deal(names, {}, fraction, seed)
    originals = [name for name in names if not dataset.is_augmented(name)]
    totals = Counter(name.partition("/")[0] for name in originals)
    held = Counter(name.partition("/")[0] for name in originals if dealt[name])
    assert all(held[each] == (max(1, round(total * fraction)) if total > 1 else 0) for each, total in totals.items())


@given(data_sets, data_sets, fractions, fractions, st.integers(), st.integers(), patterns)
def test_who_was_dealt_stays(names, more, fraction, other_fraction, seed, other_seed, pattern):
    before = {name: held for name, held in dataset.deal(names, {}, fraction, seed, pattern).items() if held is not None}
    after = dataset.deal(sorted({*names, *more}), before, other_fraction, other_seed, pattern)
    assert all(after[name] is held for name, held in before.items())
    assert all(len(sides) == 1 for sides in groups_of(after, pattern).values())


@given(data_sets, fractions, st.integers(), patterns)
def test_who_has_a_melgram_stays_through_the_files(names, fraction, seed, pattern):
    """The same through Samples/ and Preproc/, as preprocess_data.py has it."""
    with tempfile.TemporaryDirectory() as folder:
        for name in names:
            path = Path(folder, "Samples", name)
            path.parent.mkdir(parents=True, exist_ok=True)
            path.touch()
        sounds, _ = dataset.find_sounds(Path(folder, "Samples"))
        first = dataset.split(sounds, {}, fraction, seed, pattern)
        for sound, side in zip(sounds, first, strict=True):
            if side:
                path = dataset.melgram_path(folder, side, sound.name)
                path.parent.mkdir(parents=True, exist_ok=True)
                path.touch()
        before = {name: side for side, name in dataset.find_melgrams(folder)}
        assert dataset.split(sounds, before, 0.5, seed + 1, pattern) == first
        shutil.rmtree(Path(folder, "Samples"))
    assert not any(dataset.is_augmented(name) for name, side in before.items() if side == "Test")
