"""One build's masking server, timed on one prepared sum again and again: see `benchmarks.crypto.race`.

Runs as a script with any build of the package on the path, so it imports nothing of `benchmarks`. It sets a cohort up,
lets every survivor submit, then forks for each line on stdin: the child takes the vectors and the shares in, checks
the total, and prints one line with the server's seconds. Nothing is measured twice in one state.
"""

from __future__ import annotations

import json
import math
import os
import resource
import sys
import time
from dataclasses import replace
from typing import Any

import numpy as np

from crypto import Aggregate, Begin, Deadline, Message, Upload, open_client, open_party, plan, set_up

BOUND = 32767


def main(clients: int, length: int, dropout: float) -> None:
    """Prepare the sum, then run it once for each line on stdin, on as many threads as the line says."""
    drops = math.ceil(dropout * clients)
    # A tenth of the clients may be corrupt, or a hundredth where so many drop out that no sparse graph allows it.
    corrupt = clients // 100 if dropout > 0.2 else clients // 10
    names = [f"client{i}" for i in range(clients)]
    agreed = plan("secagg+", names, [Upload(name="update", length=length, bound=BOUND)], 1, drops, corrupt=corrupt)
    parties: dict[str, Any] = {}
    public = None
    for name in agreed.clients:
        parties[name] = open_client(agreed, name, public=public)
        public = public or parties[name].public
    server = parties["server"] = open_party(agreed, "server")
    set_up(parties)
    begun = time.process_time()
    for item in server.on(Begin(0, "update")):
        parties[item.receiver].on(item)
    vector = np.random.default_rng(length).integers(-BOUND, BOUND + 1, length)
    sent = [message for name in names[drops:] for message in parties[name].submit(0, "update", vector)]
    client_s = (time.process_time() - begun) / len(sent)
    masks = agreed.masks
    shape = {"neighbours": masks.neighbours if masks else 0, "bits": agreed.ring_bits("update"), "survivors": len(sent)}
    print(json.dumps({**shape, "bytes": len(sent[0].payload), "client_s": client_s}), flush=True)
    _load(length, agreed.ring_bits("update"))
    for line in sys.stdin:
        child = os.fork()
        if child == 0:
            # Not through `open_party`, which would set another cohort up; a build that knows no threads ignores it.
            threads, compiled = map(int, line.split())
            server._inner._threads = threads
            if not compiled:
                _forget_compiled()
            print(json.dumps(_sum(parties, sent, (clients - drops) * vector)), flush=True)
            os._exit(0)
        os.waitpid(child, 0)


def _load(length: int, bits: int) -> None:
    """Load, or compile, what a server loads once in its life, in builds that have it."""
    try:
        from crypto.protocols.masks.adding import vector_sum
    except ImportError:
        return
    from crypto.protocols.masks.bits import packed_bytes
    from crypto.protocols.masks.stream import apply_masks, ring_dtype

    vector_sum(length, bits).add(bytes(packed_bytes(length, bits)))
    apply_masks(np.zeros(length, dtype=ring_dtype(bits)), [bytes(32)] * 64, [bytes(32)] * 64)


def _forget_compiled() -> None:
    from crypto.protocols.masks import adding, stream

    stream.accelerator = adding.accelerator = lambda: None


def _sum(parties: dict[str, Any], sent: list[Message], expected: Any) -> dict[str, float]:
    """Take the sum in, vectors first; seconds of the server alone, by processor and clock."""
    server = parties["server"]
    spent: dict[str, list[float]] = {}

    def give(item: Any, phase: str) -> list[Any]:
        cpu, wall = time.process_time(), time.perf_counter()
        answer = server.on(item)
        took = spent.setdefault(phase, [0.0, 0.0])
        took[0] += time.process_time() - cpu
        took[1] += time.perf_counter() - wall
        return list(answer)

    requests: list[Any] = []
    for message in sent:
        # As it would come: just received, and so in cache. Vectors prepared long ago are read from memory twice.
        fresh = replace(message, payload=bytes(bytearray(message.payload)))
        requests += give(fresh, "vectors")
    if not requests:
        requests += give(Deadline(0, "update"), "vectors")
    answers = [answer for item in requests for answer in parties[item.receiver].on(item)]
    outcomes = [item for answer in answers for item in give(answer, "shares") if isinstance(item, Aggregate)]
    if len(outcomes) != 1 or not np.array_equal(outcomes[0].total, expected):
        raise RuntimeError("the sum is wrong")
    cpu, wall = (sum(each) for each in zip(*spent.values(), strict=True))
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return {"cpu_s": cpu, "wall_s": wall, "vectors_s": spent["vectors"][0], "peak_mib": peak}


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]), float(sys.argv[3]))
