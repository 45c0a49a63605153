"""Import, make a client, get a run: CPU and peak memory of a fresh process with core dependencies only."""

from __future__ import annotations

import json
import os
import subprocess
import venv
from pathlib import Path

from . import clients, payloads
from .harness import HERE, Check, Result, Sample, Server, in_turns, median, ratio, serving

ENVIRONMENTS = HERE / ".environments"
REQUIREMENTS = {clients.OURS: str(HERE.parent), clients.SDK: "openai==3.54.*"}
CPU_AT_LEAST = 4.0
PEAK_AT_MOST = 40.0

# The peak is VmHWM and not ru_maxrss, which a new process inherits from the one that started it.
REPORT = """
import json, time
cpu = time.process_time()
status = open("/proc/self/status").read()
peak = int(status.partition("VmHWM:")[2].split()[0]) / 1024
print(json.dumps({"cpu_ms": cpu * 1000, "peak_mib": peak}))
"""
SCRIPTS = {
    clients.OURS: f"""
import asyncio, sys
from asyncassist import AsyncClient
async def main():
    async with AsyncClient(api_key="{clients.KEY}", base_url=sys.argv[1]) as client:
        run = await client.get_run("{payloads.THREAD}", "{payloads.RUN}")
        assert run.status == "in_progress"
asyncio.run(main())
""",
    clients.SDK: f"""
import asyncio, sys
from openai import AsyncOpenAI
async def main():
    async with AsyncOpenAI(api_key="{clients.KEY}", base_url=sys.argv[1]) as client:
        run = await client.beta.threads.runs.retrieve("{payloads.RUN}", thread_id="{payloads.THREAD}")
        assert run.status == "in_progress"
asyncio.run(main())
""",
    "Python alone": "",
}


def prepare(name: str) -> Path:
    """Make an environment with one client and nothing else, byte-compiled; give its interpreter."""
    directory = ENVIRONMENTS / name
    python = directory / "bin" / "python"
    if not python.exists():
        venv.create(directory, with_pip=True)
        (ENVIRONMENTS / ".gitignore").write_text("*\n")
    requirement = REQUIREMENTS.get(name)
    if requirement is not None:
        environment = {key: value for key, value in os.environ.items() if key != "PYTHONDONTWRITEBYTECODE"}
        options = ["--quiet", "--quiet", "--disable-pip-version-check", "--compile"]
        # The project is installed anew each time: its version does not change while it is worked on.
        again = ["--force-reinstall", "--no-deps"] if name == clients.OURS else []
        for extra in ([], again) if again else ([],):
            command = [str(python), "-m", "pip", "install", *options, *extra, requirement]
            subprocess.run(command, check=True, env=environment, cwd=ENVIRONMENTS)
    return python


def first_call(python: Path, script: str, server: Server) -> Sample:
    """Run the script once, isolated from the surroundings."""
    done = subprocess.run(
        [str(python), "-I", "-c", script + REPORT, server.base_url],
        stdout=subprocess.PIPE,
        text=True,
        check=True,
        timeout=60,
        cwd=ENVIRONMENTS,
        env=os.environ | {"NO_PROXY": "127.0.0.1"},
    )
    sample: Sample = json.loads(done.stdout)
    return sample


def run(*, quick: bool, repetitions: int) -> Result:
    """Compare the first calls."""
    repetitions = max(repetitions, 5 if quick else 15)
    result = Result(
        scenario="first_call",
        title="Import, client and first get_run in a fresh process",
        quick=quick,
        method=(
            "A virtual environment per client with its core dependencies only, byte-compiled, Python in isolated mode. "
            "CPU time of the whole process, the interpreter's start included, up to the closed client; peak resident "
            f"memory as the kernel recorded it. Medians of {repetitions} processes, in turns."
        ),
    )
    pythons = {name: prepare(name) for name in REQUIREMENTS}
    pythons["Python alone"] = pythons[clients.OURS]
    with serving() as server:
        for python in pythons.values():
            first_call(python, "", server)
        for name in in_turns(list(SCRIPTS), repetitions):
            result.samples.append(first_call(pythons[name], SCRIPTS[name], server) | {"client": name})
    cost: dict[str, float | None] = {}
    peak: dict[str, float | None] = {}
    for name in SCRIPTS:
        samples = [sample for sample in result.samples if sample["client"] == name]
        cost[name], peak[name] = median(samples, "cpu_ms"), median(samples, "peak_mib")
        result.rows.append({"client": name, "CPU (ms)": cost[name], "peak memory (MiB)": peak[name]})
    result.checks = [
        Check(
            "first call: CPU of the SDK over ours",
            ratio(cost[clients.SDK], cost[clients.OURS]),
            CPU_AT_LEAST,
            "at least",
        ),
        Check("first call: peak memory", peak[clients.OURS], PEAK_AT_MOST, "at most", "MiB"),
    ]
    return result
