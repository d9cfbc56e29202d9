"""Who holds a place: the record that a run keeps there of itself, and whether the process it names is still there."""

from __future__ import annotations

import getpass
import json
import os
import secrets
import socket
from contextlib import suppress
from dataclasses import asdict, dataclass, fields, replace
from datetime import datetime, timezone
from pathlib import Path

# Of a process that is over, though its parent has not asked yet how it ended.
_OVER = frozenset("ZXx")


@dataclass(frozen=True)
class Holder:
    """A run that holds a place.

    ``machine`` tells apart machines, and the process name spaces of one machine; a process id means something within it
    only. ``process_started`` tells two processes apart that had one id, one after the other; empty where the system
    does not say. ``nonce`` is random, and is the run's own. ``renewed`` grows each time the record is written.
    """

    run_id: str
    corpus: str
    host: str
    machine: str
    pid: int
    process_started: str
    user: str
    since: str
    nonce: str
    renewed: int = 0

    @classmethod
    def of_this_process(cls, run_id: str, corpus: str) -> Holder:
        """Describe a run of this process that begins now."""
        pid = os.getpid()
        return cls(
            run_id=run_id,
            corpus=corpus,
            host=socket.gethostname(),
            machine=machine(),
            pid=pid,
            process_started=process_started(pid) or "",
            user=_user(),
            since=datetime.now(timezone.utc).isoformat(timespec="seconds"),
            nonce=secrets.token_hex(8),
        )

    @classmethod
    def parse(cls, text: str) -> Holder | None:
        """Read a record; None for what is none, such as the beginning of one."""
        try:
            found = json.loads(text)
            known = {field.name: found[field.name] for field in fields(cls)}
            return cls(**{**known, "pid": int(known["pid"]), "renewed": int(known["renewed"])})
        except (ValueError, TypeError, KeyError):
            return None

    def to_text(self) -> str:
        """Write the record as JSON."""
        return json.dumps(asdict(self))

    def renewal(self) -> Holder:
        """Return the record as it is written the next time."""
        return replace(self, renewed=self.renewed + 1)

    def describe(self) -> str:
        """Say who it is and since when, for people."""
        since = self.since.replace("T", " ").replace("+00:00", " UTC")
        return (
            f"run {self.run_id} of the corpus {self.corpus!r}, process {self.pid} of {self.user} on {self.host}, "
            f"since {since}"
        )

    def is_here(self) -> bool:
        """Whether it ran on this machine, so that this process can see its process."""
        return self.machine == machine()

    def is_alive(self) -> bool:
        """Whether its process still runs; asked only where it ``is_here``."""
        started = process_started(self.pid)
        return started is not None and (not self.process_started or not started or started == self.process_started)


def machine() -> str:
    """Name this machine since its start, and the process name space of this process."""
    parts = []
    with suppress(OSError):
        parts.append(Path("/proc/sys/kernel/random/boot_id").read_text().strip())
        parts.append(str(Path("/proc/self/ns/pid").readlink()))
    return " ".join(parts) or socket.gethostname()


def process_started(pid: int) -> str | None:
    """Say when a process began, in the system's own units: empty where it does not say, None without such a process."""
    try:
        # The name in brackets may hold spaces and brackets; behind it come the state and 18 fields more.
        fields_behind = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        return None if fields_behind[0] in _OVER else fields_behind[19]
    except OSError:
        # No such process, a system without /proc, or one that hides other users' processes there.
        return "" if _exists(pid) else None


def _exists(pid: int) -> bool:
    if os.name != "posix":
        # Signal 0 would end the process.
        return True
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except OSError:
        # It is another user's.
        return True
    return True


def _user() -> str:
    # A user whom the system does not know, as containers have them.
    with suppress(OSError, KeyError, ImportError):
        return getpass.getuser()
    return str(os.getuid()) if hasattr(os, "getuid") else "unknown"
