"""Copies that are changed as drawn and not otherwise: what is heard, what differs between channels, and the files."""

import resource
import shutil
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
import soundfile
from conftest import ROOT, sine, write

import augment_data
from audio_utils.command_line import parse

RATE = 44100
GAUSSIAN = {"noise": 0.005, "gaussian": True, "noise_seed": 1}
UNIFORM = {"noise": 0.005, "gaussian": False, "noise_seed": 1}
ALONE = [{"speed": 0.9}, {"speed": 1.1}, {"pitch_semitones": -2}, {"pitch_semitones": 2}, {"tempo": 0.9},
         {"tempo": 1.1}, {"level_db": -6}, GAUSSIAN, UNIFORM, {"shift": 0.2}, {"shift": -0.2}]


def options(n=3, *flags):
    return parse(vars(augment_data), [("n", {"type": int})], [str(n), *flags])


RANGES = augment_data.ranges_of(options())


def drawn(seed):
    return augment_data.draw(np.random.default_rng(seed), RANGES)


def white(samples, *seed):
    return 0.1 * np.random.default_rng(seed).standard_normal(samples, np.float32)


def binaural(samples=2 * RATE, delay=20, gain_db=-6.0):
    """Noise that comes `delay` samples later and softer in the second channel."""
    sound = white(samples + delay)
    return np.stack([sound[delay:], 10 ** (gain_db / 20) * sound[:samples]]).astype(np.float32)


def delay_of(audio, longest=40):
    """By how many samples, in fractions, the second channel lags: the peak of the cross-correlation."""
    size = 2 * audio.shape[1]
    one, two = np.fft.rfft(audio.astype(float), size)
    around = np.fft.irfft(one.conj() * two, size)[np.r_[-longest - 1:longest + 2]]
    at = 1 + np.argmax(around[1:-1])
    before, here, after = around[at - 1:at + 2]
    return at - longest - 1 + 0.5 * (before - after) / (before - 2 * here + after)


def level_of(audio):
    """By how many dB the second channel is louder."""
    one, two = np.square(audio.astype(float)).sum(axis=1)
    return 10 * np.log10(two / one)


def frequency_of(wave, rate):
    spectrum = np.abs(np.fft.rfft(wave * np.blackman(len(wave)), 1 << 20))
    return np.argmax(spectrum) * rate / (1 << 20)


def end_of(wave, rate):
    """When the sound ends, in seconds."""
    return np.flatnonzero(np.abs(wave) > 0.1 * np.abs(wave).max())[-1] / rate


# --- what is heard ---

@pytest.mark.parametrize(("parameters", "pitch", "tempo"), [
    ({"speed": 1.1}, 1.1, 1.1), ({"speed": 0.9}, 0.9, 0.9),
    ({"pitch_semitones": 2}, 2 ** (2 / 12), 1), ({"pitch_semitones": -2}, 2 ** (-2 / 12), 1),
    ({"tempo": 1.1}, 1, 1.1), ({"tempo": 0.9}, 1, 0.9),
    ({"speed": 1.05, "pitch_semitones": 1, "tempo": 0.95}, 1.05 * 2 ** (1 / 12), 1.05 * 0.95),
    ({"level_db": -3}, 1, 1), ({"shift": 0.0}, 1, 1), (UNIFORM, 1, 1)])
@pytest.mark.parametrize("rate", [8000, RATE])
def test_a_tone_gets_the_pitch_and_the_length_that_were_drawn(rate, parameters, pitch, tempo):
    tone = np.concatenate([sine(1000, 1.0, rate), np.zeros((1, rate), np.float32)], axis=1)
    copy = augment_data.apply(tone, rate, parameters)
    assert copy.shape == tone.shape
    assert copy.dtype == np.float32
    end = end_of(copy[0], rate)
    assert end == pytest.approx(1 / tempo, abs=0.02)
    steady = copy[0, round(0.1 * rate):round((end - 0.1) * rate)]
    assert frequency_of(steady, rate) == pytest.approx(1000 * pitch, rel=1e-3)
    assert np.abs(steady).max() == pytest.approx(0.5 * 10 ** (parameters.get("level_db", 0) / 20), rel=0.02)


def test_a_click_stays_where_tempo_puts_it():
    click = np.zeros((1, RATE), np.float32)
    click[0, RATE // 2] = 1
    for tempo in (0.9, 1.1):
        at = np.argmax(np.abs(augment_data.apply(click, RATE, {"tempo": tempo})))
        assert at / RATE == pytest.approx(0.5 / tempo, abs=0.002)


@pytest.mark.parametrize("shift", [0.2, -0.2, 0.12345, 1, 0])
def test_shift_wraps_around_and_changes_no_sample(shift):
    audio = binaural(1000)
    np.testing.assert_array_equal(augment_data.apply(audio, RATE, {"shift": shift}),
                                  np.roll(audio, round(1000 * shift), axis=1))


def test_level_is_a_factor():
    audio = binaural(1000)
    np.testing.assert_allclose(augment_data.apply(audio, RATE, {"level_db": 6}), audio * 10 ** 0.3, rtol=1e-6)


def test_noise_is_as_loud_as_drawn_and_another_in_each_channel():
    audio = 0.5 * sine(100, 2, RATE, channels=2)  # peak 0.25
    added = augment_data.apply(audio, RATE, GAUSSIAN) - audio
    assert added.std() == pytest.approx(0.005 * 0.25, rel=0.01)
    assert abs(np.corrcoef(added)[0, 1]) < 0.02
    added = augment_data.apply(audio, RATE, UNIFORM) - audio
    assert np.abs(added).max() == pytest.approx(0.005 * 0.25, rel=0.01)
    assert added.std() == pytest.approx(0.005 * 0.25 / 3 ** 0.5, rel=0.01)
    assert abs(np.corrcoef(added)[0, 1]) < 0.02


# --- what differs between channels ---

@pytest.mark.parametrize("parameters", ALONE, ids=str)
def test_delay_and_level_between_two_ears_survive_each_change(parameters):
    copy = augment_data.apply(binaural(), RATE, parameters)
    assert delay_of(copy) == pytest.approx(20, abs=0.05)
    assert level_of(copy) == pytest.approx(-6, abs=0.05)


@pytest.mark.parametrize(("rate", "delay"), [(RATE, 20), (RATE, -31), (8000, 5), (16000, 0)])
def test_delay_and_level_between_two_ears_survive_any_combination(rate, delay):
    audio = binaural(rate, abs(delay), -9)[:: 1 if delay >= 0 else -1]
    for seed in range(8):
        copy = augment_data.apply(audio, rate, drawn(seed))
        assert delay_of(copy) == pytest.approx(delay, abs=0.1), drawn(seed)
        assert level_of(copy) == pytest.approx(level_of(audio), abs=0.1), drawn(seed)


def test_without_the_correction_the_delay_would_shrink():
    copy = augment_data.apply(binaural(), RATE, {"speed": 1.1}, longest_delay_ms=0)
    assert delay_of(copy) == pytest.approx(20 / 1.1, abs=0.1)


def test_four_channels_keep_their_delays():
    sound = white(RATE + 60)
    audio = np.stack([sound[60 - delay:RATE + 60 - delay] for delay in (0, 7, 20, 40)])
    copy = augment_data.apply(audio, RATE, {"speed": 1.1, "pitch_semitones": -1, "tempo": 0.9})
    assert [round(delay_of(copy[[0, other]]), 1) for other in (1, 2, 3)] == [7, 20, 40]


def test_equal_channels_stay_equal_and_are_as_the_mono_sound():
    mono = white(RATE)[None]
    for parameters in (each for each in ALONE if "noise" not in each):
        one, two = augment_data.apply(np.repeat(mono, 2, axis=0), RATE, parameters)
        np.testing.assert_allclose(one, two, atol=1e-6)
        np.testing.assert_allclose(one, augment_data.apply(mono, RATE, parameters)[0], atol=1e-4)


@pytest.mark.parametrize("parameters", ALONE, ids=str)
def test_applying_is_deterministic_and_leaves_the_original_alone(parameters):
    audio = binaural(5000)
    before = audio.copy()
    copy = augment_data.apply(audio, RATE, parameters)
    np.testing.assert_array_equal(audio, before)
    np.testing.assert_array_equal(copy, augment_data.apply(np.asfortranarray(audio), RATE, parameters))
    assert not np.array_equal(copy, audio)


@pytest.mark.parametrize("rate", [1, 20, 8000, 192000])
@pytest.mark.parametrize("samples", [1, 2, 50, 3000])
def test_short_sounds_and_odd_rates(rate, samples):
    audio = binaural(samples, 1)
    for parameters in ALONE:
        copy = augment_data.apply(audio, rate, parameters)
        assert copy.shape == audio.shape
        assert np.isfinite(copy).all()


def test_silence_stays_silent():
    for parameters in ALONE:
        assert not augment_data.apply(np.zeros((2, 4000), np.float32), RATE, parameters).any()


# --- what is drawn ---

def test_draws_are_never_empty_and_within_their_ranges():
    draws = [drawn(seed) for seed in range(500)]
    subsets = {frozenset(each) & set(RANGES) for each in draws}
    assert frozenset() not in subsets
    assert len(subsets) == 63
    for name, (lowest, highest) in RANGES.items():
        values = [each[name] for each in draws if name in each]
        assert lowest <= min(values) < max(values) <= highest
        assert 200 < len(values) < 300
    assert {each["gaussian"] for each in draws if "noise" in each} == {True, False}


def test_what_is_turned_off_is_never_drawn():
    some = augment_data.ranges_of(options(3, "--speed", "none", "--noise=None", "--shift=-0.1,0.1"))
    draws = [augment_data.draw(np.random.default_rng(seed), some) for seed in range(100)]
    assert not any("speed" in each or "noise" in each for each in draws)
    assert max(abs(each.get("shift", 0)) for each in draws) <= 0.1


# --- the files ---

FORMATS = [  # name, rate, channels
    ("pcm16.wav", 44100, 2, {}), ("pcm24.wav", 8000, 1, {"subtype": "PCM_24"}),
    ("pcm8.WAV", 8000, 1, {"subtype": "PCM_U8"}), ("float.wav", 96000, 3, {"subtype": "FLOAT"}),
    ("adpcm.wav", 22050, 1, {"subtype": "IMA_ADPCM"}), ("wave64.w64", 16000, 2, {}), ("16.flac", 48000, 2, {}),
    ("24.flac", 44100, 1, {"subtype": "PCM_24"}), ("vorbis.ogg", 44100, 2, {}),
    ("opus.ogg", 48000, 2, {"subtype": "OPUS"}), ("layer3.mp3", 44100, 2, {}),
    ("layer3 low.mp3", 16000, 1, {}), ("16.aiff", 44100, 4, {}), ("wav inside.flac", 8000, 1, {"format": "WAV"}),
    ("no extension", 8000, 2, {"format": "WAV"})]


def test_format_rate_length_and_channels_are_kept(tmp_path, run):
    for name, rate, channels, keywords in FORMATS:
        audio = np.stack([white(12347, channel) for channel in range(channels)])
        write(tmp_path / "Samples/a" / name, audio, rate, **keywords)
    run("augment_data.py", 2, *sorted(tmp_path.glob("Samples/a/*")))
    for name, *_ in FORMATS:
        original = tmp_path / "Samples/a" / name
        one, two = (original.with_stem(f"{original.stem}_aug{number}") for number in (1, 2))
        for copy in (one, two):
            for fact in ("format", "subtype", "samplerate", "channels", "frames"):
                assert getattr(soundfile.info(copy), fact) == getattr(soundfile.info(original), fact), (copy, fact)
            assert len(soundfile.read(copy)[0]) == len(soundfile.read(original)[0])
        assert not np.array_equal(soundfile.read(one)[0], soundfile.read(two)[0])


@pytest.mark.parametrize("subtype", ["PCM_16", "FLOAT"])
def test_integer_formats_never_clip_and_float_ones_need_not(tmp_path, subtype):
    path = write(tmp_path / "loud.wav", 0.9 * sine(441, 0.5, RATE, channels=2, level=1.0), RATE, subtype=subtype)
    augment_data.augment(path, options(30))
    peaks = [np.abs(soundfile.read(copy)[0]).max() for copy in tmp_path.glob("*_aug*")]
    if subtype == "FLOAT":
        assert max(peaks) > 1.3
    else:
        assert max(peaks) <= 1
        for copy in tmp_path.glob("*_aug*"):
            audio = soundfile.read(copy)[0]
            assert np.count_nonzero(np.abs(audio) > 0.9999) < 20, copy  # a clipped sine rests at its top


def test_a_full_scale_sound_is_softened_or_left_not_flattened(tmp_path):
    path = write(tmp_path / "full.wav", sine(441, 0.5, RATE, level=1.0), RATE)
    others = ("speed", "pitch-semitones", "tempo", "shift", "noise")
    augment_data.augment(path, options(20, *(f"--{name}=none" for name in others)))
    peaks = [np.abs(soundfile.read(copy)[0]).max() for copy in tmp_path.glob("*_aug*")]
    assert len(set(peaks)) == 20
    assert 0.49 < min(peaks) < 0.6


def contents(folder):
    """Name → bytes of all files, hidden ones too."""
    return {path.relative_to(folder): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def samples(folder, count=8, seconds=0.3):
    for number in range(count):
        audio = binaural(round(seconds * RATE)) / np.float32(1 + number)
        write(folder / f"c{number % 2}" / f"{number}.wav", audio, RATE)
    return folder


def test_the_result_depends_on_seed_and_name_alone(tmp_path, run):
    first, second = samples(tmp_path / "first"), samples(tmp_path / "elsewhere/second")
    said = run("augment_data.py", 3, *sorted(first.glob("*/*")), "--jobs", 1).stdout
    assert said.startswith("24 copies written in ")
    assert "7.2 s of sound" in said
    run("augment_data.py", 1, *sorted(second.glob("*/*"), reverse=True), "--jobs", 2)
    run("augment_data.py", 3, "*/*", "--jobs", 2, cwd=second)  # no shell expands it
    assert contents(first) == contents(second)
    assert len(contents(first)) == 32
    run("augment_data.py", 3, *sorted(second.glob("*/*")), "--seed", 2, "--overwrite")
    before, after = contents(first), contents(second)
    assert all((before[name] == after[name]) == ("_aug" not in name.name) for name in before)


def test_given_twice_nothing_is_copied_twice(tmp_path, run):
    folder = samples(tmp_path / "Samples", 4)
    run("augment_data.py", 2, "Samples/c0/0.wav", "./Samples/c0/0.wav", folder / "c0/0.wav")
    assert len(contents(folder)) == 6
    run("augment_data.py", 2, *folder.glob("*/*"))
    before = contents(folder)
    damaged = folder / "c0/0_aug1.wav"
    damaged.write_bytes(b"mine")
    said = run("augment_data.py", 2, *folder.glob("*/*")).stdout
    assert said.splitlines()[1:] == ["8 copies were there already; --overwrite makes them anew.",
                                     "8 files are copies themselves and were passed over."]
    assert damaged.read_bytes() == b"mine"
    run("augment_data.py", 2, *folder.glob("*/*"), "--overwrite")
    assert contents(folder) == before


def test_ordinary_names(tmp_path, run):
    names = ["a b.wav", "it's \"quoted\".wav", "Vögel ✓.wav", "-dash.wav", "two.dots.wav", "x_aug.wav"]
    for name in names:
        write(tmp_path / name, sine(seconds=0.1))
    run("augment_data.py", 1, "--", *names)
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(
        names + [name.replace(".wav", "_aug1.wav") for name in names])


def test_files_that_differ_in_the_extension_only(tmp_path, run):
    for name in ("a.wav", "a.flac"):
        write(tmp_path / name, sine(seconds=0.1))
    run("augment_data.py", 1, "a.wav", "a.flac")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.flac", "a.wav", "a_aug1.flac", "a_aug1.wav"]


# --- what can go wrong ---

@pytest.mark.parametrize(("arguments", "status", "sentence"), [
    (["0", "a.wav"], 1, "N is 0; set it to a whole number of at least 1."),
    (["-3", "a.wav"], 1, "N is -3; set it to a whole number of at least 1."),
    (["x", "a.wav"], 2, "argument N: invalid int value: 'x'"),
    (["3"], 2, "the following arguments are required: FILE"),
    (["1", "a.wav", "--seed", "-1"], 1, "SEED is -1; set it to a whole number of at least 0."),
    (["1", "a.wav", "--speed", "1.1,0.9"], 1,
     "SPEED is (1.1, 0.9); set it to two numbers from 0.5 to 2, the lower first, or to None."),
    (["1", "a.wav", "--tempo", "0,1"], 1, "TEMPO is (0.0, 1.0); set it to two numbers from 0.5 to 2"),
    (["1", "a.wav", "--shift", "fast"], 2, "argument --shift: invalid"),
    (["1", "a.wav", "--noise", "nan,1"], 1, "NOISE is (nan, 1.0); set it to two numbers from 0 to 1"),
    (["1", "a.wav", *(f"--{name.replace('_', '-')}=none" for name in RANGES)],
     1, "SPEED, PITCH_SEMITONES, TEMPO, LEVEL_DB, NOISE, SHIFT are all None; give one of them a range."),
    (["1", "missing.wav", "a.wav"], 1, "missing.wav: is not there; check the name."),
    (["1", "no*.wav", "a.wav"], 1, "no*.wav: is not there; check the name."),
    (["1", "folder", "a.wav"], 1, "folder: is not a file; give audio files."),
    (["1", ".", "a.wav"], 1, ".: is not a file; give audio files."),
    (["1", "README.md", "a.wav"], 1, "README.md: is no audio that can be read; convert it to wav or remove it."),
    (["1", "empty.wav", "a.wav"], 1, "empty.wav: is empty; replace or remove it."),
    (["1", "nan.wav", "a.wav"], 1, "nan.wav: holds NaN or infinite samples; repair or remove it."),
], ids=str)
def test_bad_input_is_one_sentence_and_the_others_are_done(tmp_path, run, arguments, status, sentence):
    write(tmp_path / "a.wav", sine(seconds=0.1))
    write(tmp_path / "nan.wav", np.full((1, 100), np.nan, np.float32), subtype="FLOAT")
    (tmp_path / "folder").mkdir()
    (tmp_path / "README.md").write_text("Birds.")
    (tmp_path / "empty.wav").touch()
    before = {path.name for path in tmp_path.iterdir()}
    result = run("augment_data.py", *arguments, status=status)
    assert sentence in result.stderr
    assert status == 2 or result.stderr.count("\n") == 1
    named = {"a_aug1.wav"} if len(arguments) == 3 and arguments[0] == "1" else set()
    assert {path.name for path in tmp_path.iterdir()} == before | named


def seconds_of(run, arguments, status):
    """Of the processor: on a clock they depend on what else the machine does."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    run("augment_data.py", *arguments, status=status)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def test_help_and_mistakes_come_at_once(tmp_path, run):
    for arguments, status in ((["--help"], 0), (["0", "x.wav"], 1)):
        assert any(seconds_of(run, arguments, status) < 0.5 for _ in range(3))


def test_a_full_disk_leaves_nothing_half_written(tmp_path):
    write(tmp_path / "big.wav", binaural(RATE), RATE)  # 176 kB
    write(tmp_path / "small.wav", binaural(RATE // 10), RATE)
    result = subprocess.run(
        [sys.executable, ROOT / "augment_data.py", "2", "big.wav", "small.wav"], cwd=tmp_path, text=True,
        capture_output=True, preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000)))
    assert result.returncode == 1
    assert result.stderr == "big_aug1.wav: the disk is full; make room and run the same command again.\n"
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "big.wav", "small.wav", "small_aug1.wav", "small_aug2.wav"]


def test_a_folder_that_may_not_be_written(tmp_path, run):
    (tmp_path / "a_aug1.wav").mkdir()
    write(tmp_path / "a.wav", sine(seconds=0.1))
    result = run("augment_data.py", 1, "a.wav", "--overwrite", status=1)
    assert "Is a directory" in result.stderr
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.wav", "a_aug1.wav"]


@pytest.mark.parametrize(("number", "after"), [(signal.SIGKILL, (1, 12)), (signal.SIGINT, (5,))])
def test_a_stopped_run_goes_on_to_the_same_result(tmp_path, run, number, after):
    undisturbed, stopped = samples(tmp_path / "undisturbed", 12), tmp_path / "stopped"
    shutil.copytree(undisturbed, stopped)
    run("augment_data.py", 3, *sorted(undisturbed.glob("*/*")), "--jobs", 1)
    command = [sys.executable, ROOT / "augment_data.py", "3", *sorted(stopped.glob("*/*")), "--jobs", "2"]
    for copies in after:
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        while len(list(stopped.glob("*/*_aug*"))) < copies:
            time.sleep(0.005)
        process.send_signal(number)
        assert process.wait() == (130 if number == signal.SIGINT else -number)
        time.sleep(0.2)  # the workers notice that their parent is gone
        assert len(list(stopped.glob("*/*_aug*"))) < 36
    run(*command[1:])
    assert contents(stopped) == contents(undisturbed)
