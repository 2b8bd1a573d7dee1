"""The environment of numerical libraries and of worker processes."""

import os

from audio_utils.runtime import environment


def test_messages_past_python_are_dropped_within_the_block(capfd):
    with environment.quiet_backend():
        os.write(2, b"a library's message\n")
    os.write(2, b"ours\n")
    assert capfd.readouterr().err == "ours\n"


def test_the_users_variables_of_backends_are_kept(monkeypatch):
    monkeypatch.setenv("TF_CPP_MIN_LOG_LEVEL", "0")
    with environment.quiet_backend():
        assert os.environ["TF_CPP_MIN_LOG_LEVEL"] == "0"


def test_workers_have_one_thread_and_the_parent_its_own_environment(monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "7")
    before = dict(os.environ)
    with environment.of_workers():
        assert os.environ["OMP_NUM_THREADS"] == os.environ["OPENBLAS_NUM_THREADS"] == "1"
    assert dict(os.environ) == before
