"""What opening a session refuses: the checks of one plan do not count under another."""

import pytest

from crypto import Upload, open_client, plan, set_up
from crypto.errors import PlanRefused
from crypto.keys.randomness import system_random
from crypto.keys.roster import Identity, Roster, make_identities
from crypto.planning.plans import Plan
from crypto.protocols.masks.enrolment import Checked, Enrolment
from crypto.protocols.masks.errors import RecordError
from crypto.protocols.masks.members import write_directory, write_hello
from crypto.protocols.session import ClientSession
from crypto.running.rehearsal import rehearse

NAMES = ("a", "b", "c", "d")


def planned(protocol: str, roster: Roster | None = None, session: str = "s") -> Plan:
    return plan(protocol, NAMES, (Upload(name="x", length=4, bound=10),), 2, session=session, roster=roster)


@pytest.mark.parametrize("protocol", ["bfv", "mpc", "secagg"])
def test_public_of_another_plan_is_refused_in_one_sentence(protocol: str) -> None:
    loose = planned(protocol)
    identities = make_identities((*NAMES, *loose.roles))
    parties = rehearse(loose, identities)
    set_up(parties)
    client = parties["a"]
    assert isinstance(client, ClientSession)
    assert open_client(loose, "b", public=client.public)
    roster = Roster.of(identities.values())
    for other in (planned(protocol, roster), planned(protocol, session="t")):
        own = identities["b"] if other.roster else None
        for public in (client.public, object(), {"compute0": bytes(32), "compute1": bytes(32)}):
            with pytest.raises(PlanRefused, match="of another plan"):
                open_client(other, "b", public=public, identity=own)


def test_what_was_checked_without_a_roster_is_checked_again_with_one() -> None:
    """The attacker invents everybody else, and a client of the plan without a roster believes it."""
    loose = planned("secagg")
    identities = make_identities((*NAMES, "server"))
    pinned = planned("secagg", Roster.of(identities.values()))
    shared = Checked()
    honest = Enrolment(pinned, identities["a"], system_random, shared)
    believer = Enrolment(loose, identities["a"], system_random, shared)
    believer.sealing, believer._hello = honest.sealing, honest._hello
    hellos = {"a": honest.hello()}
    for name in NAMES[1:]:
        hellos[name] = write_hello(loose, Identity.new(name), system_random(32), system_random(32))
    directory = write_directory(0, hellos)
    believer.open_for(directory)
    with pytest.raises(RecordError, match="not signed"):
        honest.open_for(directory)
