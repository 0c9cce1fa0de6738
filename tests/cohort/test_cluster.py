"""Workers killed, a scheduler started again, a scan that kills: nothing is lost."""

import contextlib
import os
import random
import signal
import socket
import subprocess
import sys
import threading
from pathlib import Path

import psutil
import pytest

from score_jax.cohort import cluster, running, work
from score_jax.cohort.cluster import ClusterOptions, queue_arguments
from score_jax.cohort.distributing import KilledError, distribute
from score_jax.cohort.options import Options
from score_jax.cohort.remote import UnfitWorkerError, run_there, settings_of
from score_jax.cohort.scans import find_scans, open_output
from score_jax.cohort.state import read_record
from score_jax.errors import ConfigError
from tests.commands import refused

from . import chaos
from .conftest import scan, write_image
from .test_run import files

COUNT = 200
POISON = "s117"
pytestmark = pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::RuntimeWarning")


@pytest.fixture(scope="module")
def little(tmp_path_factory):
    """Many little scans; some share an image."""
    folder = tmp_path_factory.mktemp("little")
    for number in range(7):
        write_image(folder / f"{number}.nii", scan(number, shape=(6, 7, 5))[0])
    return folder


def items_of(little, out, count=COUNT, deadly=POISON):
    out.mkdir()
    return {
        f"s{n:03d}": (little / f"{n % 7}.nii", out / f"s{n:03d}.nii", f"s{n:03d}" == deadly)
        for n in range(count)
    }


def serial(items, out):
    out.mkdir()
    for source, target, _ in items.values():
        chaos.threshold((source, out / target.name, False))
    return {key: (out / f"{key}.nii").read_bytes() for key in items}


def worker_processes():
    """Processes that Dask's nannies started for us."""
    children = psutil.Process().children(recursive=True)
    found = []
    for child in children:
        with contextlib.suppress(psutil.Error):
            if "multiprocessing.spawn" in " ".join(child.cmdline()):
                found.append(child)
    return found


class Killer(threading.Thread):
    """Kills a worker at random again and again."""

    def __init__(self, processes, each_s):
        super().__init__(daemon=True)
        self.processes, self.each_s, self.killed = processes, each_s, 0
        self.random, self.over = random.Random(3), threading.Event()

    def run(self):
        while not self.over.wait(self.each_s):
            with contextlib.suppress(psutil.Error, IndexError):
                self.random.choice(self.processes()).kill()
                self.killed += 1


@pytest.mark.slow
def test_workers_killed_at_random_and_a_scan_that_kills(little, tmp_path):
    items = items_of(little, tmp_path / "out")
    killer = Killer(worker_processes, each_s=3.0)
    started = []

    def on_start(dashboard, workers):
        started.append((dashboard, workers))
        if len(started) == 1:  # losing a result may cost the whole cluster, which then comes again
            killer.start()

    options = ClusterOptions(kind="local", workers=2, retries=1, dashboard=None)
    told = list(distribute(chaos.threshold, items, options, on_start=on_start))
    killer.over.set()
    killer.join()
    assert killer.killed >= 1
    keys = [key for key, _ in told]
    assert sorted(keys) == sorted(items)  # each once
    results = dict(told)
    assert isinstance(results[POISON], KilledError)
    assert POISON in str(results[POISON])
    del items[POISON]
    assert {results[key] for key in items} <= {"written", "was there"}
    expected = serial(items, tmp_path / "serial")
    assert {k: t.read_bytes() for k, (_, t, _) in items.items()} == expected
    assert not items_left(tmp_path / "out", items)


def items_left(out, items):
    return {p.stem for p in out.glob("s*.nii")} ^ set(items)


def free_port():
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        return listening.getsockname()[1]


class Outside:
    """A scheduler and a worker that a user has started, as processes of their own."""

    def __init__(self):
        self.address = f"tcp://127.0.0.1:{free_port()}"
        self.running = []

    def start(self):
        common = ["--host", "127.0.0.1", "--no-dashboard"]
        port = self.address.rpartition(":")[2]
        for words in (
            ["scheduler", *common, "--port", port],
            ["worker", self.address, *common, "--nthreads", "1", "--no-nanny"],
        ):
            command = [sys.executable, "-m", "dask", *words]
            self.running.append(
                subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
            )

    def kill(self):
        for process in self.running:
            process.send_signal(signal.SIGKILL)
            process.wait()
        self.running = []


@pytest.fixture
def outside():
    found = Outside()
    yield found
    found.kill()


@pytest.mark.slow
def test_a_scheduler_that_is_started_again(little, tmp_path, outside):
    items = items_of(little, tmp_path / "out", count=60, deadly=None)
    outside.start()
    told = []
    for key, result in distribute(
        chaos.threshold, items, ClusterOptions(kind=outside.address), patience_s=60
    ):
        told.append((key, result))
        if len(told) == 15:
            outside.kill()
            threading.Timer(0.5, outside.start).start()
    assert sorted(key for key, _ in told) == sorted(items)
    assert not items_left(tmp_path / "out", items)
    expected = serial(items, tmp_path / "serial")
    assert {k: t.read_bytes() for k, (_, t, _) in items.items()} == expected


def test_nobody_answers(monkeypatch):
    address = f"tcp://127.0.0.1:{free_port()}"
    _, distributed = cluster._dask()

    def nobody(*_, **__):
        raise OSError("timed out")

    monkeypatch.setattr(distributed, "Client", nobody)
    with pytest.raises(ConfigError, match="no scheduler answers"):
        list(distribute(chaos.threshold, {"a": 1}, ClusterOptions(kind=address)))
    monkeypatch.setitem(sys.modules, "dask", None)
    with pytest.raises(ConfigError, match=r"pip install 'score-jax\[cluster\]'"):
        list(distribute(chaos.threshold, {"a": 1}, ClusterOptions(kind="local")))
    assert list(distribute(chaos.threshold, {}, ClusterOptions(kind="local"))) == []


def listening(processes):
    """Addresses that these processes listen on."""
    found = set()
    for process in processes:
        with contextlib.suppress(psutil.Error):
            found |= {c.laddr.ip for c in process.net_connections("inet") if c.status == "LISTEN"}
    return found


@pytest.mark.slow
def test_a_cohort_on_two_workers_is_the_serial_one(bids, model, tmp_path):
    """To the byte, with a bad scan among them; nothing listens beyond the loopback address."""
    (bids / "sub-01/ses-00/anat/sub-01_ses-00_T2w.nii.gz").write_bytes(b"nothing")
    options = Options(models=(str(model),))
    scans = find_scans(bids)
    here, there = tmp_path / "here", tmp_path / "there"
    network = work.load(options)
    worker = work.Worker(network, options, bids, open_output(here, bids))
    jobs = running.plan(scans, network, options, here).todo
    serial = {r["Scan"]: r["Status"] for r in running.run_here(worker, jobs)}
    addresses, dashboards = set(), []

    def on_start(dashboard, workers):
        dashboards.append(dashboard)
        addresses.update(listening([psutil.Process(), *psutil.Process().children(recursive=True)]))

    settings = settings_of(options, bids, open_output(there, bids))
    asked = ClusterOptions(kind="local", workers=2, environment={"JAX_PLATFORMS": "cpu"})
    records = list(run_there(settings, jobs, asked, on_start=on_start))
    assert {r["Scan"]: r["Status"] for r in records} == serial
    assert len(records) == len(scans)
    assert sum(r["Status"] == "failed" for r in records) == 1
    assert files(here) == files(there)
    assert addresses == {"127.0.0.1"}
    assert dashboards[0].startswith("http://127.0.0.1:")
    again = running.plan(scans, network, options, there)
    assert [job.scan.id for job in again.todo] == ["sub-01_ses-00_T2w"]


def test_an_error_is_a_result(monkeypatch):
    """Without a cluster: what a worker's exception becomes, in this process."""
    from score_jax.cohort import remote

    errors = iter([UnfitWorkerError("a worker: no onnxruntime"), ValueError("a fault")])
    monkeypatch.setattr(remote, "distribute", lambda *_, **__: iter([("a", next(errors))]))
    options = Options(models=("gm",))
    with pytest.raises(UnfitWorkerError):
        list(run_there(settings_of(options, Path(), Path()), [], ClusterOptions(kind="local")))


def test_a_scan_that_killed_its_workers_has_a_record(bids, model, tmp_path, monkeypatch):
    from score_jax.cohort import remote

    options = Options(models=(str(model),))
    out = open_output(tmp_path / "out", bids)
    jobs = running.plan(find_scans(bids), work.load(options), options, out).todo[:2]
    errors = [KilledError("sub-00: the worker died"), ValueError("a fault")]
    told = [(job.scan.id, error) for job, error in zip(jobs, errors, strict=True)]
    monkeypatch.setattr(remote, "distribute", lambda *_, **__: iter(told))
    killed, fault = run_there(settings_of(options, bids, out), jobs, ClusterOptions(kind="local"))
    assert killed["Error"]["Text"].startswith("sub-00: the worker died")
    assert "ValueError: a fault" in fault["Bug"]
    assert read_record(out, jobs[0].scan) == killed
    assert set(running.plan(find_scans(bids), work.load(options), options, out).why) == {
        "failed", "new",
    }  # fmt: skip


def test_a_model_is_loaded_once_and_done_scans_are_not_done(bids, model, tmp_path, monkeypatch):
    from score_jax.cohort import remote

    options = Options(models=(str(model),), qc=False)
    settings = settings_of(options, bids, open_output(tmp_path / "out", bids))
    loads = []
    load = work.load
    monkeypatch.setattr(work, "load", lambda given: loads.append(given) or load(given))
    plan = running.plan(find_scans(bids), load(options), options, settings.out)
    first = [remote.run_errand(remote.Errand(settings, job)) for job in plan.todo[:3]]
    assert len(loads) == 1
    monkeypatch.setattr(work.Worker, "__call__", None)  # nothing may be done again
    again = [remote.run_errand(remote.Errand(settings, job)) for job in plan.todo[:3]]
    assert again == first
    gone = settings_of(Options(models=(str(tmp_path / "none"),)), bids, tmp_path / "out")
    with pytest.raises(UnfitWorkerError, match="a worker: model"):
        remote.run_errand(remote.Errand(gone, plan.todo[4]))


def test_the_script_of_a_job():
    options = ClusterOptions(
        kind="slurm", workers=3, threads=2,
        settings={
            "queue": "gpu", "walltime": "04:00:00", "cores": "4", "memory": "24GB",
            "job_extra_directives": "--gres=gpu:1; --exclusive=user",
        },
        environment={"JAX_PLATFORMS": "cuda"},
    )  # fmt: skip
    import dask_jobqueue

    with dask_jobqueue.SLURMCluster(**queue_arguments(options)) as made:
        script = made.job_script()
        assert made.scheduler_address.startswith("tcp://127.0.0.1:")
    for line in ("#SBATCH -p gpu", "#SBATCH -t 04:00:00", "#SBATCH --gres=gpu:1",
                 "#SBATCH --exclusive=user", "#SBATCH --cpus-per-task=4", "#SBATCH --mem=23G",
                 "export JAX_PLATFORMS=cuda"):  # fmt: skip
        assert line in script, script
    assert "--nthreads 2" in script
    assert "--host 127.0.0.1" in script
    assert sys.executable in script
    named = queue_arguments(ClusterOptions(kind="pbs", settings={"interface": "ib0"}))
    assert named["interface"] == "ib0"
    assert "host" not in named["scheduler_options"]
    assert "--host" not in named["worker_extra_args"]
    with pytest.raises(ConfigError, match="cores=many"):
        queue_arguments(ClusterOptions(kind="slurm", settings={"cores": "many"}))
    with (
        pytest.raises(ConfigError, match="slurm refuses its settings"),
        cluster.connected(ClusterOptions(kind="slurm", settings={"colour": "red"})),
    ):
        pass


def test_each_worker_has_a_gpu_or_processors_of_its_own(monkeypatch):
    options = ClusterOptions(kind="local", environment={"A": "b"})

    def environments(count, gpus, processors):
        return [cluster._environment(options, n, count, gpus, processors) for n in range(count)]

    assert environments(3, ["0", "5"], [0, 1]) == [
        {"A": "b", "CUDA_VISIBLE_DEVICES": gpu} for gpu in ("0", "5", "0")
    ]
    assert environments(2, [], [0, 1, 4, 5, 6]) == [
        {"A": "b", cluster.CPUS: "0,1"}, {"A": "b", cluster.CPUS: "4,5"},
    ]  # fmt: skip
    assert environments(3, [], [0, 1]) == [{"A": "b"}] * 3
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "2,MIG-7")
    assert cluster.visible_gpus() == ["2", "MIG-7"]
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "-1")
    assert cluster.visible_gpus() == []
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES")
    monkeypatch.setenv("PATH", "")
    assert cluster.visible_gpus() == []


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="Linux alone")
def test_a_worker_keeps_to_its_processors(monkeypatch):
    before = os.sched_getaffinity(0)
    one = min(before)
    try:
        monkeypatch.setenv(cluster.CPUS, f"{one}")
        cluster.keep_to_own_processors()
        assert os.sched_getaffinity(0) == {one}
    finally:
        for thread in os.listdir("/proc/self/task"):
            os.sched_setaffinity(int(thread), before)
    monkeypatch.delenv(cluster.CPUS)
    cluster.keep_to_own_processors()
    assert os.sched_getaffinity(0) == before


def test_what_is_refused(run, bids, tmp_path, model):
    words = ("run", bids, tmp_path / "out", "participant", "--model", model)
    refused(run(*words, "--cluster", "cloud"), "'cloud'", "slurm", "tcp://")
    refused(run(*words, "--cluster", "slurm", "--cluster-set", "queue"), "expected KEY=VALUE")
    refused(run(*words, "--cluster", "local", "--cluster-set", "queue=a"), "slurm and pbs")
    with pytest.raises(ConfigError, match="-1 workers"):
        ClusterOptions(kind="local", workers=-1)
