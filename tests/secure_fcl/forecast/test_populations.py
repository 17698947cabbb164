"""What `secure-fcl plan --clients` says of populations: what is refused, what is modelled, what is recommended."""

from collections.abc import Callable

import pytest

from crypto import Upload, plan
from crypto.errors import PlanRefused
from crypto.planning.masks import MOST_CLIENTS
from crypto.protocols.catalogue import ENTRIES
from secure_fcl.config import Config
from secure_fcl.data import Dataset
from secure_fcl.forecast.cost import plan_run
from secure_fcl.forecast.populations import COSTS, largest, population, recommendation, terms

UPLOAD = Upload(name="update", length=1_000, bound=65_535)


def test_masks_refuse_more_than_they_take_and_say_how_many_that_is() -> None:
    for protocol in ("secagg", "secagg+"):
        found = population(protocol, 1_000_000, UPLOAD, rounds=10)
        assert found.refused is not None
        assert found.most is not None
        assert 0.998 * MOST_CLIENTS <= found.most <= MOST_CLIENTS
        assert found.client_s is None


def test_what_is_taken_has_the_bytes_of_its_plan_and_a_cost_that_grows() -> None:
    for protocol in ENTRIES:
        few, many = (population(protocol, n, UPLOAD, rounds=10) for n in (100, 1_000))
        made = plan(protocol, [f"client{k}" for k in range(1_000)], [UPLOAD], 10, 50)
        assert many.client_bytes == made.client_bytes("update")
        assert many.dropouts == made.max_dropouts == 50
        assert few.others_s is not None
        assert many.others_s is not None
        assert many.others_s > 5 * few.others_s
        assert many.error == COSTS[protocol].error > 0.0


def test_every_protocol_has_as_many_constants_as_terms() -> None:
    for protocol in ENTRIES:
        for constants, named in zip(
            (COSTS[protocol].client, COSTS[protocol].others), terms(protocol, 100, 10), strict=True
        ):
            assert len(constants) == len(named)


@pytest.mark.parametrize("limit", [2, 7, 4096, 700_000])
def test_the_largest_number_that_is_taken_is_found(limit: int) -> None:
    def planned(clients: int) -> None:
        if clients > limit:
            raise PlanRefused("too many; take fewer")

    assert 0.998 * limit <= largest(planned, 1_000_000) <= limit


def test_a_list_of_statements_that_no_message_holds_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    names = [f"client{k}" for k in range(100)]
    monkeypatch.setattr("crypto.protocols.helper.entry.MAX_PAYLOAD", 100_000)
    with pytest.raises(PlanRefused, match=r"100 statements of \d+ bytes exceed .* takes at most \d\d clients"):
        plan("helper-2-of-3", names, [UPLOAD], 10)
    monkeypatch.undo()
    plan("helper-2-of-3", names, [UPLOAD], 10)


def test_from_fifty_clients_on_secagg_is_advised_against(make_config: Callable[..., Config], digits: Dataset) -> None:
    assert recommendation("secagg", 49) is None
    assert recommendation("secagg+", 1_000) is None
    said = recommendation("secagg", 100)
    assert said is not None
    assert "with 99 others" in said
    assert "protection = 'secagg+'" in said
    wanted = ('rows=["class_sums"]', "protection=secagg", "scenario.partition=iid")
    few, many = (plan_run(make_config(*wanted, f"scenario.clients={n}"), False, digits) for n in (10, 60))
    assert few.advice == ()
    assert many.advice == (recommendation("secagg", 60),)
