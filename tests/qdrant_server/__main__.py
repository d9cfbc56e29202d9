"""The child process: reads its options from the first line of stdin, says its port on stdout, and serves.

It ends with its parent: when stdin closes, or when it is killed. With ``--port`` it is a server of its own, which
serves until it is interrupted.
"""

from __future__ import annotations

import json
import os
import sys
import threading
import warnings

# qdrant-client imports fastembed where it is installed: a third of the start, and of no use here
sys.modules["fastembed"] = None  # type: ignore[assignment]

from tests.qdrant_server.app import Server  # noqa: E402
from tests.qdrant_server.options import Options  # noqa: E402


def _end_with_parent() -> None:
    sys.stdin.read()
    os._exit(0)


def main() -> None:
    """Serve until killed."""
    # the local engine warns of what this server is for: many points, and payload indexes it does not have
    warnings.simplefilter("ignore")
    if sys.argv[1:2] == ["--port"]:
        Server(Options(port=int(sys.argv[2]))).serve_forever()
    options = Options(**json.loads(sys.stdin.readline()))
    server = Server(options)
    print(json.dumps({"port": server.server_address[1]}), flush=True)
    threading.Thread(target=_end_with_parent, daemon=True).start()
    server.serve_forever()


if __name__ == "__main__":
    main()
