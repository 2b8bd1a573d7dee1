"""The environment of numerical libraries and of worker processes."""

import importlib.util
import json
import multiprocessing
import os

import pytest

from audio_utils.runtime import environment, parallel
from audio_utils.runtime.errors import UserError


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


# --- Keras's backend -------------------------------------------------------------------------------------------------

@pytest.fixture
def keras_json(tmp_path, monkeypatch):
    """A function that writes the user's keras.json, and its path."""
    monkeypatch.delenv("KERAS_BACKEND", raising=False)
    monkeypatch.delenv("KERAS_HOME", raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    path = tmp_path / ".keras/keras.json"
    path.parent.mkdir()
    return path


def hide(monkeypatch, *packages):
    """Packages that are not installed; all others are."""
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name in packages else object())


def import_keras(error=None):
    with environment.import_of_keras():
        if error:
            raise error


def test_a_backend_that_is_not_installed_is_one_sentence_with_the_command(monkeypatch, keras_json):
    hide(monkeypatch, "jax", "tensorflow")
    with pytest.raises(UserError, match="^tensorflow is not installed in .*; type:\n    "):
        import_keras()
    monkeypatch.setenv("KERAS_BACKEND", "jax")
    with pytest.raises(UserError, match="^KERAS_BACKEND: the backend is jax, but jax can't be found; pip install jax"):
        import_keras()


@pytest.mark.parametrize("name", ["theano", "cntk", "nonsense", "numpy", "Tensorflow"])
def test_an_unknown_backend_is_one_sentence(monkeypatch, keras_json, name):
    keras_json.write_text(json.dumps({"backend": name, "image_data_format": "channels_first"}))
    with pytest.raises(UserError, match=f"^{keras_json}: the backend is '{name}', .* pip install tensorflow and set"):
        import_keras()
    monkeypatch.setenv("KERAS_BACKEND", name)
    with pytest.raises(UserError, match=f"^KERAS_BACKEND: the backend is '{name}'"):
        import_keras()


@pytest.mark.parametrize("text", ["", "{", "\0", "{}",
                                  '{"backend": "tensorflow", "image_data_format": "channels_first"}'])
def test_a_keras_json_that_keras_accepts_is_accepted(keras_json, text):
    keras_json.write_text(text)
    import_keras()
    assert environment.require_backend() == "tensorflow"
    keras_json.unlink()
    import_keras()


def test_keras_home_and_the_environment_come_first(monkeypatch, keras_json, tmp_path):
    keras_json.write_text('{"backend": "theano"}')
    monkeypatch.setenv("KERAS_HOME", str(tmp_path / "other"))
    import_keras()
    monkeypatch.delenv("KERAS_HOME")
    with pytest.raises(UserError, match="theano"):
        import_keras()
    monkeypatch.setenv("KERAS_BACKEND", "tensorflow")
    import_keras()
    assert environment.require_backend() == "tensorflow"


@pytest.mark.parametrize(("error", "remedy"), [
    (ValueError("Invalid `floatx` configuration."), "correct or remove .*keras.json"),
    (ImportError("libcudart.so:\n no such file"), "pip install --upgrade keras tensorflow")])
def test_an_import_that_fails_is_one_sentence(keras_json, error, remedy):
    with pytest.raises(UserError, match=rf"^Keras can't be imported with the backend tensorflow \(.*\); {remedy}\.$"):
        import_keras(error)


def test_another_kind_of_json_is_refused(keras_json):
    keras_json.write_text("[1]")
    with pytest.raises(UserError, match="keras.json: is damaged; delete it."):
        import_keras()


def test_with_another_backend_tensorflow_is_imported_silently_too(monkeypatch, keras_json):
    imported = []
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: True)
    monkeypatch.setattr(importlib, "import_module", imported.append)
    for backend in ("jax", "tensorflow"):
        monkeypatch.setenv("KERAS_BACKEND", backend)
        import_keras()
    assert imported == ["tensorflow"]


def test_without_shared_memory_there_are_no_semaphores(monkeypatch):
    assert environment.has_semaphores()

    def fail(_context):
        raise FileNotFoundError(2, "No such file or directory")

    monkeypatch.setattr(multiprocessing.get_context("spawn").__class__, "Lock", fail)
    assert not environment.has_semaphores()
    assert [result for _, result in parallel.each(abs, [-1] * 100, "", jobs=2)] == [1] * 100
