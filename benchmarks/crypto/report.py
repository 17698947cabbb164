"""The page: tables from the points, and nothing that was not measured or is not marked as modelled."""

from __future__ import annotations

from benchmarks.crypto import tables
from benchmarks.crypto.cells import cells, model_of
from benchmarks.crypto.peers import REMEDY
from benchmarks.crypto.results import MACHINE, Results

INTRODUCTION = """# What secure sums cost

Written by `python -m benchmarks.crypto` from the points in `benchmarks-crypto.jsonl`; not edited by hand. All times
are CPU time of one thread (`OMP_NUM_THREADS=1`): the best of 2 to 5 for single steps, one run for whole sums, which
must come out exact. Steps and peers run in the same process. A ratio says how many times smaller ours is.

- *Flower*: the functions of its SecAgg+ client and server, called directly, with its default ranges.
- *NVFlare's CKKS set-up*: its parameters (N = 8192, primes of 60, 40 and 40 bits, scale 2^40) given to TenSEAL;
  NVFlare itself is not run.
"""

RACE = """1000 clients, a million entries, 5 % dropped: medians of several turns (`python -m benchmarks.crypto.race`).
The number in a runner's name is that of its threads.
"""

ELSEWHERE = """## Measured on another machine

Written by `python -m benchmarks.crypto.elsewhere` from `benchmarks-crypto-elsewhere.jsonl`; no ratio to the rest of the
page is meant.
"""

READING = """## How to read this

- The aims were set on another machine, where Flower's client took 143 ns a parameter; times differ between
  machines, ratios less.
- "Quantise and mask" is functions against functions. The whole step adds, for us, the checks of bounds, a key
  agreement (X25519) with every neighbour, packing, and the hash and signature of the message; for Flower, opening
  the neighbours' shares, a key agreement (P-384) with every neighbour, and writing the message.
- The peers have no noise shares; the noisy rows are beside their figures without noise.
- Flower's masks carry at most 28 bits of entropy, ours 256: the peer's figure buys less.
- Most of a masked client's time is AES: the row of the key stream alone is what no code around it can save. The
  stream is GCM's or plain counter mode's, whichever is faster on the processor: the bytes are the same.
- A server takes in vectors as they come: it checks their tags and adds them; what is left after the last one is the
  row below it. The row of its floor is what the key streams of all masks, one addition of each and one GMAC of each
  vector take here when they do nothing else. The floor leaves out what every sum costs besides: signatures of all
  shares and of the keys for the next sum, commitments, key agreements and secrets.
- With numba, masks and tags take less than that floor: additions of eight streams are one pass. What the server still
  costs above it is, of a sum of 1000 clients, estimated from timings of its parts on a shared machine: 0.3 s for
  adding the vectors that come (one pass each, bound by memory), 0.3 s for 2,000 signatures to check and as many to
  make, 0.15 s of X25519 with the neighbours of the dropped, and some 0.8 s in Python: secrets from their shares, the
  hashes of 67,000 shares, offers to read, and the keys of the next sum to write. In all 1.55 times the floor (one run
  at a load of 4), so 1.2 is missed. Adding two vectors in one pass is no faster; pieces of a stream of 96 to 160 KB are
  alike.
- Rounding coins come from an AES-256-CTR stream whose key comes from the system.
- The norm check runs in processes of their own: two computing servers, the dealer and the server. Its CPU time is of
  all of them together, counted by the system in hundredths of a second; clients run in the benchmark's process.
- Whole sums run with all parties in one process, not always the steps' own (a run can be resumed): no network, no
  waiting. 10 clients lose one at "5 %": dropouts are rounded up. Neighbours are those that the plan chooses
  for 5 % dropouts and a tenth of the clients corrupt, or for 30 % dropouts and a hundredth corrupt. Dropped clients
  vanish after the keys are shared, before their vector.
- "Other messages" are all payloads of a client besides the vector: shares, and the keys for the next sum.
- Flower's server is not run with 1000 clients; its figure is its measured steps times their number, over the same
  graph, threshold and dropouts.
"""


def write_page(results: Results, elsewhere: Results) -> str:
    """The page as Markdown; what was measured `elsewhere` has a section of its own."""
    machine = results.points[MACHINE]
    loads = [float(point["load"]) for point in results.points.values() if "load" in point]
    model = model_of(results)
    grid = cells(results, model)
    parts = [INTRODUCTION, _machine(results, loads)]
    if machine["flwr"] == "missing":
        parts.append(f"**{REMEDY}.** Flower's figures are dashes.\n")
    parts += ["## At one million parameters, without noise\n", tables.aims(results, grid)]
    if any(name.startswith("race ") for name in results.points):
        parts += ["## The server beside the build before it and the floor\n", RACE, tables.races(results)]
    parts += ["## With noise shares\n", tables.noise(results)]
    parts += ["## Where a client's time goes\n", tables.client_steps(results)]
    parts += ["## Cost over clients and entries\n", "![Cost of a sum](images/benchmarks-crypto.svg)\n"]
    parts += ["Masked sums (`secagg+`):\n", tables.sums(grid), "Sums under BFV, 5 % dropped:\n", tables.sealed(results)]
    parts += ["Norms checked on shares (`mpc`):\n", tables.checks(results)]
    parts += ["Norms proved to server and helper (`helper`, PINE):\n", tables.proofs(results)]
    parts += ["Memory of a server that adds masked vectors as they come:\n", tables.memory(results)]
    if model is not None:
        parts += ["## The cost model\n", tables.model_terms(model)]
    if elsewhere.points:
        parts.append(write_elsewhere(elsewhere))
    return "\n".join([*parts, READING])


def write_elsewhere(results: Results) -> str:
    """The section of points of another machine, which no ratio to the rest of the page is made of."""
    loads = [float(point["load"]) for point in results.points.values() if "load" in point]
    parts = [ELSEWHERE, _machine(results, loads)]
    if any(name.startswith("race ") for name in results.points):
        parts += [RACE, tables.races(results)]
    if any(name.startswith("sum ") for name in results.points):
        parts += ["Masked sums (`secagg+`), all parties in one process:\n", tables.sums_elsewhere(results)]
    if any(name.startswith("helper ") for name in results.points):
        parts += ["Norms proved to server and helper (`helper`, PINE):\n", tables.proofs(results)]
    return "\n".join(parts)


def _machine(results: Results, loads: list[float]) -> str:
    machine = results.points[MACHINE]
    load = f"Load average while measuring: {min(loads):.1f} to {max(loads):.1f}." if loads else ""
    return (
        f"Machine: {machine['processor']}, {machine['cores']} cores, shared with other work. Python "
        f"{machine['python']}, NumPy {machine['numpy']}, numba {machine.get('numba', 'missing')}, cryptography "
        f"{machine['cryptography']}, TenSEAL {machine['tenseal']}, Flower {machine['flwr']}. {load}\n"
    )
