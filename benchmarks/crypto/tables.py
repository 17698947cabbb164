"""The tables of the page, each from the points; what was not measured is a dash."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from benchmarks.crypto.cells import Cell
from benchmarks.crypto.costmodel import KEYS_TERMS, SERVER_TERMS, SUBMIT_TERMS, Model, Shape
from benchmarks.crypto.grid import MEMORY_SIZES, MILLION, NEIGHBOURS, NOISE_BITS, NORM_LENGTHS
from benchmarks.crypto.results import Results

NONE = "-"


def table(titles: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A Markdown table."""
    lines = [titles, ["---"] * len(titles), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines) + "\n"


def show(value: float | None, scale: float = 1.0) -> str:
    """Three digits, or a dash."""
    if value is None or value != value:
        return NONE
    scaled = scale * value
    return f"{scaled:,.0f}" if abs(scaled) >= 100 else f"{scaled:.3g}"


def _ratio(ours: float | None, peer: float | None) -> str:
    return NONE if ours is None or peer is None else f"{peer / ours:.3g}"


def _row(step: str, unit: str, scale: float, ours: float | None, peer: float | None, aim: float | None) -> list[str]:
    verdict = NONE if ours is None or aim is None else "met" if ours <= aim else f"missed, {ours / aim:.2f} times"
    return [step, unit, show(ours, scale), show(peer, scale), _ratio(ours, peer), show(aim, scale), verdict]


def aims(results: Results, grid: Sequence[Cell]) -> str:
    """The aims, one row each, beside the peer of the same run."""
    get = results.number
    quantise = get("functions", "quantise_and_mask_ns")
    rows = [
        _row("client, 20 neighbours: quantise and mask; Flower's functions", "ns/param", 1, quantise,
             get("flower client", "functions_ns"), 16),
        _row("client, 20 neighbours: whole step, signed message; Flower's stage 2", "ns/param", 1,
             get("client secagg 21", "client_ns"), get("flower client", "stage_ns"), None),
        _row("wire, 16 bits, 128 clients, masked; Flower", "B/param", 1, get("client secagg+ 128", "wire_bytes"),
             get("flower client", "wire_bytes"), 3.0),
        _row("wire, 16 bits, 64 clients, BFV; NVFlare's set-up", "B/param", 1, get("client bfv 64", "wire_bytes"),
             get("nvflare encrypt", "wire_bytes"), 8.1),
        _row("wire, 15 bits, 128 clients, BFV; NVFlare's set-up", "B/param", 1, get("client bfv 128", "wire_bytes"),
             get("nvflare encrypt", "wire_bytes"), 8.1),
        _row("HE: pack, encrypt, serialise; NVFlare's set-up", "ns/param", 1, get("encrypt", "encrypt_ns"),
             get("nvflare encrypt", "encrypt_ns"), 200),
        _row("HE: whole step of a client (encode, pad, encrypt, sign); NVFlare's set-up", "ns/param", 1,
             get("client bfv 64", "client_ns"), get("nvflare encrypt", "encrypt_ns"), None),
        _row("share keys, 100 clients, t = 67, every sum; Flower's stage 1", "ms", 1e3, get("keys", "share_s"),
             get("flower keys", "share_s"), 15e-3),
        _row("the same with the channel keys, once a session", "ms", 1e3, _first(results),
             get("flower keys", "share_s"), 15e-3),
        _row("of that, X25519 with each of 99 neighbours, without ML-KEM-768", "ms", 1e3, get("keys", "agree_s"),
             None, None),
        _row("sent for the channel keys, 99 neighbours, once a session", "kB", 1e-3, get("keys", "channels_bytes"),
             None, None),
        _row("received for them", "kB", 1e-3, get("keys", "channels_got"), None, None),
        _row("offer: shares, commitments, boxes, vault, 99 neighbours, every sum", "kB", 1e-3,
             get("keys", "offer_bytes"), None, None),
        _row("recover one dropped client's round secret, t = 67; Flower", "ms", 1e3, get("keys", "recover_s"),
             get("flower keys", "recover_key_s"), 3e-3),
    ]  # fmt: skip
    server = next((c for c in grid if (c.shape.clients, c.shape.length, c.dropout) == (1000, MILLION, 0.05)), None)
    if server is not None:
        kind = "measured" if server.measured else "cost model"
        whole = (
            f"server, 1000 clients, 5 % dropped, {server.shape.neighbours} neighbours ({kind}); Flower's steps summed"
        )
        rows.append(_row(whole, "s", 1, server.server_s, _flower_server(results, server.shape), 3.5))
        late = "of that, all but taking in the vectors as they come: keys, shares, masks"
        rows.append(_row(late, "s", 1, server.server_s - server.vectors_s, None, None))
        floor = "for comparison: the floor of this machine, key streams, additions and tags alone"
        rows.append(_row(floor, "s", 1, _server_floor(results, server), None, None))
    return table(("step; peer", "unit", "ours", "peer", "ratio", "aim", "aim met"), rows)


def _first(results: Results) -> float | None:
    shared, channels = results.number("keys", "share_s"), results.number("keys", "channels_s")
    return None if shared is None or channels is None else shared + channels


def _flower_server(results: Results, shape: Shape) -> float | None:
    point = results.points.get("flower server")
    if point is None or shape.length != MILLION:
        return None
    add, mask, agree, key, seed = (
        float(point[name]) for name in ("add_s", "mask_s", "agree_s", "recover_key_s", "recover_seed_s")
    )
    pairs = shape.dropped * shape.neighbours
    # Flower takes off the masks of all neighbours of a dropped client, dropped ones included.
    vectors = shape.survivors * (add + mask) + pairs * (mask + agree)
    return vectors + shape.survivors * seed + shape.dropped * key


def _server_floor(results: Results, server: Cell) -> float | None:
    get, shape = results.number, server.shape
    streams = [get("functions", name) for name in ("stream_gcm_ns", "stream_counter_ns")]
    add, byte = get("functions", "plain_add_ns"), get("functions", "tag_byte_ns")
    known = [ns for ns in streams if ns is not None]
    if not known or add is None or byte is None:
        return None
    mask = min(known) / (NEIGHBOURS + 1) + add
    each = add + byte * server.wire_bytes
    return 1e-9 * shape.length * (shape.masks * mask + shape.survivors * each)


def races(results: Results) -> str:
    """The server's sum before and now, in turn with the floor; seconds, and ratios of processor time."""
    found = {name.removeprefix("race "): p for name, p in results.points.items() if name.startswith("race ")}
    low, before = (float(found[name]["cpu_s"]) if name in found else None for name in ("floor", "before"))
    rows = []
    for name, point in found.items():
        cpu, wall = float(point["cpu_s"]), float(point["wall_s"])
        ratio = NONE if low is None else f"{cpu / low:.2f}"
        vectors = show(float(point["vectors_s"])) if "vectors_s" in point else NONE
        rows.append([name, show(cpu), show(wall), vectors, ratio, NONE if before is None else f"{before / cpu:.2f}"])
    titles = (
        "runner",
        "CPU: s",
        "clock: s",
        "of that, taking vectors in: s",
        "times the floor",
        "times faster than before",
    )
    return table(titles, rows)


def noise(results: Results) -> str:
    """The client's step and its bytes when its noise share rides along."""
    get = results.number
    flower, ckks = ("flower client", "stage_ns"), ("nvflare encrypt", "encrypt_ns")
    names = [(f"masked, {bits} bits on the ring", f"client secagg noise {bits} bits", flower) for bits in NOISE_BITS]
    names.append(("BFV, one field a slot", "client bfv noise", ckks))
    rows = []
    for title, name, (peer, time) in names:
        spent, size = get(name, "client_ns"), get(name, "wire_bytes")
        ratios = [_ratio(spent, get(peer, time)), _ratio(size, get(peer, "wire_bytes"))]
        rows.append([title, show(spent), ratios[0], show(size), ratios[1]])
    titles = ("whole step of a client", "ns/param", "ratio to the peer", "B/param", "ratio to the peer's bytes")
    return table(titles, rows)


def client_steps(results: Results) -> str:
    """Where a client's time goes."""
    steps = {
        "encode (clip, scale, round at random)": "encode_ns",
        "21 masks added": "masks_ns",
        "of that, the AES-256 key streams alone, by GCM": "stream_gcm_ns",
        "the same key streams by plain counter mode": "stream_counter_ns",
        "pack to 23 bits": "pack_ns",
        "for comparison: one plain add of 32-bit integers": "plain_add_ns",
    }
    rows = [(title, show(results.number("functions", name))) for title, name in steps.items()]
    return table(("step", "ns/param"), rows)


def sums(grid: Sequence[Cell]) -> str:
    """The grid of masked sums."""
    rows = []
    for cell in grid:
        shape = cell.shape
        rows.append([
            str(shape.clients), _power(shape.length), f"{100 * cell.dropout:.0f} %",
            str(shape.neighbours), show(1e9 * cell.submit_s / shape.length), show(1e3 * cell.keys_s),
            show(cell.server_s), show(cell.wire_bytes), show(cell.other_bytes / 1e3),
            "measured" if cell.measured else "model",
        ])  # fmt: skip
    titles = (
        "clients", "entries", "dropped", "neighbours", "client, vector: ns/param", "client, keys: ms", "server: s",
        "vector: B/param", "other messages: kB", "",
    )  # fmt: skip
    return table(titles, rows)


def sums_elsewhere(results: Results) -> str:
    """Masked sums that were measured one by one, with the memory of the whole process."""
    rows = []
    for name, point in results.points.items():
        if name.startswith("sum secagg+"):
            length = float(point["length"])
            client = show(1e9 * float(point["submit_s"]) / length)
            spent = [show(float(point[key])) for key in ("server_s", "server_vectors_s", "wire_bytes")]
            memory = show(float(point["peak_mib"]), 1 / 1024) if "peak_mib" in point else NONE
            counts = [str(point[key]) for key in ("clients", "dropped", "neighbours")]
            rows.append([*counts, _power(length), client, show(1e3 * float(point["keys_s"])), *spent, memory])
    titles = (
        "clients", "of them dropped", "neighbours", "entries", "client, vector: ns/param", "client, keys: ms",
        "server: s", "of that, taking vectors in: s", "vector: B/param", "memory of all parties: GiB",
    )  # fmt: skip
    return table(titles, rows)


def sealed(results: Results) -> str:
    """The sums under BFV."""
    rows = []
    for name, point in results.points.items():
        if name.startswith("sum bfv"):
            length = float(point["length"])
            spent = [show(float(point[key])) for key in ("server_s", "keyholder_s", "wire_bytes")]
            client = show(1e9 * float(point["submit_s"]) / length)
            rows.append([str(point["clients"]), _power(length), client, *spent])
    titles = ("clients", "entries", "client: ns/param", "server: s", "key holder: s", "B/param")
    return table(titles, rows)


def checks(results: Results) -> str:
    """What the check of norms on shares costs."""
    rows = []
    for length in NORM_LENGTHS:
        plain, checked = (results.points.get(f"mpc {word} {length}") for word in ("unchecked", "checked"))
        if plain is None or checked is None:
            continue
        clients = float(checked["clients"])
        found = [float(point[key]) for key in ("wall_s", "helpers_s") for point in (plain, checked)]
        each = 1e3 * (found[3] - found[2]) / clients
        rows.append([str(checked["clients"]), f"{length:,}", *map(show, found), show(each)])
    titles = (
        "clients", "entries", "clock, unchecked: s", "clock, checked: s", "CPU, unchecked: s", "CPU, checked: s",
        "check of one client, CPU: ms",
    )  # fmt: skip
    return table(titles, rows)


def proofs(results: Results) -> str:
    """What proofs of norms cost under "helper"."""
    rows = []
    for length in NORM_LENGTHS:
        for word in ("unchecked", "checked"):
            point = results.points.get(f"helper {word} {length}")
            if point is not None:
                spent = [show(1e3 * float(point[key])) for key in ("client_s", "server_s", "helper_s")]
                rows.append([str(point["clients"]), f"{length:,}", word, *spent, show(float(point["wire_bytes"]))])
    titles = ("clients", "entries", "norms", "client: ms", "server: ms", "helper: ms", "client's message: B/param")
    return table(titles, rows)


def memory(results: Results) -> str:
    """The memory of a masking server."""
    points = [results.points.get(f"server memory {n}") for n in MEMORY_SIZES]
    rows = [[str(p["clients"]), _power(float(p["length"])), show(float(p["vectors"]))] for p in points if p is not None]
    return table(("clients", "entries", "most memory, in vectors of the ring"), rows)


def model_terms(model: Model) -> str:
    """The fitted terms and what they miss."""
    parts = (("server_s", SERVER_TERMS), ("submit_s", SUBMIT_TERMS), ("keys_s", KEYS_TERMS))
    titles = {"server_s": "server", "submit_s": "client, vector", "keys_s": "client, keys"}
    rows = [
        [titles[what], term, f"{1e9 * value:.3g}"]
        for what, terms in parts
        for term, value in zip(terms, model.terms[what], strict=True)
    ]
    fitted = [f"{100 * model.worst[what]:.0f} %" for what, _ in parts]
    errors = [["worst of the fitted", "", "", *fitted]]
    for point in model.held_out:
        shape = Shape.of(point)
        missed = [f"{100 * model.error(point, what):+.0f} %" for what, _ in parts]
        errors.append([str(shape.clients), _power(shape.length), str(shape.dropped), *missed])
    return (
        table(("party", "term", "ns each"), rows)
        + f"\nFitted to {model.fitted} measured sums, the largest held out. What the model says, against measured:\n\n"
        + table(("clients", "entries", "dropped", *titles.values()), errors)
    )


def _power(length: float) -> str:
    return f"{length:.0e}".replace("e+0", "e")
