"""What tests of programs that use the Assistants API need: a server with a script, a record, a clock and faults.

::

    async with FakeServer("Hello!") as server:
        server.faults.add(Fault.rate_limit(), on="create_run")
        client = server.client()

In pytest the fixtures ``assist_server`` and ``assist_client`` are there without an import. The server needs the extra:
``pip install 'asyncassist[server]'``. Names load on first use.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from asyncassist.testing.clock import Clock
    from asyncassist.testing.faults import Fault
    from asyncassist.testing.plan import Faults, PlannedFault
    from asyncassist.testing.record import SeenRequest
    from asyncassist.testing.server import FakeServer

__all__ = ["Clock", "FakeServer", "Fault", "Faults", "PlannedFault", "SeenRequest"]

_HOMES = {
    "Clock": "clock",
    "FakeServer": "server",
    "Fault": "faults",
    "Faults": "plan",
    "PlannedFault": "plan",
    "SeenRequest": "record",
}
_EXTRA = frozenset({"starlette", "uvicorn"})


def __getattr__(name: str) -> object:
    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    try:
        value: object = getattr(import_module(f"{__name__}.{home}"), name)
    except ModuleNotFoundError as error:
        if error.name in _EXTRA:
            raise ImportError(f"{__name__}.{name} needs {error.name}: pip install 'asyncassist[server]'") from error
        raise
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return __all__
