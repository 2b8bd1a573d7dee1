"""The plan of preprocessing: settings from the sounds' headers, and which melgrams are stale."""

import json
import os
from pathlib import Path

import pytest
from conftest import sine, write

import preprocess_data
from audio_utils.audio.audio_io import AudioInfo
from audio_utils.data import compute, index, plan, preproc
from audio_utils.runtime import command_line
from audio_utils.runtime.errors import UserError


def options(**changes):
    return command_line.constants(preprocess_data, changes)


def headers(*samples, rates=(8000,), channels=(1,)):
    """{path: AudioInfo} of files of these lengths."""
    return {Path(f"{i}.wav"): AudioInfo(length, rates[i % len(rates)], channels[i % len(channels)], False, "WAV",
                                        "PCM_16") for i, length in enumerate(samples)}


# --- settings --------------------------------------------------------------------------------------------------------

@pytest.mark.parametrize(("rates", "rate"), [([8000, 8000, 44100], 8000), ([8000, 44100], 44100)])
def test_the_rate_is_the_most_frequent_one_or_the_higher_of_equals(rates, rate):
    assert plan.choose_settings(headers(*[800] * len(rates), rates=rates), options()).sample_rate == rate


def test_the_clip_length_is_the_maximum_at_that_rate():
    found = plan.choose_settings(headers(800, 4410, 1001, rates=[8000, 44100, 8000]), options())
    assert found.clip_samples == 1001


def test_a_few_files_over_4_times_as_long_do_not_determine_the_clip_length():
    assert plan.choose_settings(headers(*[1000] * 99, 4001), options()).clip_samples == 1000
    assert plan.choose_settings(headers(*[1000] * 99, 4000), options()).clip_samples == 4000


def test_channels_are_the_maximum_and_mono_is_one():
    assert plan.choose_settings(headers(800, 800, channels=[1, 3]), options()).channels == 3
    assert plan.choose_settings(headers(800, 800, channels=[1, 3]), options(MONO=True)).channels == 1


def test_constants_override_the_sounds():
    found = plan.choose_settings(headers(800), options(SAMPLE_RATE=4000, CLIP_SECONDS=0.5, MELS=20))
    assert (found.sample_rate, found.clip_samples, found.mels) == (4000, 2000, 20)


@pytest.mark.parametrize(("changes", "problem"), [
    ({"CLIP_SECONDS": 86_400, "HOP_MS": 0.5}, "0.wav: is the longest sound; with 8.64e.04 s each melgram would take"),
    ({"WINDOW_MS": 10_000, "SAMPLE_RATE": 384_000}, "These constants make fft = 3840000; lower SAMPLE_RATE")])
def test_melgrams_that_no_machine_can_hold_are_refused(changes, problem):
    with pytest.raises(UserError, match=problem):
        plan.choose_settings(headers(800), options(**changes))


@pytest.mark.parametrize("samples", [220_544, 44_099, 1_000_003])
def test_sounds_of_the_usual_length_are_not_named_as_longer(samples, capsys):
    sounds = headers(*[samples] * 99, 2 * samples, rates=[44_100])
    plan.warn_of_padding(sounds, plan.choose_settings(sounds, options()))
    assert capsys.readouterr().err.startswith("99.wav: longer than ")


# --- stale melgrams --------------------------------------------------------------------------------------------------

@pytest.fixture
def samples(tmp_path):
    for pitch, name in enumerate("ab"):
        for i in range(10):
            write(tmp_path / f"Samples/{name}/{i}.wav", sine(300 + 10 * i + pitch, 0.1))
    return tmp_path / "Samples"


def test_only_new_and_changed_sounds_are_stale(samples, tmp_path, capsys):
    folder = tmp_path / "Preproc"
    folder.mkdir()
    first = plan.make_plan(options(), samples, folder)
    assert len(first.stale) == len(first.clips) == 20
    compute.compute(first, folder, 1, False)
    assert not plan.make_plan(options(), samples, folder).stale
    os.utime(samples / "a/2.wav", ns=(5, 5))  # the content is the same
    write(samples / "a/3.wav", sine(999, 0.1))
    write(samples / "b/new.wav", sine(500, 0.1))
    (samples / "b/0.wav").unlink()
    again = plan.make_plan(options(), samples, folder)
    assert [clip.name for clip in again.stale] == ["a/3.wav", "b/new.wav"]
    assert [entry.path for entry in again.gone] == ["b/0.wav"]
    assert again.settings == first.settings
    assert {clip.name for clip in set(first.clips) - set(again.clips)} == {"b/0.wav"}
    assert len(plan.make_plan(options(OVERWRITE=True), samples, folder).stale) == 20


def test_melgrams_from_before_the_index_are_adopted_by_their_date(samples, tmp_path):
    folder = tmp_path / "Preproc"
    folder.mkdir()
    first = plan.make_plan(options(), samples, folder)
    compute.compute(first, folder, 1, False)
    whole = (folder / index.INDEX).read_bytes()
    (folder / index.INDEX).unlink()
    for clip in first.clips:
        time_ns = clip.path.stat().st_mtime_ns
        os.utime(preproc.melgram_path(folder, clip.split, clip.name), ns=(time_ns, time_ns))
    again = plan.make_plan(options(), samples, folder)
    assert not again.stale
    assert again.clips == first.clips
    compute.compute(again, folder, 1, False)
    assert (folder / index.INDEX).read_bytes() == whole


def test_other_settings_are_refused_and_another_split_is_reported(samples, tmp_path, capsys):
    folder = tmp_path / "Preproc"
    folder.mkdir()
    compute.compute(plan.make_plan(options(), samples, folder), folder, 1, False)
    with pytest.raises(UserError, match=r"settings.json: was made with MELS = 96, now it is 30; set it back, or use"):
        plan.make_plan(options(MELS=30), samples, folder)
    capsys.readouterr()
    plan.make_plan(options(SAMPLE_RATE=8000, CLIP_SECONDS=0.1, SEED=2), samples, folder)  # what they were, and a seed
    warning = "SEED was 1 and is now 2: it applies to new files; files already assigned stay where they are; delete "
    assert capsys.readouterr().err.startswith(f"{warning}{folder}/ to split again.")


def test_recorded_constants_that_are_damaged_are_rejected(samples, tmp_path):
    folder = tmp_path / "Preproc"
    folder.mkdir()
    compute.compute(plan.make_plan(options(), samples, folder), folder, 1, False)
    path = folder / "settings.json"
    record = json.loads(path.read_text())
    for changes in ({"constants": record["constants"] | {"MELS": "many"}, "defaults": record["defaults"]},
                    {"constants": record["constants"], "defaults": [1]}):
        path.write_text(json.dumps(record | changes))
        with pytest.raises(UserError):
            plan.make_plan(command_line.parse(vars(preprocess_data), preprocess_data._LIMITS, argv=["--overwrite"]),
                           samples, folder)


def test_sounds_that_can_not_be_read_are_left_out(samples, capsys):
    (samples / "a/bad.wav").write_bytes(b"no audio")
    (samples / "a/gone.wav").symlink_to("nowhere.wav")
    found = plan.make_plan(options(), samples)
    assert len(found.clips) == 20
    warnings = capsys.readouterr().err
    assert "a/bad.wav: is not a readable audio file" in warnings
    assert "a/gone.wav: " in warnings
    assert sorted(each.path.name for each in found.skipped) == ["bad.wav", "gone.wav"]


def test_links_to_a_disk_that_is_not_mounted_are_one_sentence_each_and_no_class(tmp_path):
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "1.wav").symlink_to("/nowhere/1.wav")
    with pytest.raises(UserError, match=r"contains no folder with sounds \(1.wav is a link to a file that does not"):
        plan.make_plan(options(), tmp_path)


def test_a_record_holds_the_settings_and_their_constants():
    settings = plan.choose_settings(headers(800), options())
    found = plan.record_of(settings, options(GROUP_BY="x"))
    assert settings.to_dict().items() <= found.items()
    assert found["constants"] == {"SAMPLE_RATE": None, "CLIP_SECONDS": None, "MONO": False, "MELS": 96,
                                  "WINDOW_MS": 46.44, "HOP_MS": 11.61, "TEST_FRACTION": 0.2, "SEED": 1, "GROUP_BY": "x"}


def test_options_are_not_changed(samples):
    given = options()
    before = dict(vars(given))
    plan.make_plan(given, samples)
    assert vars(given) == before
