"""An HTTP server for tests that speaks the part of Qdrant's REST API this project uses.

Points and queries are handled by qdrant-client's local engine (module ``engine``); what that engine forgets is
kept by ``state``; requests are held to the API's own models and limits by ``wire`` and ``limits``; ``faults`` and
``deferred`` make it misbehave on demand; ``grpc_front`` lets the same requests come over gRPC; ``process`` runs it as a
child process. It is not Qdrant: statuses and messages follow Qdrant 1.19's source, and ``test_edge_agreement`` compares
its answers with Qdrant's real engine.
"""

from __future__ import annotations

from tests.qdrant_server.faults import Fault
from tests.qdrant_server.options import Options
from tests.qdrant_server.process import QdrantTestServer

__all__ = ["Fault", "Options", "QdrantTestServer"]
