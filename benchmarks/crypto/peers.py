"""The peers: Flower's SecAgg+ functions as installed, and NVFlare's CKKS set-up reproduced with plain TenSEAL calls.

NVFlare itself is not run: its parameters (N = 8192, primes of 60, 40 and 40 bits, scale 2^40, chunks of 4,096
numbers, asymmetric encryption) are given to TenSEAL.
"""

from __future__ import annotations

import importlib
import importlib.util
import os
from typing import Any

import numpy as np
import numpy.typing as npt

from benchmarks.crypto.results import Point
from benchmarks.timing import best

REMEDY = "peer missing: pip install 'flwr>=1.41,<1.43'"
MODULUS, CLIP, TARGET, WEIGHT = 1 << 32, 8.0, 1 << 22, 1000.0
CKKS_SLOTS = 4096
Floats = npt.NDArray[np.float32]


def flower_here() -> bool:
    """Whether Flower is installed."""
    return importlib.util.find_spec("flwr") is not None


def _mod() -> Any:
    return importlib.import_module("flwr.client.mod.secure_aggregation.secaggplus_mod")


def _tools(name: str) -> Any:
    return importlib.import_module(f"flwr.common.secure_aggregation.{name}")


def _states(n: int, threshold: int) -> list[Any]:
    """`n` clients after Flower's set-up stage, with its default ranges."""
    mod, key = _mod(), _tools("secaggplus_constants").Key
    configs = {
        key.SAMPLE_NUMBER: n, key.SHARE_NUMBER: n, key.THRESHOLD: threshold, key.CLIPPING_RANGE: CLIP,
        key.TARGET_RANGE: TARGET, key.MOD_RANGE: MODULUS, key.MAX_WEIGHT: WEIGHT,
    }  # fmt: skip
    states = []
    for nid in range(n):
        state = mod.SecAggPlusState()
        state.nid = nid
        mod._setup(state, configs)
        states.append(state)
    return states


def flower_client(x: Floats, neighbours: int, repeats: int) -> Point:
    """Flower's client: its functions one by one (quantize, masks, modulus), and its stage 2 as a whole.

    The stage (`_collect_masked_vectors`) also opens the neighbours' shares, agrees on keys and writes the message.
    """
    mod, key = _mod(), _tools("secaggplus_constants").Key
    parameters = importlib.import_module("flwr.common").ndarrays_to_parameters([x])
    states = _states(neighbours + 1, neighbours // 2 + 1)
    publics = {str(s.nid): (s.pk1, s.pk2) for s in states}
    sources, boxes = [], []
    for state in states:
        shared = mod._share_keys(state, publics)
        for receiver, box in zip(shared[key.DESTINATION_LIST], shared[key.CIPHERTEXT_LIST], strict=True):
            if receiver == 0:
                sources.append(state.nid)
                boxes.append(box)
    configs = {key.CIPHERTEXT_LIST: boxes, key.SOURCE_LIST: sources}
    stage = best(lambda: mod._collect_masked_vectors(states[0], configs, int(WEIGHT), parameters), repeats)
    sent = mod._collect_masked_vectors(states[0], configs, int(WEIGHT), parameters)[key.MASKED_PARAMETERS]
    seeds = [os.urandom(44) for _ in range(neighbours + 1)]
    functions = best(lambda: _flower_functions(x, seeds), repeats)
    size = sum(len(part) for part in sent)
    return {"stage_ns": 1e9 * stage / x.size, "functions_ns": 1e9 * functions / x.size, "wire_bytes": size / x.size}


def _flower_functions(x: Floats, seeds: list[bytes]) -> object:
    sums, draw = _tools("ndarrays_arithmetic"), _tools("secaggplus_utils").pseudo_rand_gen
    total = _tools("quantization").quantize([x], CLIP, TARGET)
    for seed in seeds:
        total = sums.parameters_addition(total, draw(seed, MODULUS, [x.shape]))
    return sums.parameters_mod(total, MODULUS)


def flower_keys(n: int, threshold: int, repeats: int) -> Point:
    """Flower's stage 1 of one client (two secrets shared among `n`), and the server's recovery of both secrets."""
    mod, shamir = _mod(), _tools("crypto.shamir")
    states = _states(n, threshold)
    publics = {str(s.nid): (s.pk1, s.pk2) for s in states}
    share = best(lambda: mod._share_keys(states[0], publics), repeats)
    key_shares = shamir.create_shares(states[0].sk1, threshold, n)[:threshold]
    seed_shares = shamir.create_shares(os.urandom(32), threshold, n)[:threshold]
    recover_key = best(lambda: shamir.combine_shares(key_shares), repeats)
    recover_seed = best(lambda: shamir.combine_shares(seed_shares), repeats)
    return {"share_s": share, "recover_key_s": recover_key, "recover_seed_s": recover_seed}


def flower_server(length: int, threshold: int, repeats: int) -> Point:
    """What Flower's server does once for each vector, each mask and each secret (t = `threshold`), in seconds."""
    sums, draw = _tools("ndarrays_arithmetic"), _tools("secaggplus_utils").pseudo_rand_gen
    shamir, curve = _tools("crypto.shamir"), importlib.import_module("flwr.supercore.primitives.asymmetric")
    agree = _tools("crypto.symmetric_encryption").generate_shared_key
    total = [np.zeros(length, dtype=np.int64)]
    one = best(lambda: sums.parameters_addition(total, total), repeats)
    mask = best(lambda: sums.parameters_subtraction(total, draw(bytes(44), MODULUS, [(length,)])), repeats)
    (private, _), (_, public) = curve.generate_key_pairs(), curve.generate_key_pairs()
    raw, peer = curve.private_key_to_bytes(private), curve.public_key_to_bytes(public)
    agreed = best(lambda: agree(curve.bytes_to_private_key(raw), curve.bytes_to_public_key(peer)), repeats)
    key_shares = shamir.create_shares(raw, threshold, threshold)
    seed_shares = shamir.create_shares(os.urandom(32), threshold, threshold)
    return {
        "add_s": one,
        "mask_s": mask,
        "agree_s": agreed,
        "recover_key_s": best(lambda: shamir.combine_shares(key_shares), 2),
        "recover_seed_s": best(lambda: shamir.combine_shares(seed_shares), 2),
    }


def nvflare_ckks(x: Floats, repeats: int) -> Point:
    """CKKS with NVFlare's parameters through TenSEAL, one thread: encrypt and serialise, and bytes."""
    tenseal = importlib.import_module("tenseal")
    context = tenseal.context(
        tenseal.SCHEME_TYPE.CKKS, poly_modulus_degree=8192, coeff_mod_bit_sizes=[60, 40, 40], n_threads=1
    )
    context.global_scale = 2**40
    chunks = [x[start : start + CKKS_SLOTS] for start in range(0, x.size, CKKS_SLOTS)]

    def send() -> list[bytes]:
        return [tenseal.ckks_vector(context, chunk).serialize() for chunk in chunks]

    spent = best(send, repeats)
    return {"encrypt_ns": 1e9 * spent / x.size, "wire_bytes": sum(map(len, send())) / x.size}
