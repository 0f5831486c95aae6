"""A pretended Google Cloud, for the tests of `experiments/cloud_tpu`.

There is no Google Cloud where tests run, so here, and only here, stand-ins take real programs' places:
`gcloud` (gcloud.py) runs what is sent to a TPU's workers with `sh -c`, each with a folder as its home; `uv`
makes an environment with nothing in it; `experiments.train` (train.py) notes how it was started and leaves
when told. Git, sh, flock, setsid and the scripts themselves are the real ones.
"""

import ast
import contextlib
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

from tests.support.programs import ROOT

HERE = Path(__file__).parent
SCRIPTS = ROOT / "experiments" / "cloud_tpu"
PYTHON = getattr(sys, "_base_executable", sys.executable)

WORKDIR = "--workdir=gs://bucket/run"
# What shells, ssh and gcloud might each make something else of.
AWKWARD = [
    WORKDIR,
    "--a=two  words",
    "--b=*",
    '--c=it\'s "quoted"',
    "--d=$HOME `id` \\n ; & | < > ! # ~",
    "--e=two\nlines\n",
    "--f={1,2}[3]?(4)",
    "",
    "--g=ä %USER%",
]

GCLOUD = f"""#!/bin/sh
exec "{PYTHON}" -IS "{HERE / "gcloud.py"}" "$@"
"""
UV = f"""#!/bin/sh
echo "$@" >>"$HOME/uv"
[ "$1" = venv ] || exit 0
for folder; do :; done
mkdir -p "$folder/bin"
printf '#!/bin/sh\\nexec "{PYTHON}" -S "$@"\\n' >"$folder/bin/python"
chmod +x "$folder/bin/python"
"""


def read_lines(path: Path) -> list[Any]:
    """The values that stand in a file, one a line; a line that is still being written is left out."""
    text = path.read_text() if path.exists() else ""
    return [ast.literal_eval(line) for line in text.split("\n")[:-1]]


class Sandbox:
    """A checkout with the scripts in it, a cloud without a TPU, a bucket, and a way to call `tpu.sh`."""

    def __init__(self, root: Path) -> None:
        self.checkout, self.cloud, self.bucket = root / "checkout", root / "cloud", root / "bucket"
        self.script = self.checkout / "experiments" / "cloud_tpu" / "tpu.sh"
        self._programs = root / "bin"
        self._started: list[subprocess.Popen[str]] = []
        for folder in (self.cloud / "fail", self.bucket, self._programs):
            folder.mkdir(parents=True)
        shutil.copytree(SCRIPTS, self.checkout / "experiments" / "cloud_tpu")
        shutil.copy(HERE / "train.py", self.checkout / "experiments")
        (self.checkout / "experiments" / "version").write_text("committed")
        (self._programs / "gcloud").write_text(GCLOUD)
        (self._programs / "uv").write_text(UV)
        for program in self._programs.iterdir():
            program.chmod(0o755)
        self.environment = {
            "PATH": f"{self._programs}:{os.environ['PATH']}",
            "HOME": str(root),
            "CLOUD": str(self.cloud),
            "BUCKET": str(self.bucket),
            "TPU_NAME": "mla",
            "PROJECT_ID": "project",
            "ZONE": "zone",
            "ACCELERATOR_TYPE": "v5litepod-16",
        }
        author = "-c user.name=a -c user.email=a@b"
        for command in ("init --quiet", "add .", f"{author} commit --quiet --message=a"):
            subprocess.run(
                ["git", *command.split()], cwd=self.checkout, env=self.environment, check=True
            )

    def popen(self, *arguments: str) -> subprocess.Popen[str]:
        """Starts `tpu.sh`; its two outputs are one."""
        process = subprocess.Popen(
            ["sh", self.script, *arguments],
            env=self.environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        self._started.append(process)
        return process

    def tpu(self, *arguments: str, code: int = 0, answer: str = "") -> str:
        """What `tpu.sh` prints; it must leave with `code`."""
        process = self.popen(*arguments)
        printed, _ = process.communicate(answer, timeout=60)
        assert process.returncode == code, printed
        return printed

    def dry_run(self, *arguments: str) -> list[str]:
        """What `tpu.sh --dry_run` prints on standard output alone, by lines."""
        done = subprocess.run(
            ["sh", self.script, arguments[0], "--dry_run", *arguments[1:]],
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=60,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout.splitlines(keepends=True)

    def calls(self) -> list[list[str]]:
        """How `gcloud` was called so far."""
        return [call for call in read_lines(self.cloud / "calls") if call]

    def changes(self) -> list[str]:
        """What changed something, in order: create, scp, ssh, delete; a call that was refused did not."""
        calls = read_lines(self.cloud / "calls")
        done = [
            call
            for call, after in zip(calls, [*calls[1:], ""], strict=True)
            if call and after is not None
        ]
        quiet = (" status", " list")
        return [call[3] for call in done if not any(word in " ".join(call) for word in quiet)]

    def starts(self, worker: str | None = None) -> list[dict[str, Any]]:
        """The starts of the training, of one worker or of all."""
        return [s for s in read_lines(self.bucket / "starts") if worker in (None, s["worker"])]

    def run_states(self) -> list[str]:
        """What `tpu.sh status` says of the run, for each worker."""
        return self.tpu("status").splitlines()[1:]

    def preempt(self, request: str, node: str) -> None:
        """Takes the TPU away: its processes are killed at once, and its states become these."""
        (self.cloud / "tpu-vm").write_text(node)
        (self.cloud / "queued-resources").write_text(request)
        self.kill()

    def kill(self) -> None:
        """Kills every training, and what watches over it: all that was started in a worker's home."""
        for pid in {start["pid"] for start in self.starts()}:
            with contextlib.suppress(ProcessLookupError, FileNotFoundError):
                if os.readlink(f"/proc/{pid}/cwd").startswith(str(self.cloud)):
                    os.killpg(os.getpgid(pid), signal.SIGKILL)

    def close(self) -> None:
        """Ends whatever still runs."""
        for process in self._started:
            process.kill()
            process.communicate()
        self.kill()
