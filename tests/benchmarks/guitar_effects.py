"""Make a data set of guitar notes, each through one of twelve effects, which are to be told apart.

Writes  Samples/<Effect>/<effect>_<number>.wav    in the working folder: mono, 16 bits

    python tests/benchmarks/guitar_effects.py 400
    python tests/benchmarks/guitar_effects.py 20 --seed 2 --jobs 1

It has the shape of IDMT-SMT-Audio-Effects (Stein, Abeßer, Dittmar and Schuller, "Automatic Detection of Audio Effects
in Guitar and Bass Recordings", AES Convention 128, 2010): single plucked notes of 2 s. Every clip has a note and
settings of its own, which seed, effect and number decide: a small set is the beginning of a large one. What the effects
compute, and in what range their settings usually lie, is after Zölzer (ed.), "DAFX: Digital Audio Effects", 2nd
edition, 2011, chapters 2 (filters and delays), 3 (modulators), 4 (nonlinear processing) and 5 (spatial effects).
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
from audio_utils import command_line  # first of all: it answers ^C from here on

# isort: split
import time
from types import SimpleNamespace
from typing import NamedTuple

import numba
import numpy as np
import scipy.signal

from audio_utils import audio_io, parallel

CLIPS = 400          # of each effect
SECONDS = 2.0        # length of each
SAMPLE_RATE = 44100  # Hz
SEED = 1             # another one gives other notes and settings
JOBS = None          # processes; None: one for each core

_OPEN_STRINGS_HZ = 440 * 2 ** ((np.array([40, 45, 50, 55, 59, 64]) - 69) / 12)  # E2 A2 D3 G3 B3 E4
_FRETS = 12, 12, 12, 12, 12, 24  # that are played on each: up to E6
_STIFFNESS = np.array([1.2, 0.8, 0.5, 0.6, 0.3, 0.15]) * 1e-4  # of the open strings: B in f_n = n f √(1 + B n²)
_HIGHEST_HZ = 16000  # of the partials
_OVERSAMPLING = 4  # where clipping makes harmonics, lest they fold back
_FINE = 300  # samples; see `ring`


class Guitar(NamedTuple):
    """Where its pickup is, and how it colours the sound."""
    pickup: float  # its distance from the bridge, as a part of the open string
    resonance: tuple  # Hz, dB and Q
    cutoff_hz: float
    sustain_seconds: float  # in which the fundamental of the open E2 falls by 60 dB


_GUITARS = Guitar(0.07, (4000, 5, 1.5), 6000, 12), Guitar(0.24, (2200, 4, 1.2), 3500, 15)  # at the bridge; the neck


def main():
    options = command_line.parse(globals(), [
        ("number", {"metavar": "N", "type": int, "nargs": "?", "help": "clips of each effect, as --clips has it"})])
    options.clips = options.clips if options.number is None else options.number
    command_line.on_stop("Stopped; the clips that were finished are kept.")
    command_line.check_number(options, "clips", int, 1, 99999)
    command_line.check_number(options, "seconds", float, 0.5, 60)
    command_line.check_number(options, "sample_rate", int, 2 * _HIGHEST_HZ, 192000)
    command_line.check_number(options, "seed", int, 0)
    command_line.check_number(options, "jobs", int, 1, none=True)
    start = time.monotonic()
    for effect in _EFFECTS:
        Path("Samples", effect).mkdir(parents=True, exist_ok=True)
    clips = [(effect, number) for effect in _EFFECTS for number in range(1, options.clips + 1)]
    for _, error in parallel.each(make, clips, "Playing", options.jobs, (options,)):
        if error:
            raise error
    seconds = time.monotonic() - start
    print(f"{len(clips)} clips of {len(_EFFECTS)} effects written to Samples/ in {seconds:.0f} s: "
          f"{len(clips) / seconds:.0f} a second.")


def make(clip, options):
    """Write one clip: (effect, number)."""
    effect, number = clip
    rng = np.random.default_rng([options.seed, *effect.encode(), number])
    samples, rate = round(options.seconds * options.sample_rate), options.sample_rate
    apply, draw = _EFFECTS[effect]
    note, settings, take = draw_note(rng, samples), draw(rng), draw_take(rng, samples)
    sound = record(apply(pluck(note, samples, rate), rate, **settings), rate, **take)
    audio_io.write(f"Samples/{effect}/{effect.lower()}_{number:05}.wav", sound[np.newaxis], rate, "PCM_16")


def log_uniform(rng, low, high, size=None):
    return np.exp(rng.uniform(np.log(low), np.log(high), size))


# --- filters, of second-order sections ------------------------------------------------------------------------------

def filtered(sound, *sections):
    return scipy.signal.sosfilt(np.vstack(sections), sound)


def low_pass(hz, rate, order=2):
    return scipy.signal.butter(order, hz, fs=rate, output="sos")


def peak(hz, gain_db, q, rate):
    """Lifts what is around a frequency: Bristow-Johnson, "Audio EQ Cookbook"."""
    gain, w = 10 ** (gain_db / 40), 2 * np.pi * hz / rate
    alpha, middle = np.sin(w) / (2 * q), -2 * np.cos(w)
    section = np.array([1 + alpha * gain, middle, 1 - alpha * gain, 1 + alpha / gain, middle, 1 - alpha / gain])
    return section / section[3]


# --- the note -------------------------------------------------------------------------------------------------------

def draw_note(rng, samples):
    """How one note is played; places on the string are distances from the bridge, as parts of the open string."""
    string = rng.integers(len(_OPEN_STRINGS_HZ))
    semitones = rng.integers(_FRETS[string] + 1) + rng.normal(0, 0.06)
    return SimpleNamespace(
        guitar=_GUITARS[rng.integers(len(_GUITARS))], string=string,
        hz=_OPEN_STRINGS_HZ[string] * 2 ** (semitones / 12),
        pick=rng.uniform(0.1, 0.15),  # where it plucks
        pick_hz=log_uniform(rng, 2500, 4500),  # how hard it is: partials above are weaker
        sustain=log_uniform(rng, 0.5, 1.5),  # times the guitar's
        damping_hz=log_uniform(rng, 800, 2000),  # from here on partials decay faster
        across=rng.uniform(0.1, 0.6),  # how much of the string's swing is across the main direction,
        detuning=rng.normal(0, 4e-4),  # and how far off in pitch: the two beat
        onset_seconds=rng.uniform(0, 0.1),
        held_seconds=rng.uniform(0.8, 1.6) if rng.random() < 0.35 else np.inf,  # until a hand stops the string,
        release_seconds=rng.uniform(0.03, 0.15),  # which takes so long
        click=log_uniform(rng, 0.003, 0.1),  # of the pick on the string
        noise=rng.normal(size=samples), noise_level=log_uniform(rng, 1e-5, 3e-4),
        hum_level=log_uniform(rng, 1e-5, 1e-3), hum_hz=rng.choice([50, 60]))


def pluck(note, samples, rate):
    """The sound of the guitar (samples,), its peak 1 but for the noise."""
    seconds = np.arange(samples) / rate
    sound = ring(*partials(note), samples, rate)
    sound += note.click * np.abs(sound).max() * np.exp(-seconds / 0.004) * note.noise
    sound *= np.exp(np.minimum(0, note.held_seconds - seconds) * np.log(1000) / note.release_seconds)
    sound = late(filtered(sound, peak(*note.guitar.resonance, rate), low_pass(note.guitar.cutoff_hz, rate)),
                 round(note.onset_seconds * rate))
    hum = sum(swing(samples, rate, k * note.hum_hz, 0) / k for k in (1, 2, 3, 5))
    return sound / np.abs(sound).max() + note.noise_level * note.noise[::-1] + note.hum_level * hum


def partials(note):
    """Hz, amplitudes, and seconds in which they fall by 60 dB, of the partials in both directions.

    A pick at the part p of a string moves partial n by sin(πnp)/n²; a pickup, which hears speed, at q by n sin(πnq).
    """
    sounding = _OPEN_STRINGS_HZ[note.string] / note.hz  # the part of the open string that is not stopped
    n = np.arange(1, int(_HIGHEST_HZ / note.hz) + 1)
    hz = note.hz * n * np.sqrt(1 + _STIFFNESS[note.string] / sounding ** 2 * n ** 2)
    amplitudes = np.sin(np.pi * n * note.pick / sounding) * np.sin(np.pi * n * note.guitar.pickup / sounding) / n
    amplitudes /= np.hypot(1, hz / note.pick_hz)
    seconds = note.guitar.sustain_seconds * note.sustain * np.sqrt(_OPEN_STRINGS_HZ[0] / note.hz)
    seconds = seconds / (1 + (hz / note.damping_hz) ** 1.5)
    return (np.concatenate([hz, hz * (1 + note.detuning)]), np.concatenate([amplitudes, note.across * amplitudes]),
            np.concatenate([seconds, seconds / 2]))


def ring(hz, amplitudes, decay_seconds, samples, rate):
    """The sum (samples,) of partials that each decay by 60 dB in so many seconds.

    exp(s (a + b)) = exp(s a) exp(s b): of coarse times a, and fine ones b between them, it is one matrix product.
    """
    exponents = 2j * np.pi * hz - np.log(1000) / decay_seconds
    fine = np.exp(np.outer(exponents, np.arange(_FINE) / rate))
    coarse = amplitudes * np.exp(np.outer(np.arange(0, samples, _FINE) / rate, exponents))
    return (np.hstack([coarse.real, coarse.imag]) @ np.vstack([fine.imag, fine.real])).ravel()[:samples]


def late(sound, samples):
    return np.pad(sound, (samples, 0))[:len(sound)]


def swing(samples, rate, hz, turn):
    """A sine (samples,) that begins at a part `turn` of its period."""
    return np.sin(2 * np.pi * (hz * np.arange(samples) / rate + turn))


# --- the effects, on a sound (samples,) -----------------------------------------------------------------------------

def eq(sound, rate, bands):
    """Two or three tone controls: each (Hz, dB, Q)."""
    return filtered(sound, *(peak(*band, rate) for band in bands))


def draw_eq(rng):
    ranges_hz = rng.permutation([(100, 400), (500, 2000), (2500, 7000)])[:rng.integers(2, 4)]
    return {"bands": [(log_uniform(rng, *hz), rng.uniform(10, 15) * rng.choice([-1, 1]), rng.uniform(0.5, 1.5))
                      for hz in ranges_hz]}


def overdrive(sound, rate, gain_db, bias, tone_hz):
    """Soft clipping, a little sooner on one side."""
    return clipped(sound, rate, lambda wave: np.tanh(10 ** (gain_db / 20) * wave + bias), tone_hz)


def distortion(sound, rate, gain_db, tone_hz):
    """Hard clipping."""
    return clipped(sound, rate, lambda wave: np.clip(10 ** (gain_db / 20) * wave, -1, 1), tone_hz)


def clipped(sound, rate, curve, tone_hz):
    """A curve applied to every sample, between samples too; then a tone control."""
    wave = curve(scipy.signal.resample_poly(sound, _OVERSAMPLING, 1))
    return filtered(scipy.signal.resample_poly(wave, 1, _OVERSAMPLING), low_pass(tone_hz, rate, 1))


def tremolo(sound, rate, hz, turn, depth, hardness):
    """Loudness goes up and down: like a sine where hardness is small, else more like a square wave."""
    wave = np.tanh(hardness * swing(len(sound), rate, hz, turn)) / np.tanh(hardness)
    return sound * (1 - depth * (1 + wave) / 2)


def vibrato(sound, rate, hz, turn, cents):
    """Pitch goes up and down: the sound through a delay that changes."""
    return delayed(sound, rate, 1 + cents_to_ms(cents, hz) * (1 + swing(len(sound), rate, hz, turn)))


def chorus(sound, rate, hz, turns, delays_ms, cents, level):
    """One to three voices of which the pitch goes up and down, beside the dry sound."""
    depths_ms = np.minimum(cents_to_ms(cents, hz), 6)
    voices = [delayed(sound, rate, delay_ms + depth_ms * swing(len(sound), rate, *each))
              for delay_ms, depth_ms, *each in zip(delays_ms, depths_ms, hz, turns, strict=True)]
    return sound + level / np.sqrt(len(voices)) * sum(voices)


def draw_chorus(rng):
    voices = rng.integers(1, 4)
    return {"hz": log_uniform(rng, 0.2, 2, voices), "turns": rng.random(voices),
            "delays_ms": rng.uniform(15, 30, voices), "cents": rng.uniform(8, 25, voices), "level": rng.uniform(0.5, 1)}


def cents_to_ms(cents, hz):
    """How far a delay must swing for the pitch to swing so far: pitch is changed by the delay's slope."""
    return 1000 * (2 ** (cents / 1200) - 1) / (2 * np.pi * hz)


def flanger(sound, rate, hz, turn, shortest_ms, depth_ms, feedback, level):
    """A comb of evenly spaced notches that moves: a short delay that changes, beside the dry sound."""
    delays_ms = shortest_ms + depth_ms * (1 + swing(len(sound), rate, hz, turn))
    return sound + level * delayed(sound, rate, delays_ms, feedback)


def phaser(sound, rate, hz, turn, stages, lowest_hz, octaves, feedback, level):
    """Two to four notches that move: all-passes of which the turnover is swept, beside the dry sound."""
    turnover_hz = lowest_hz * 2 ** (octaves * (1 + swing(len(sound), rate, hz, turn)) / 2)
    tangents = np.tan(np.pi * turnover_hz / rate)
    return sound + level * all_passes(sound, (tangents - 1) / (tangents + 1), stages, feedback)


def echo(sound, rate, delay_ms, level, feedback=0.0, damping=0.0):
    """One echo; with feedback many, each of them duller than the one before."""
    return sound + level * delayed(sound, rate, np.full(len(sound), delay_ms), feedback, damping)


def reverb(sound, rate, seconds, treble, crossover_hz, predelay_ms, wet, seed):
    """A room's response: noise that decays by 60 dB in so many seconds, its treble faster.

    Moorer, "About This Reverberation Business", Computer Music Journal 3 (2), 1979.
    """
    noise, times = np.random.default_rng(seed).normal(size=len(sound)), np.arange(len(sound)) / rate
    bass = filtered(noise, low_pass(crossover_hz, rate))
    room = bass * 1000 ** (-times / seconds) + (noise - bass) * 1000 ** (-times / seconds / treble)
    tail = scipy.signal.fftconvolve(late(sound, round(predelay_ms * rate / 1000)), room)[:len(sound)]
    return (1 - wet) * sound + wet * tail * np.linalg.norm(sound) / np.linalg.norm(tail)


def delayed(sound, rate, delays_ms, feedback=0.0, damping=0.0):
    """A sound later by (samples,) milliseconds; what comes out goes in again, times feedback."""
    return _delay_line(sound, delays_ms * rate / 1000, feedback, damping)


@numba.njit(cache=True)
def _delay_line(sound, delays, feedback, damping):
    """Between samples it goes by the cubic of Catmull and Rom; so a delay is of two samples at least."""
    line, wet, last = np.zeros(len(sound) + 3), np.zeros(len(sound)), 0.0  # sample n of the line is at n + 3
    for n in range(len(sound)):
        place = max(n - delays[n], -2.0)
        whole = int(np.floor(place))
        x, (a, b, c, d) = place - whole, line[whole + 2:whole + 6]
        wet[n] = b + x / 2 * (c - a + x * (2 * a - 5 * b + 4 * c - d + x * (3 * (b - c) + d - a)))
        last += (1 - damping) * (wet[n] - last)  # a low-pass of the first order
        line[n + 3] = sound[n] + feedback * last
    return wet


@numba.njit(cache=True)
def all_passes(sound, coefficients, stages, feedback):
    """First-order all-passes one after another; their coefficient changes from sample to sample."""
    wet, state, value = np.zeros(len(sound)), np.zeros(stages), 0.0
    for n in range(len(sound)):
        value = sound[n] + feedback * value
        for stage in range(stages):
            out = coefficients[n] * value + state[stage]
            state[stage] = value - coefficients[n] * out
            value = out
        wet[n] = value
    return wet


_EFFECTS = {  # what it does, and how its settings are drawn
    "Chorus": (chorus, draw_chorus),
    "Distortion": (distortion, lambda rng: {
        "gain_db": rng.uniform(25, 46), "tone_hz": log_uniform(rng, 1500, 8000)}),
    "EQ": (eq, draw_eq),
    "FeedbackDelay": (echo, lambda rng: {
        "delay_ms": rng.uniform(150, 500), "level": log_uniform(rng, 0.3, 0.8), "feedback": rng.uniform(0.2, 0.7),
        "damping": rng.uniform(0, 0.6)}),
    "Flanger": (flanger, lambda rng: {
        "hz": log_uniform(rng, 0.3, 1.5), "turn": rng.random(), "shortest_ms": rng.uniform(0.3, 1),
        "depth_ms": log_uniform(rng, 1, 3), "feedback": rng.uniform(0.25, 0.7) * rng.choice([-1, 1]),
        "level": rng.uniform(0.7, 1)}),
    "NoFX": (lambda sound, rate: sound, lambda rng: {}),
    "Overdrive": (overdrive, lambda rng: {
        "gain_db": rng.uniform(10, 24), "bias": rng.uniform(0, 0.3), "tone_hz": log_uniform(rng, 1500, 8000)}),
    "Phaser": (phaser, lambda rng: {
        "hz": log_uniform(rng, 0.3, 2), "turn": rng.random(), "stages": rng.choice([4, 6, 8]),
        "lowest_hz": log_uniform(rng, 150, 500), "octaves": rng.uniform(2, 4), "feedback": rng.uniform(0.1, 0.7),
        "level": rng.uniform(0.7, 1)}),
    "Reverb": (reverb, lambda rng: {
        "seconds": log_uniform(rng, 0.4, 3), "treble": rng.uniform(0.3, 0.8), "wet": rng.uniform(0.2, 0.5),
        "crossover_hz": log_uniform(rng, 1000, 4000), "predelay_ms": rng.uniform(0, 30),
        "seed": rng.integers(2 ** 32)}),
    "SlapbackDelay": (echo, lambda rng: {
        "delay_ms": rng.uniform(70, 200), "level": log_uniform(rng, 0.4, 0.9)}),
    "Tremolo": (tremolo, lambda rng: {
        "hz": log_uniform(rng, 2, 10), "turn": rng.random(), "depth": rng.uniform(0.35, 1),
        "hardness": rng.uniform(0.1, 4)}),
    "Vibrato": (vibrato, lambda rng: {
        "hz": rng.uniform(4, 7), "turn": rng.random(), "cents": rng.uniform(15, 60)}),
}


# --- the recording --------------------------------------------------------------------------------------------------

def draw_take(rng, samples):
    return {"bass_db": rng.uniform(-2, 2), "treble_db": rng.uniform(-2, 2), "peak_db": rng.uniform(-13, -1),
            "noise": rng.normal(0, log_uniform(rng, 1e-5, 3e-4), samples)}


def record(sound, rate, bass_db, treble_db, peak_db, noise):
    """What amplifier, microphone and recorder make of a sound; the level, the same for all, tells nothing of it."""
    sound = filtered(sound - sound.mean(), peak(150, bass_db, 0.5, rate), peak(5000, treble_db, 0.5, rate))
    return 10 ** (peak_db / 20) * (sound / np.abs(sound).max() + noise)


if __name__ == "__main__":
    command_line.run(main)
