"""Each problem with a scheduler or its workers is one sentence."""

import logging
import sys
from contextlib import ExitStack
from pathlib import Path

import pytest

from audio_utils.runtime import dask_client
from audio_utils.runtime.errors import UNFINISHED, UserError

ADDRESS = "tcp://host:8786"


def versions(**changes):
    packages = {"dask": "1", "distributed": "1", "msgpack": "1", "cloudpickle": "1"} | changes
    return {"host": {"python": packages.pop("python", "3.11.7.final.0")}, "packages": packages}


@pytest.mark.parametrize(("scheduler", "worker", "sentence"), [
    ({}, {"python": "3.11.9.final.0"}, ""),
    ({"dask": "2"}, {}, "the scheduler has dask 2, but this process 1"),
    ({}, {"distributed": "2"}, "the worker tcp://a:1 has distributed 2, but this process 1"),
    ({}, {"python": "3.12.1.final.0"}, "the worker tcp://a:1 has Python 3.12, but this process 3.11")])
def test_a_difference_of_versions_is_one_sentence(scheduler, worker, sentence):
    found = {"client": versions(), "scheduler": versions(**scheduler), "workers": {"tcp://a:1": versions(**worker)}}
    if not sentence:
        dask_client._require_same_versions(ADDRESS, found)
        return
    with pytest.raises(UserError) as refused:
        dask_client._require_same_versions(ADDRESS, found)
    assert str(refused.value) == f"{ADDRESS}: {sentence}; install the same version on all hosts."


def test_dask_is_asked_for_by_name_if_it_is_missing(monkeypatch):
    monkeypatch.setitem(sys.modules, "distributed", None)
    dask_client._client.cache_clear()
    with pytest.raises(UserError) as refused:
        dask_client.connected(ADDRESS)
    assert str(refused.value) == (f"JOBS is an address, and Dask is not installed in {sys.executable}; type:\n"
                                  f"    {sys.executable} -m pip install dask distributed")


@pytest.fixture
def quiet():
    """Restores Dask's loggers."""
    yield
    for name in dask_client._LOGGERS:
        logging.getLogger(f"distributed.{name}").disabled = False


@pytest.mark.slow
def test_a_scheduler_that_does_not_answer_is_one_sentence(monkeypatch, quiet):
    monkeypatch.setattr(dask_client, "CONNECT_SECONDS", 0.2)
    dask_client._client.cache_clear()
    with pytest.raises(UserError) as refused:
        dask_client.connected("tcp://127.0.0.1:1")
    assert str(refused.value) == "tcp://127.0.0.1:1: no Dask scheduler answers; start one, or correct JOBS."


class Client:
    """A scheduler with these workers, each with a number of threads and a function of the run."""
    status = "running"

    def __init__(self, **workers):
        self.workers = workers

    def nthreads(self):
        return {name: threads for name, (threads, _) in self.workers.items()}

    def run(self, _function, run, on_error):
        assert on_error == "return"
        return {name: answer(dask_client.Run(*run)) for name, (_, answer) in self.workers.items()}


@pytest.mark.parametrize(("workers", "sentence"), [
    ({}, f"{ADDRESS}: the Dask scheduler has no workers; start some (dask worker {ADDRESS} --nthreads 1) and run the "
         "same command again."),
    ({"a": (1, None), "b": (4, None)},
     f"{ADDRESS}: the worker b has 4 threads; start the workers with --nthreads 1.")])
def test_workers_are_required_and_have_one_thread(monkeypatch, workers, sentence):
    monkeypatch.setattr(dask_client, "WORKER_SECONDS", 0)
    monkeypatch.setattr(dask_client, "_client", lambda _: Client(**workers))
    with pytest.raises(UserError) as refused:
        dask_client.connected(ADDRESS)
    assert str(refused.value) == sentence


def see(name):
    """The answer of a worker that sees the client's folder."""
    def answer(run):
        for folder in run.probed:
            Path(folder, f"@{name}@1@").write_text(run.token)
        return ""
    return answer


def refuse(answer):
    return lambda _run: answer


@pytest.mark.parametrize(("second", "sentence"), [
    (see("b"), ""), (refuse("x/: Dask worker on b does not see it."), "x/: Dask worker on b does not see it."),
    (refuse(("refused", "Dask worker on b: can't import.")), "Dask worker on b: can't import."),
    (refuse(ValueError("no")), f"{ADDRESS}: the worker b fails (ValueError: no); restart it."),
    (refuse(""), "{folder}/: a Dask worker sees another folder at this path; mount the same one on all hosts.")])
def test_all_workers_read_and_write_in_the_same_folder(tmp_path, monkeypatch, second, sentence):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(dask_client, "PROBE_SECONDS", 0)
    with ExitStack() as folders:
        run = dask_client.begin([], folders)
        assert list(run.probed) == [run.folder] == [str(path) for path in tmp_path.iterdir()]
        assert Path(run.folder).name.startswith(UNFINISHED)
        client = Client(a=(1, see("a")), b=(1, second))
        if not sentence:
            dask_client.check_workers(client, ADDRESS, run)
        else:
            with pytest.raises(UserError) as refused:
                dask_client.check_workers(client, ADDRESS, run)
            assert str(refused.value) == sentence.replace("{folder}", str(tmp_path))
    assert not list(tmp_path.iterdir())


@pytest.mark.skipif(not Path("/dev/shm").is_dir(), reason="needs a second file system")
def test_each_file_system_is_probed_once(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    items = ["x.wav", ("/dev/shm/y.wav", 1), Path("/dev/shm/z.wav"), 3]
    assert dask_client._file_systems(items) == [str(tmp_path), "/dev/shm"]


def test_a_lost_connection_is_one_sentence():
    def fail():
        raise OSError("closed")
    with pytest.raises(UserError) as refused:
        dask_client.asked(ADDRESS, fail)
    assert str(refused.value) == dask_client.describe_lost(ADDRESS)


@pytest.mark.parametrize(("address", "settings", "sentence"), [
    ("tls://host:1", {}, "needs a certificate and a key; set distributed.comm.tls in Dask's configuration."),
    ("tls://host:1", {"distributed.comm.tls.ca-file": "none.pem", "distributed.comm.tls.client.cert": "none.pem"},
     "Dask's configuration names a certificate or key that can't be read (No such file or directory); correct "
     "distributed.comm.tls."),
    ("tcp://host:1", {"distributed.comm.require-encryption": True},
     "is not encrypted, as Dask's configuration requires; write tls:// in JOBS.")])
def test_an_address_that_does_not_fit_the_configuration_of_tls_is_one_sentence(address, settings, sentence):
    dask = pytest.importorskip("dask")
    with dask.config.set(settings), pytest.raises(UserError) as refused:
        dask_client._require_encryption(address)
    assert str(refused.value) == f"{address}: {sentence}"
