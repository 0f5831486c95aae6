"""The scripts for Cloud TPU at work, against a pretended Google Cloud: tests/cloud_tpu says what of it."""

import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.experiments.cloud_tpu.sandbox import AWKWARD, WORKDIR, Sandbox
from tests.support.helpers import wait_for

# The part that runs on a TPU's machines is written for Linux.
pytestmark = pytest.mark.skipif(
    not (shutil.which("flock") and shutil.which("setsid") and Path("/proc").exists()),
    reason="flock, setsid or /proc is not here",
)
# States of the queued resource and of the node, after which the TPU does not come back.
LOST = [("SUSPENDED", ""), ("ACTIVE", "PREEMPTED"), ("FAILED", ""), ("ACTIVE", "TERMINATED")]


@pytest.fixture
def sandbox(tmp_path: Path) -> Iterator[Sandbox]:
    sandbox = Sandbox(tmp_path)
    yield sandbox
    sandbox.close()


def test_what_is_printed_and_pasted_does_what_is_run(sandbox: Sandbox) -> None:
    steps = [["create"], ["install"], ["run", "--", *AWKWARD]]
    for step in steps:
        sandbox.tpu(*step)
    run = sandbox.calls()
    wait_for(lambda: len(sandbox.starts()) == 2)
    sandbox.kill()
    sandbox.tpu("delete", "--yes")
    (sandbox.cloud / "calls").unlink()
    for step in steps:
        text = "".join(sandbox.dry_run(*step))
        subprocess.run(["sh", "-e"], input=text, text=True, env=sandbox.environment, check=True)
    assert sandbox.calls() == run
    wait_for(lambda: len(sandbox.starts()) == 4)


def test_the_training_gets_its_flags_as_they_were_on_every_worker(sandbox: Sandbox) -> None:
    (sandbox.checkout / "experiments" / "version").write_text("changed, not committed")
    sandbox.tpu("create")
    assert "what is not committed is not copied" in sandbox.tpu(
        "install", "--data=gs://bucket/packed"
    )
    assert sandbox.run_states() == ["none", "none"]
    for home in (sandbox.cloud / "workers").iterdir():
        (home / "--b=something for the star").touch()
    sandbox.tpu("run", "--", *AWKWARD)
    wait_for(lambda: len(sandbox.starts()) == 2)
    for start in sandbox.starts():
        home = sandbox.cloud / "workers" / start["worker"]
        assert start["flags"] == [*AWKWARD, "--distributed=auto"]
        assert start["folder"] == str(home / "mla_jax")
        assert start["source"] == "committed"
        assert f"-e {home}/mla_jax/src[tpu]" in (home / "uv").read_text()
        copied = f"rsync --recursive gs://bucket/packed {home}/mla_jax/data"
        assert (home / "copied").read_text() == copied
    assert sandbox.run_states() == ["running", "running"]


def test_the_wrapper_starts_again_on_75_only_when_asked(sandbox: Sandbox) -> None:
    sandbox.tpu("create")
    sandbox.tpu("install")
    for flags, codes, starts, left in [
        ([], "75 75 0", 1, 75),
        (["--restart"], "75 75 3 75", 3, 3),
        (["--restart"], "1", 1, 1),
        ([], "0", 1, 0),
    ]:
        (sandbox.bucket / "starts").unlink(missing_ok=True)
        for worker in ("0", "1"):
            (sandbox.bucket / f"codes-{worker}").write_text(codes)
        sandbox.tpu("run", *flags, "--", WORKDIR)
        wait_for(lambda: "running" not in sandbox.run_states())
        assert sandbox.run_states() == [f"exited {left}"] * 2
        assert len(sandbox.starts("0")) == len(sandbox.starts("1")) == starts
    # An exit code is that of the last run; one that was killed has left none.
    for worker in ("0", "1"):
        (sandbox.bucket / f"codes-{worker}").unlink()
    sandbox.tpu("run", "--", WORKDIR)
    wait_for(lambda: len(sandbox.starts()) == 4)
    sandbox.kill()
    assert sandbox.run_states() == ["none", "none"]


def test_stop_ends_a_run_that_would_restart_and_a_second_start_is_no_second_run(
    sandbox: Sandbox,
) -> None:
    sandbox.tpu("create")
    sandbox.tpu("install")
    sandbox.tpu("run", "--restart", "--", WORKDIR)
    wait_for(lambda: len(sandbox.starts()) == 2)
    assert sandbox.tpu("run", "--restart", "--", WORKDIR).split("\n")[:2] == ["runs already"] * 2
    assert "a run with other flags is on here" in sandbox.tpu("run", "--", WORKDIR, code=1)
    assert "a run is on here" in sandbox.tpu("install", code=1)
    sandbox.tpu("stop")
    wait_for(lambda: sandbox.run_states() == ["exited 75"] * 2)
    assert len(sandbox.starts()) == 2
    assert "no run is on" in sandbox.tpu("stop")


def test_stop_sent_twice_is_one_signal(sandbox: Sandbox) -> None:
    """A second one would end the training at once, not saved."""
    sandbox.tpu("create")
    sandbox.tpu("install")
    (sandbox.bucket / "slow-to-stop").touch()
    sandbox.tpu("run", "--", WORKDIR)
    wait_for(lambda: len(sandbox.starts()) == 2)
    assert "told to stop already" not in sandbox.tpu("stop")
    assert sandbox.tpu("stop").count("told to stop already") == 2
    (sandbox.bucket / "finish").touch()
    wait_for(lambda: sandbox.run_states() == ["exited 75"] * 2)


def test_watch_starts_the_same_run_again_after_every_way_to_lose_it(sandbox: Sandbox) -> None:
    watch = sandbox.popen("watch", "--spot", "--every=0", "--delete_at_end", "--", *AWKWARD)
    wait_for(lambda: len(sandbox.starts()) == 2)
    # What is installed later is the commit of the beginning.
    (sandbox.checkout / "experiments" / "version").write_text("later")
    author = ["-c", "user.name=a", "-c", "user.email=a@b"]
    subprocess.run(
        ["git", *author, "commit", "--quiet", "--all", "--message=b"],
        cwd=sandbox.checkout,
        env=sandbox.environment,
        check=True,
    )
    for life, (request, node) in enumerate(LOST, start=2):
        sandbox.preempt(request, node)
        wait_for(lambda life=life: len(sandbox.starts()) == 2 * life)
    (sandbox.bucket / "finish").touch()
    printed, _ = watch.communicate(timeout=60)
    assert watch.returncode == 0, printed
    assert "the run is finished" in printed
    assert sandbox.changes() == ["create", "scp", "ssh", "ssh", "delete"] * (len(LOST) + 1)
    for start in sandbox.starts():
        assert start["flags"] == [*AWKWARD, "--distributed=auto"]
        assert start["source"] == "committed"


def test_watch_leaves_a_transition_alone_and_goes_on_with_a_run_that_is_there(
    sandbox: Sandbox,
) -> None:
    sandbox.tpu("create")
    for request, node in [
        ("SUSPENDING", "READY"),
        ("ACTIVE", "DELETING"),
        ("PROVISIONING", "CREATING"),
    ]:
        sandbox.preempt(request, node)
        before = len(sandbox.calls())
        watch = sandbox.popen("watch", "--every=0", "--", WORKDIR)
        wait_for(lambda before=before: len(sandbox.calls()) > before + 8)
        watch.kill()
        assert {call[3] for call in sandbox.calls()[before:]} == {"list"}, (request, node)
    sandbox.preempt("ACTIVE", "READY")
    sandbox.tpu("install")
    sandbox.tpu("run", "--", WORKDIR)
    wait_for(lambda: len(sandbox.starts()) == 2)
    watch = sandbox.popen("watch", "--every=0", "--", WORKDIR)
    looks = len(sandbox.calls())
    wait_for(lambda: len(sandbox.calls()) > looks + 8)
    (sandbox.bucket / "finish").touch()
    assert "still there, and costs" in watch.communicate(timeout=60)[0]
    assert watch.returncode == 0
    assert sandbox.changes() == ["create", "scp", "ssh", "ssh"]


def test_watch_goes_on_after_75_and_gives_up_on_a_failure(sandbox: Sandbox) -> None:
    (sandbox.bucket / "codes-0").write_text("75 75 9")
    (sandbox.bucket / "codes-1").write_text("75 75 9")
    printed = sandbox.tpu("watch", "--every=0", "--delete_at_end", "--", WORKDIR, code=1)
    assert printed.splitlines()[-1].startswith("error: the run failed, exited 9")
    assert printed.count("run: exited 9") == 2  # a preemption may stand behind the first
    assert len(sandbox.starts("0")) == 3
    assert "delete" not in sandbox.changes()


def test_watch_bears_what_passes(sandbox: Sandbox) -> None:
    """A start that did not reach every worker is sent again; an answer that did not come is no answer."""
    for what, times in {"list": 3, "create": 1, "scp": 2, "start-1": 2}.items():
        (sandbox.cloud / "fail" / what).write_text(str(times))
    watch = sandbox.popen("watch", "--every=0", "--", WORKDIR)
    wait_for(lambda: len(sandbox.starts()) == 2 and " status" in str(sandbox.calls()[-1]))
    (sandbox.bucket / "finish").touch()
    watch.communicate(timeout=60)
    assert watch.returncode == 0
    assert [len(sandbox.starts(worker)) for worker in "01"] == [1, 1]


def test_watch_does_not_take_an_error_for_nothing(sandbox: Sandbox) -> None:
    (sandbox.cloud / "fail" / "list").write_text("99")
    printed = sandbox.tpu("watch", "--every=0", "--", WORKDIR, code=1)
    assert "ten looks in a row failed" in printed
    assert {call[3] for call in sandbox.calls()} == {"list"}


def test_watch_does_not_ask_for_ever(sandbox: Sandbox) -> None:
    watch = sandbox.popen("watch", "--every=0", "--restarts=2", "--", WORKDIR)
    for _ in range(3):
        state = sandbox.cloud / "queued-resources"
        wait_for(lambda state=state: state.exists() and state.read_text() == "ACTIVE")
        sandbox.preempt("FAILED", "")
    assert "gone again after --restarts=2" in watch.communicate(timeout=60)[0]
    assert watch.returncode == 1
    assert sandbox.changes().count("delete") == 2
