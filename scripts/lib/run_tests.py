#!/usr/bin/env python3
"""Builds all test programs once and runs several at a time; scripts/test calls it.

    run_tests.py all            every test, and parts of the mount's tests as an unprivileged user
    run_tests.py unit           the unit tests of all libraries
    run_tests.py NAME...        the tests whose name contains one of the words, or the whole test
                                program that is called so

Clippy is the compiler (RUSTC_WORKSPACE_WRAPPER), so that every crate is compiled once for lints,
programs and tests. With `all` a warning is a failure. The output of each test program is in
target/test-logs; that of failed programs is printed. The last line is
`N passed, N failed, N ignored`; the exit status is 0 if nothing failed.
"""

import json
import os
import re
import resource
import shutil
import subprocess
import sys
import threading
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
TARGET = Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target"))
LOGS = TARGET / "test-logs"

# The longest first, so that the rest fits beside them.
ORDER = ["heirloom/e2e", "heirloom/mount_direct", "heirloom/mount", "unprivileged user", "heirloom/lib"]

# Most tests wait more than they compute: several programs run at once, each with as many threads
# as there are cores.
AT_ONCE = min(4, max(2, os.cpu_count() or 2))

RESULT = re.compile(r"^test result: .* (\d+) passed; (\d+) failed; (\d+) ignored;", re.MULTILINE)


class Job:
    """One command that runs tests."""

    def __init__(self, name, command, folder=ROOT, variables=None):
        self.name = name
        self.command = command
        self.folder = folder
        self.variables = variables or {}
        self.log = LOGS / (re.sub(r"[^\w-]", "_", name) + ".log")

    def run(self):
        """Runs the command to its end; afterwards its counts, times and status are known."""
        begun = time.monotonic()
        with open(self.log, "wb") as log:
            process = subprocess.Popen(
                self.command,
                cwd=self.folder,
                env={**os.environ, **self.variables},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
            )
            _, status, usage = os.wait4(process.pid, 0)
        process.returncode = self.status = os.waitstatus_to_exitcode(status)
        self.seconds = time.monotonic() - begun
        self.cpu_seconds = usage.ru_utime + usage.ru_stime
        results = RESULT.findall(self.log.read_text(errors="replace"))
        self.passed, self.failed, self.ignored = (sum(map(int, column)) for column in zip(*results)) if results else (0, 0, 0)
        # A program that crashed or failed without saying so counts as one failed test.
        if self.status != 0 and self.failed == 0:
            self.failed = 1


def say(*words):
    print(*words, file=sys.stderr, flush=True)


def build(targets):
    """Builds programs and tests; returns the cargo messages of the artifacts, and the warnings."""
    if not shutil.which("clippy-driver"):
        sys.exit("clippy is missing: run `rustup component add clippy`, then start again.")
    command = ["cargo", "test", "--quiet", "--workspace", *targets, "--no-run", "--message-format=json"]
    cargo = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)
    artifacts, warnings = [], 0
    for line in cargo.stdout:
        if not line.startswith("{"):
            continue
        message = json.loads(line)
        if message["reason"] == "compiler-artifact":
            artifacts.append(message)
        elif message["reason"] == "compiler-message":
            sys.stderr.write(message["message"]["rendered"])
            warnings += message["message"]["level"] == "warning"
    if cargo.wait() != 0:
        sys.exit("The build failed; no test ran.")
    return artifacts, warnings


def jobs_of(artifacts, filters):
    """A job for each test program."""
    programs = {
        artifact["target"]["name"]: artifact["executable"]
        for artifact in artifacts
        if artifact["target"]["kind"] == ["bin"] and not artifact["profile"]["test"]
    }
    jobs = []
    for artifact in artifacts:
        if not artifact["profile"]["test"] or not artifact["executable"]:
            continue
        manifest, target = Path(artifact["manifest_path"]), artifact["target"]
        package = re.split(r"[#@]", artifact["package_id"])[-2].rsplit("/", 1)[-1]
        kind = "lib" if "lib" in target["kind"] else target["name"] if "test" in target["kind"] else f"{target['kind'][0]} {target['name']}"
        words = [] if kind in filters else filters
        # What cargo tells a test that it starts itself.
        variables = {f"CARGO_BIN_EXE_{name}": path for name, path in programs.items()}
        variables["CARGO_MANIFEST_DIR"] = str(manifest.parent)
        jobs.append(Job(f"{package}/{kind}", [artifact["executable"], *words], manifest.parent, variables))
    return jobs, programs


def unprivileged_job(jobs, programs):
    """The job that runs parts of the mount's tests as an unprivileged user."""
    mount = next(job for job in jobs if job.name == "heirloom/mount")
    script = '. scripts/lib/install.sh && . scripts/lib/unprivileged.sh && unprivileged_tests "$1" "$2"'
    command = ["bash", "-c", script, "bash", mount.command[0], programs["heirloom-passthrough"]]
    return Job("unprivileged user", command)


def run_all(jobs):
    """Runs the jobs, AT_ONCE at a time, and reports each when it ends."""
    LOGS.mkdir(parents=True, exist_ok=True)
    waiting = sorted(jobs, key=lambda job: ORDER.index(job.name) if job.name in ORDER else len(ORDER))
    lock = threading.Lock()

    def work():
        while True:
            with lock:
                if not waiting:
                    return
                job = waiting.pop(0)
            job.run()
            with lock:
                report(job)

    workers = [threading.Thread(target=work) for _ in range(AT_ONCE)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()


def report(job):
    if job.failed:
        say(f"\n==== {job.name} failed (exit status {job.status}); its output:\n")
        say(job.log.read_text(errors="replace"))
    if job.passed + job.failed + job.ignored:
        counts = f"{job.passed} passed, {job.failed} failed, {job.ignored} ignored"
        say(f"{job.name}: {counts} in {job.seconds:.0f} s ({job.cpu_seconds:.0f} s of CPU time)")


def main(arguments):
    if not arguments or arguments[0].startswith("-"):
        sys.exit(__doc__)
    all_tests, unit = arguments == ["all"], arguments == ["unit"]
    filters = [] if all_tests or unit else arguments
    os.environ["RUSTC_WORKSPACE_WRAPPER"] = "clippy-driver"
    begun = time.monotonic()
    say("Linting and building ..." if all_tests else "Building ...")
    artifacts, warnings = build(["--lib"] if unit else ["--all-targets"])
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    say(f"Built in {time.monotonic() - begun:.0f} s ({used.ru_utime + used.ru_stime:.0f} s of CPU time).")
    if all_tests and warnings:
        sys.exit(f"{warnings} warnings: see above. No test ran.")

    jobs, programs = jobs_of(artifacts, filters)
    if all_tests:
        jobs.append(unprivileged_job(jobs, programs))
        jobs.append(Job("model of the library", ["tests/model/check.py"]))
        jobs.append(Job("doc tests", ["cargo", "test", "--quiet", "--workspace", "--doc"]))
    say("Testing ...")
    run_all(jobs)
    passed, failed, ignored = (sum(getattr(job, count) for job in jobs) for count in ("passed", "failed", "ignored"))
    if filters and passed + failed == 0:
        sys.exit(f"No test has {' or '.join(filters)} in its name.")
    cpu = sum(job.cpu_seconds for job in jobs)
    say(f"All in {time.monotonic() - begun:.0f} s (tests: {cpu:.0f} s of CPU time).")
    broken = [job.name for job in jobs if job.failed or job.status]
    if broken:
        say(f"Failed: {', '.join(broken)}; outputs are in {LOGS}.")
    print(f"\n{passed} passed, {failed} failed, {ignored} ignored", flush=True)
    return 1 if broken else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
