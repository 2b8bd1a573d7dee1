"""Generate a data set of guitar notes, each played through one of twelve effects; the effects are the classes.

Writes  Samples/<Effect>/<effect>_<number>.wav    in the working directory; mono, 16 bits

    python tests/benchmarks/guitar_effects.py 400
    python tests/benchmarks/guitar_effects.py 20 --seed 2 --jobs 1

The data set is modeled on IDMT-SMT-Audio-Effects (Stein, Abeßer, Dittmar and Schuller, "Automatic Detection of Audio
Effects in Guitar and Bass Recordings", AES Convention 128, 2010): single plucked notes of 2 s. Each clip has its own
random note and settings, which depend only on seed, effect and number: a small set is a subset of a large one. The
effects and the ranges of their settings follow Zölzer (ed.), "DAFX: Digital Audio Effects", 2nd edition, 2011, chapters
2 (filters and delays), 3 (modulators), 4 (nonlinear processing) and 5 (spatial effects).
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))  # the suite's folder
from audio_utils.runtime import script

script.guard_imports(__name__)  # ^C or a missing package below prints one sentence, not a traceback
import time
from types import SimpleNamespace
from typing import NamedTuple

import numba
import numpy as np
import scipy.signal

from audio_utils.audio import audio_io
from audio_utils.runtime import command_line, parallel, signals
from audio_utils.runtime.command_line import Limits

CLIPS = 400          # of each effect
SECONDS = 2.0        # length of each
SAMPLE_RATE = 44100  # Hz
SEED = 1             # another seed gives different notes and settings
JOBS = None          # processes; None: one per core

_OPEN_STRINGS_HZ = 440 * 2 ** ((np.array([40, 45, 50, 55, 59, 64]) - 69) / 12)  # E2 A2 D3 G3 B3 E4
_FRETS = 12, 12, 12, 12, 12, 24  # highest fret on each string; up to E6
_STIFFNESS = np.array([1.2, 0.8, 0.5, 0.6, 0.3, 0.15]) * 1e-4  # of the open strings: B in f_n = n f √(1 + B n²)
_HIGHEST_HZ = 16000  # of the partials
_LIMITS = {"NUMBER": Limits(int, 1, 99999, optional=True), "CLIPS": Limits(int, 1, 99999),
           "SECONDS": Limits(float, 0.5, 60), "SAMPLE_RATE": Limits(int, 2 * _HIGHEST_HZ, 192000),
           "SEED": Limits(int, 0), "JOBS": Limits(int, 1, optional=True)}
_OVERSAMPLING = 4  # for clipping, whose harmonics would alias
_FINE = 300  # samples; see `ring`


class Guitar(NamedTuple):
    """The pickup of a guitar and its frequency response."""
    pickup: float  # distance from the bridge, as a fraction of the open string
    resonance: tuple  # Hz, dB and Q
    cutoff_hz: float
    sustain_seconds: float  # time in which the fundamental of the open E2 decays by 60 dB


_GUITARS = Guitar(0.07, (4000, 5, 1.5), 6000, 12), Guitar(0.24, (2200, 4, 1.2), 3500, 15)  # bridge; neck pickup


def main():
    options = command_line.parse(globals(), _LIMITS, positional=[
        ("number", {"metavar": "N", "type": int, "nargs": "?", "help": "clips of each effect; the same as --clips"})])
    options.clips = options.clips if options.number is None else options.number
    signals.on_stop("Stopped. Finished clips are kept.")
    start = time.monotonic()
    for effect in _EFFECTS:
        Path("Samples", effect).mkdir(parents=True, exist_ok=True)
    clips = [(effect, number) for effect in _EFFECTS for number in range(1, options.clips + 1)]
    for _, error in parallel.each(make, clips, "Generating", options.jobs, (options,)):
        if error:
            raise error
    seconds = time.monotonic() - start
    print(f"{len(clips)} clips of {len(_EFFECTS)} effects written to Samples/ in {seconds:.0f} s: "
          f"{len(clips) / seconds:.0f} clips/s.")


def make(clip, options):
    """Write one clip; clip: (effect, number)."""
    effect, number = clip
    rng = np.random.default_rng([options.seed, *effect.encode(), number])
    samples, rate = round(options.seconds * options.sample_rate), options.sample_rate
    apply, draw = _EFFECTS[effect]
    note, settings, take = draw_note(rng, samples), draw(rng), draw_take(rng, samples)
    sound = simulate_recording(apply(pluck(note, samples, rate), rate, **settings), rate, **take)
    audio_io.write(f"Samples/{effect}/{effect.lower()}_{number:05}.wav", sound[np.newaxis], rate, "PCM_16")


def log_uniform(rng, low, high, size=None):
    return np.exp(rng.uniform(np.log(low), np.log(high), size))


# --- filters, as second-order sections ------------------------------------------------------------------------------

def filtered(sound, *sections):
    """The sound (samples,) through filters in series."""
    return scipy.signal.sosfilt(np.vstack(sections), sound)


def low_pass(hz, rate, order=2):
    return scipy.signal.butter(order, hz, fs=rate, output="sos")


def peak(hz, gain_db, q, rate):
    """A peaking filter; gain_db at the center frequency. Bristow-Johnson, "Audio EQ Cookbook"."""
    gain, w = 10 ** (gain_db / 40), 2 * np.pi * hz / rate
    alpha, middle = np.sin(w) / (2 * q), -2 * np.cos(w)
    section = np.array([1 + alpha * gain, middle, 1 - alpha * gain, 1 + alpha / gain, middle, 1 - alpha / gain])
    return section / section[3]


# --- the note -------------------------------------------------------------------------------------------------------

def draw_note(rng, samples):
    """Random parameters of a note; positions are distances from the bridge, as fractions of the open string."""
    string = rng.integers(len(_OPEN_STRINGS_HZ))
    semitones = rng.integers(_FRETS[string] + 1) + rng.normal(0, 0.06)
    return SimpleNamespace(
        guitar=_GUITARS[rng.integers(len(_GUITARS))], string=string,
        hz=_OPEN_STRINGS_HZ[string] * 2 ** (semitones / 12),
        pick=rng.uniform(0.1, 0.15),  # position of the pick
        pick_hz=log_uniform(rng, 2500, 4500),  # hardness of the pick: partials above this frequency are weaker
        sustain=log_uniform(rng, 0.5, 1.5),  # factor of the guitar's sustain
        damping_hz=log_uniform(rng, 800, 2000),  # partials above this frequency decay faster
        across=rng.uniform(0.1, 0.6),  # relative amplitude of the vibration across the main direction,
        detuning=rng.normal(0, 4e-4),  # and its relative detuning: the two beat
        onset_seconds=rng.uniform(0, 0.1),
        held_seconds=rng.uniform(0.8, 1.6) if rng.random() < 0.35 else np.inf,  # until the string is damped by hand,
        release_seconds=rng.uniform(0.03, 0.15),  # and the duration of that, to -60 dB
        click=log_uniform(rng, 0.003, 0.1),  # level of the pick's attack noise
        noise=rng.normal(size=samples), noise_level=log_uniform(rng, 1e-5, 3e-4),
        hum_level=log_uniform(rng, 1e-5, 1e-3), hum_hz=rng.choice([50, 60]))


def pluck(note, samples, rate):
    """The sound of the guitar (samples,); without noise and hum its peak is 1."""
    seconds = np.arange(samples) / rate
    sound = ring(*partials(note), samples, rate)
    sound += note.click * np.abs(sound).max() * np.exp(-seconds / 0.004) * note.noise
    sound *= np.exp(np.minimum(0, note.held_seconds - seconds) * np.log(1000) / note.release_seconds)
    sound = shifted(filtered(sound, peak(*note.guitar.resonance, rate), low_pass(note.guitar.cutoff_hz, rate)),
                 round(note.onset_seconds * rate))
    hum = sum(sine(samples, rate, k * note.hum_hz, 0) / k for k in (1, 2, 3, 5))
    return sound / np.abs(sound).max() + note.noise_level * note.noise[::-1] + note.hum_level * hum


def partials(note):
    """Frequencies in Hz, amplitudes, and 60 dB decay times in seconds, of the partials in both directions.

    A pick at the fraction p of a string excites partial n by sin(πnp)/n²; a pickup at q, which responds to velocity,
    weights it by n sin(πnq).
    """
    sounding = _OPEN_STRINGS_HZ[note.string] / note.hz  # length of the vibrating part, as a fraction of the open string
    n = np.arange(1, int(_HIGHEST_HZ / note.hz) + 1)
    hz = note.hz * n * np.sqrt(1 + _STIFFNESS[note.string] / sounding ** 2 * n ** 2)
    amplitudes = np.sin(np.pi * n * note.pick / sounding) * np.sin(np.pi * n * note.guitar.pickup / sounding) / n
    amplitudes /= np.hypot(1, hz / note.pick_hz)
    seconds = note.guitar.sustain_seconds * note.sustain * np.sqrt(_OPEN_STRINGS_HZ[0] / note.hz)
    seconds = seconds / (1 + (hz / note.damping_hz) ** 1.5)
    return (np.concatenate([hz, hz * (1 + note.detuning)]), np.concatenate([amplitudes, note.across * amplitudes]),
            np.concatenate([seconds, seconds / 2]))


def ring(hz, amplitudes, decay_seconds, samples, rate):
    """The sum (samples,) of decaying partials.

    exp(s (a + b)) = exp(s a) exp(s b): with coarse times a and fine times b, the sum is one matrix product.
    """
    exponents = 2j * np.pi * hz - np.log(1000) / decay_seconds
    fine = np.exp(np.outer(exponents, np.arange(_FINE) / rate))
    coarse = amplitudes * np.exp(np.outer(np.arange(0, samples, _FINE) / rate, exponents))
    return (np.hstack([coarse.real, coarse.imag]) @ np.vstack([fine.imag, fine.real])).ravel()[:samples]


def shifted(sound, samples):
    """The sound, delayed by a number of samples."""
    return np.pad(sound, (samples, 0))[:len(sound)]


def sine(samples, rate, hz, turn):
    """A sine (samples,); turn: its initial phase as a fraction of the period."""
    return np.sin(2 * np.pi * (hz * np.arange(samples) / rate + turn))


# --- the effects, on a sound (samples,) -----------------------------------------------------------------------------

def eq(sound, rate, bands):
    """Two or three peaking filters, each (Hz, dB, Q)."""
    return filtered(sound, *(peak(*band, rate) for band in bands))


def draw_eq(rng):
    ranges_hz = rng.permutation([(100, 400), (500, 2000), (2500, 7000)])[:rng.integers(2, 4)]
    return {"bands": [(log_uniform(rng, *hz), rng.uniform(10, 15) * rng.choice([-1, 1]), rng.uniform(0.5, 1.5))
                      for hz in ranges_hz]}


def overdrive(sound, rate, gain_db, bias, tone_hz):
    """Soft clipping, slightly asymmetric."""
    return clipped(sound, rate, lambda wave: np.tanh(10 ** (gain_db / 20) * wave + bias), tone_hz)


def distortion(sound, rate, gain_db, tone_hz):
    """Hard clipping."""
    return clipped(sound, rate, lambda wave: np.clip(10 ** (gain_db / 20) * wave, -1, 1), tone_hz)


def clipped(sound, rate, curve, tone_hz):
    """A waveshaping curve, with oversampling; then a tone control."""
    wave = curve(scipy.signal.resample_poly(sound, _OVERSAMPLING, 1))
    return filtered(scipy.signal.resample_poly(wave, 1, _OVERSAMPLING), low_pass(tone_hz, rate, 1))


def tremolo(sound, rate, hz, turn, depth, hardness):
    """Amplitude modulation: sinusoidal if hardness is small, closer to a square wave if it is large."""
    wave = np.tanh(hardness * sine(len(sound), rate, hz, turn)) / np.tanh(hardness)
    return sound * (1 - depth * (1 + wave) / 2)


def vibrato(sound, rate, hz, turn, cents):
    """Periodic pitch modulation by a modulated delay."""
    return delayed(sound, rate, 1 + cents_to_ms(cents, hz) * (1 + sine(len(sound), rate, hz, turn)))


def chorus(sound, rate, hz, turns, delays_ms, cents, level):
    """The dry sound and one to three voices with modulated pitch."""
    depths_ms = np.minimum(cents_to_ms(cents, hz), 6)
    voices = [delayed(sound, rate, delay_ms + depth_ms * sine(len(sound), rate, *each))
              for delay_ms, depth_ms, *each in zip(delays_ms, depths_ms, hz, turns, strict=True)]
    return sound + level / np.sqrt(len(voices)) * sum(voices)


def draw_chorus(rng):
    voices = rng.integers(1, 4)
    return {"hz": log_uniform(rng, 0.2, 2, voices), "turns": rng.random(voices),
            "delays_ms": rng.uniform(15, 30, voices), "cents": rng.uniform(8, 25, voices), "level": rng.uniform(0.5, 1)}


def cents_to_ms(cents, hz):
    """The amplitude of a sinusoidal delay for a vibrato of this depth; the delay's slope changes the pitch."""
    return 1000 * (2 ** (cents / 1200) - 1) / (2 * np.pi * hz)


def flanger(sound, rate, hz, turn, shortest_ms, depth_ms, feedback, level):
    """The dry sound and a short modulated delay: a moving comb filter."""
    delays_ms = shortest_ms + depth_ms * (1 + sine(len(sound), rate, hz, turn))
    return sound + level * delayed(sound, rate, delays_ms, feedback)


def phaser(sound, rate, hz, turn, stages, lowest_hz, octaves, feedback, level):
    """The dry sound and a series of all-pass filters with a swept turnover frequency: two to four moving notches."""
    turnover_hz = lowest_hz * 2 ** (octaves * (1 + sine(len(sound), rate, hz, turn)) / 2)
    tangents = np.tan(np.pi * turnover_hz / rate)
    return sound + level * all_passes(sound, (tangents - 1) / (tangents + 1), stages, feedback)


def echo(sound, rate, delay_ms, level, feedback=0.0, damping=0.0):
    """One echo; with feedback, many, each with less treble than the one before."""
    return sound + level * delayed(sound, rate, np.full(len(sound), delay_ms), feedback, damping)


def reverb(sound, rate, seconds, treble, crossover_hz, predelay_ms, wet, seed):
    """Convolution with a room's response: noise that decays by 60 dB in `seconds`, its treble faster.

    Moorer, "About This Reverberation Business", Computer Music Journal 3 (2), 1979.
    """
    noise, times = np.random.default_rng(seed).normal(size=len(sound)), np.arange(len(sound)) / rate
    bass = filtered(noise, low_pass(crossover_hz, rate))
    room = bass * 1000 ** (-times / seconds) + (noise - bass) * 1000 ** (-times / seconds / treble)
    tail = scipy.signal.fftconvolve(shifted(sound, round(predelay_ms * rate / 1000)), room)[:len(sound)]
    return (1 - wet) * sound + wet * tail * np.linalg.norm(sound) / np.linalg.norm(tail)


def delayed(sound, rate, delays_ms, feedback=0.0, damping=0.0):
    """The sound, delayed by (samples,) milliseconds; feedback: the factor with which the output is fed back."""
    return _delay_line(sound, delays_ms * rate / 1000, feedback, damping)


@numba.njit(cache=True)
def _delay_line(sound, delays, feedback, damping):
    """Fractional delays by Catmull-Rom interpolation; the delay must be at least two samples."""
    line, wet, last = np.zeros(len(sound) + 3), np.zeros(len(sound)), 0.0  # sample n is at line[n + 3]
    for n in range(len(sound)):
        position = max(n - delays[n], -2.0)
        whole = int(np.floor(position))
        x, (a, b, c, d) = position - whole, line[whole + 2:whole + 6]
        wet[n] = b + x / 2 * (c - a + x * (2 * a - 5 * b + 4 * c - d + x * (3 * (b - c) + d - a)))
        last += (1 - damping) * (wet[n] - last)  # first-order low-pass
        line[n + 3] = sound[n] + feedback * last
    return wet


@numba.njit(cache=True)
def all_passes(sound, coefficients, stages, feedback):
    """First-order all-pass filters in series; their coefficient changes from sample to sample."""
    wet, state, value = np.zeros(len(sound)), np.zeros(stages), 0.0
    for n in range(len(sound)):
        value = sound[n] + feedback * value
        for stage in range(stages):
            out = coefficients[n] * value + state[stage]
            state[stage] = value - coefficients[n] * out
            value = out
        wet[n] = value
    return wet


_EFFECTS = {  # the effect, and its random settings
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
    """Random parameters of the recording."""
    return {"bass_db": rng.uniform(-2, 2), "treble_db": rng.uniform(-2, 2), "peak_db": rng.uniform(-13, -1),
            "noise": rng.normal(0, log_uniform(rng, 1e-5, 3e-4), samples)}


def simulate_recording(sound, rate, bass_db, treble_db, peak_db, noise):
    """Simulate amplifier, microphone and recorder; the peak level has the same distribution for all effects."""
    sound = filtered(sound - sound.mean(), peak(150, bass_db, 0.5, rate), peak(5000, treble_db, 0.5, rate))
    return 10 ** (peak_db / 20) * (sound / np.abs(sound).max() + noise)


if __name__ == "__main__":
    script.run(main)
