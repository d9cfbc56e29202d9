"""The child process: reads its options from the first line of stdin, says its port on stdout, and serves.

It ends with its parent: when stdin closes, or when it is killed. With ``--port``, and ``--grpc-port`` to answer gRPC
too, it is a server of its own, which serves until it is interrupted.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import threading
import warnings

# qdrant-client imports fastembed where it is installed: a third of the start, and of no use here
sys.modules["fastembed"] = None  # type: ignore[assignment]

from tests.qdrant_server.app import Server  # noqa: E402
from tests.qdrant_server.grpc_front import serve_grpc  # noqa: E402
from tests.qdrant_server.options import Options  # noqa: E402


def _end_with_parent() -> None:
    sys.stdin.read()
    os._exit(0)


def main() -> None:
    """Serve until killed."""
    # the local engine warns of what this server is for: many points, and payload indexes it does not have
    warnings.simplefilter("ignore")
    if sys.argv[1:]:
        server, _ = _start(_of_arguments())
        server.serve_forever()
    server, grpc_port = _start(Options(**json.loads(sys.stdin.readline())))
    print(json.dumps({"port": server.server_address[1], "grpc_port": grpc_port}), flush=True)
    threading.Thread(target=_end_with_parent, daemon=True).start()
    server.serve_forever()


def _of_arguments() -> Options:
    parser = argparse.ArgumentParser(prog="tests.qdrant_server")
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--grpc-port", type=int)
    given = parser.parse_args()
    return Options(port=given.port, grpc=given.grpc_port is not None, grpc_port=given.grpc_port or 0)


def _start(options: Options) -> tuple[Server, int | None]:
    """Make the server, which listens from now on, and beside it the one of gRPC, which serves from now on."""
    server = Server(options)
    return server, serve_grpc(server.traffic, options.grpc_port) if options.grpc else None


if __name__ == "__main__":
    main()
