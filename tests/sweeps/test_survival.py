"""Sweeps that are killed, crowded and starved: whatever happens, in the end it is as if nothing had.

The sampler is a fake that takes its time; kernels, papermill, locks and files are the real ones.
"""

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path

import psutil
import pytest

from helpers.files import claimed, holder, last_holder
from helpers.runs import run as runs
from helpers.runs.protocol import protocol
from helpers.runs.run import Run
from helpers.scenes import images
from helpers.scoring import scores
from helpers.sweeps import progress
from helpers.sweeps.workers import Cluster
from tests.fakes import sampler
from tests.fakes.judged import load_small_judges
from tests.fakes.study import write_models, write_scenes

KILLS, LONGEST = 30, 400  # of one test; seconds after which it gives up killing
ARMS = [f"suffix-{kind}-g{scale}" for kind in ("text", "image") for scale in (1, 2, 5)]
SCENES = 16


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    """A folder with models, photos, and a run with prompts and no picture."""
    folder = tmp_path_factory.mktemp("survival")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("GROUNDED_DATA", str(write_models(folder / "data")))
        patch.setattr(runs, "machine", lambda: {"device": "toaster", "started": "now", "versions": {}})
        settings = protocol(str(write_scenes(folder / "photos", SCENES)), "demo", steps=2)
        run = Run.open(folder / "run", **settings)
        run.write_json("choices/template.json", {"template": "suffix", "guidance_scale": 2.0})
        rows = [
            {"scene": scene.name, "prompt": "a cone and a crate", "truncated": False} for scene in run.scenes
        ]
        for template in ("suffix", "caption"):
            run.write_jsonl(f"prompts/{template}.jsonl", rows)
        yield folder


def begin(folder: Path, where: Path, *options: str, pause: float = 0.0) -> subprocess.Popen:
    """Start a sweep of ARMS in the run folder `where`; its output goes to a file beside it."""
    notebook = sampler.prepare(where.with_name(f"{where.name}-notebooks"), log_of(where), pause, shown=False)
    command = [sys.executable, "-m", "tests.fakes.sampler", str(where), notebook, json.dumps(ARMS), *options]
    with where.with_name(f"{where.name}.out").open("a") as out:
        return subprocess.Popen(command, cwd=sampler.ROOT, stdout=out, stderr=out, start_new_session=True)


def finish(process: subprocess.Popen, where: Path) -> str:
    """Wait for a sweep and be sure that it went well; what it printed."""
    status = process.wait(timeout=240)
    told = where.with_name(f"{where.name}.out").read_text()
    assert status == 0, told
    return told


def log_of(where: Path) -> Path:
    return where.with_name(f"{where.name}.log")


def fresh(base: Path, name: str) -> Path:
    return Path(shutil.copytree(base / "run", base / name))


@pytest.fixture(scope="module")
def results(base):
    """What a finished sweep made: a function that returns file -> bytes of pictures, and of scores by judges
    that are random and small, for any judge says the same of the same pictures."""
    return partial(results_by, load_small_judges(base / "judges"))


@pytest.fixture(scope="module")
def undisturbed(base, results):
    """What a sweep makes in peace, in the run folder of that name."""
    where = fresh(base, "undisturbed")
    finish(begin(base, where), where)
    return results(where)


def results_by(judges, where: Path) -> dict[str, bytes]:
    run = Run(where)
    scores.score(run, run.scenes, ARMS, judges)
    files = [*where.glob("pictures/*/*"), *where.glob("scores/*.json")]
    assert len(files) == len(ARMS) * (SCENES + 1), "something was left behind, or is lacking"
    return {str(path.relative_to(where)): path.read_bytes() for path in files}


def parts(process: subprocess.Popen) -> dict[str, list[psutil.Process]]:
    """The living processes of a sweep: itself and its kernels."""
    sweep = [psutil.Process(process.pid)] if process.poll() is None else []
    return {"sweep": sweep, "kernel": below(process, "ipykernel")}


def below(process: subprocess.Popen, word: str) -> list[psutil.Process]:
    """The living processes below one that have a word in their command line."""
    found = []
    with suppress(psutil.NoSuchProcess):  # it ended while it was looked at
        for child in psutil.Process(process.pid).children(recursive=True):
            with suppress(psutil.NoSuchProcess):
                found += [child] * (word in " ".join(child.cmdline()))
    return found


def kill(victims: list[psutil.Process], chance: random.Random) -> bool:
    if victims:
        try:
            chance.choice(victims).kill()
            return True
        except psutil.NoSuchProcess:
            pass
    return False


def check_pictures(where: Path, seen: dict[Path, int]) -> None:
    """Every picture is whole, none that was there is gone, and none was written again."""
    now = {path: path.stat().st_ino for path in where.glob("pictures/*/*.png")}
    assert seen.items() <= now.items()
    for path in now.keys() - seen.keys():
        assert images.is_whole(path), path
    seen.update(now)


def check_saves(where: Path, again: int = 0) -> None:
    saved = Counter(log_of(where).read_text().split())
    assert sum(saved.values()) - len(saved) == again, [path for path, count in saved.items() if count > 1]


@pytest.mark.slow
def test_killed_thirty_times_a_sweep_ends_as_if_nothing_had_happened(base, undisturbed, results):
    where, chance, kills, seen = fresh(base, "killed"), random.Random(0), Counter(), {}
    process, until = begin(base, where, pause=0.5), time.monotonic() + LONGEST
    while kills.total() < KILLS and time.monotonic() < until:
        time.sleep(chance.uniform(0.2, 2.5))
        kind = chance.choice(("sweep", "kernel", "kernel", "kernel"))
        kills[kind] += kill(parts(process)[kind], chance)
        check_pictures(where, seen)
        if process.poll() is not None or not psutil.pid_exists(process.pid):
            process = begin(base, where, pause=0.5)
    assert kills.total() == KILLS and min(kills.values()) > 2, kills
    process.wait(timeout=240)
    finish(begin(base, where), where)
    check_pictures(where, seen)
    check_saves(where)
    assert results(where) == undisturbed


@pytest.mark.slow
def test_two_sweeps_in_one_folder_share_the_work(base, undisturbed, results):
    where = fresh(base, "crowded")
    both = [begin(base, where, pause=0.1) for _ in range(2)]
    for process in both:
        finish(process, where)
    check_saves(where)
    assert results(where) == undisturbed


@pytest.mark.slow
def test_a_picture_cut_off_by_a_crash_is_made_again_and_no_other(base, undisturbed, results):
    where = base / "undisturbed"
    lost = where / "pictures" / ARMS[1] / "photo-3.png"
    lost.write_bytes(lost.read_bytes()[:-20])
    (lost.parent / ".photo-9.png.abc.partial").write_bytes(b"what a killed process leaves")
    told = finish(begin(base, where), where)
    assert told.count("done before") == 1 and ", 1 picture " in told
    check_saves(where, again=1)
    assert results(where) == undisturbed


@pytest.mark.slow
def test_stopped_from_the_keyboard_nothing_goes_on_behind_ones_back(base):
    where = fresh(base, "stopped")
    process = begin(base, where, pause=0.3)
    while not any(where.glob("pictures/*/*.png")):
        time.sleep(0.1)
        assert process.poll() is None, where.with_name("stopped.out").read_text()
    running = [one for some in parts(process).values() for one in some]
    process.send_signal(signal.SIGINT)
    assert process.wait(timeout=30) != 0
    gone, alive = psutil.wait_procs([one for one in running if one.pid != process.pid], timeout=10)
    assert gone and not alive
    made = Run(where).count_pictures()
    time.sleep(1)
    assert Run(where).count_pictures() == made < len(ARMS) * SCENES


@contextmanager
def small_disk(where: Path, size: str):
    where.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(where)], capture_output=True
    )
    if mounted.returncode:
        pytest.skip(f"cannot mount a small disk here: {mounted.stderr.decode().strip()}")
    try:
        yield
    finally:
        subprocess.run(["umount", "-l", str(where)], check=True)


@pytest.mark.slow
def test_a_full_disk_is_said_and_what_fitted_is_kept(base, undisturbed, results):
    where = base / "starved"
    with small_disk(where, "300k"):
        shutil.copytree(base / "run", where, dirs_exist_ok=True)
        process, seen = begin(base, where), {}
        assert process.wait(timeout=240) == 1
        told = where.with_name("starved.out").read_text()
        lines = [line for line in told.splitlines() if line.startswith("arms/")]
        assert lines and all("No space left on device" in line for line in lines), told
        check_pictures(where, seen)
        assert 0 < len(seen) < len(ARMS) * SCENES
        subprocess.run(["mount", "-o", "remount,size=64m", str(where)], check=True)
        finish(begin(base, where), where)
        check_pictures(where, seen)
        check_saves(where)
        assert results(where) == undisturbed


@contextmanager
def dask(folder: Path, workers: int):
    """A scheduler and workers with a GPU each to their name; the scheduler's file."""
    file, command = folder / "scheduler.json", [sys.executable, "-m", "distributed.cli.dask_scheduler"]
    options = ["--scheduler-file", str(file), "--no-dashboard"]
    started = [subprocess.Popen([*command, *options, "--host", "127.0.0.1", "--port", "0"], **SILENT)]
    command = [sys.executable, "-m", "distributed.cli.dask_worker", *options, "--nthreads", "1"]
    command += ["--resources", "GPU=1", "--local-directory", str(folder)]
    started += [subprocess.Popen(command, **SILENT) for _ in range(workers)]
    try:
        yield file, started[1:]
    finally:
        for process in started:
            for child in psutil.Process(process.pid).children(recursive=True):
                child.kill()
            process.kill()
            process.wait()


SILENT = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL, "cwd": sampler.ROOT}


@pytest.mark.slow
def test_a_cluster_whose_workers_are_killed_ends_as_if_nothing_had_happened(
    base, undisturbed, results, tmp_path
):
    where, chance, kills, seen = fresh(base, "cluster"), random.Random(1), Counter(), {}
    with dask(tmp_path, 2) as (file, nannies):
        options = ("--cluster", str(file))
        process, until = begin(base, where, *options, pause=0.4), time.monotonic() + LONGEST
        while kills.total() < 8 and time.monotonic() < until:
            time.sleep(chance.uniform(1, 4))
            nanny, kind = chance.choice(nannies), chance.choice(("worker", "kernel"))
            victims = below(nanny, "ipykernel" if kind == "kernel" else "spawn_main")
            kills[kind] += kill(victims, chance)
            check_pictures(where, seen)
            if process.poll() is not None:
                process = begin(base, where, *options, pause=0.4)
        process.wait(timeout=240)
        told = finish(begin(base, where, *options), where)
        with Cluster(str(file)) as cluster:
            assert cluster.ask(os.getppid) in [nanny.pid for nanny in nannies]
            with pytest.raises(ZeroDivisionError):
                cluster.ask(divmod, 1, 0)
    assert kills.total() == 8 and min(kills.values()) > 0, kills
    assert "one GPU per notebook" in told
    check_pictures(where, seen)
    check_saves(where)
    assert results(where) == undisturbed


def test_a_lock_is_held_by_one_and_tells_who(tmp_path):
    path, inside, most = tmp_path / "drawing" / "arm.json", [], []

    def hold(_):
        with claimed(path) as tell:
            inside.append(1)
            most.append(len(inside))
            tell(batch_size=4)
            assert holder(path)["batch_size"] == 4
            time.sleep(0.01)
            inside.pop()

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(hold, range(40)))
    assert max(most) == 1 and not path.exists() and holder(path) is None and last_holder(path) == {}


def test_what_a_dead_holder_left_is_no_claim(tmp_path):
    path = tmp_path / "arm.json"
    path.write_text('{"batch_size": 8}')
    assert holder(path) is None and last_holder(path) == {"batch_size": 8}
    with claimed(path):
        assert holder(path)["process"] and "batch_size" not in holder(path)


def state(run: Run, arm: str) -> progress.State:
    return progress.states(run, [arm])[0]


def test_the_status_of_an_arm_is_read_from_the_folder(base):
    run, arm = Run(fresh(base, "told")), ARMS[0]
    assert state(run, arm).what == "missing"
    with claimed(run.claim(arm)) as add:
        add(batch_size=4)
        assert state(run, arm).what == "running" and "batch_size 4" in state(run, arm).reason
    failed = run.folder / "notebooks" / "arms" / f"{arm}+1.failed.ipynb"
    failed.parent.mkdir(parents=True)
    metadata = {"grounded": {"failed": "cell 4: OSError: no space\nmore", "arms": [arm, "other"]}}
    failed.write_text(json.dumps({"cells": [], "metadata": metadata, "nbformat": 4, "nbformat_minor": 5}))
    assert state(run, arm).what == "failed" and state(run, "other").what == "failed"
    assert state(run, arm).reason == f"cell 4: OSError: no space; {failed}"
    failed.unlink()
    picture = sampler.paint(sampler_request("a"), 8)
    for place, scene in enumerate(run.scenes):
        images.save(picture, run.picture(arm, scene))
        assert state(run, arm).what == ("done" if place == SCENES - 1 else "part")
    lines = progress.table(run, ARMS[:2])
    assert lines[0] == "2 arms: 1 done, 1 missing; 0 with scores" and ARMS[1] in lines[1]
    assert ARMS[0] in lines[2] and "16 of 16 pictures, no scores" in lines[2]
    run.write_json(f"scores/{arm}.json", [])
    assert len(progress.table(run, [arm])) == 1


def sampler_request(scene: str):
    from helpers.generation.requests import Request

    return Request(scene, "a cone")


def test_what_the_rest_takes_is_estimated_from_what_pictures_say_of_themselves(base):
    run = Run(fresh(base, "estimated"))
    unknown = progress.Costs(run).need(ARMS)
    assert (unknown.pictures, unknown.seconds, unknown.disk) == (len(ARMS) * SCENES, None, None)
    picture = sampler.paint(sampler_request("a"), 8)
    for arm, seconds in (("other-text-g2", "0.5"), ("other-image-g2", "2.0"), ("mine", None)):
        images.save(picture, run.picture(arm, "photo-0"), {"seconds": seconds} if seconds else {})
    needed = progress.Costs(run).need(ARMS[1:2], workers=2)
    assert needed.seconds == pytest.approx(0.5 * SCENES / 2) and needed.disk > 0
    assert progress.Costs(run).need([ARMS[4]]).seconds == pytest.approx(2 * SCENES)
    images.save(picture, run.picture(ARMS[0], "photo-0"), {"seconds": "0.25"})
    first, *rest = progress.Costs(run).plan(ARMS, 1)
    assert first.startswith(f"{len(ARMS) * SCENES - 1} pictures to make, about 2 min")
    assert [line.split()[0] for line in rest][1] == "suffix-text-g2,5" and "16 s" in rest[1]
    for scene in run.scenes:
        images.save(picture, run.picture(ARMS[0], scene))
    assert len(progress.Costs(run).plan(ARMS[:2], 1)) == 2  # what is made already takes no line
