"""Flower's own objects without its processes: a grid whose nodes live in this process."""

import time
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import pytest


class NodesHere:
    """A grid over nodes of this process, as Flower's: messages by number, answers once, nothing after their time.

    `silent`: numbers of nodes that take messages and never answer; `lost`: that are not listed.
    """

    def __init__(self, nodes: Mapping[int, Callable[[Any], Any]]) -> None:
        self.nodes = dict(nodes)
        self.silent: set[int] = set()
        self.lost: set[int] = set()
        self.sent: list[Any] = []
        self._answers: dict[str, Any] = {}

    def get_node_ids(self) -> Iterable[int]:
        return [number for number in self.nodes if number not in self.lost]

    def push_messages(self, messages: Iterable[Any]) -> list[str]:
        for message in messages:
            message.metadata.__dict__["_message_id"] = f"message {len(self.sent)}"
            self.sent.append(message)
            if message.metadata.dst_node_id not in self.silent:
                answer = self.nodes[message.metadata.dst_node_id](message)
                self._answers[message.metadata.message_id] = answer
        # Flower's grids differ in what they return for refused messages; numbers are read off the messages.
        return []

    def pull_messages(self, numbers: Iterable[str]) -> list[Any]:
        now = time.time()
        found = [self._answers.pop(number) for number in list(numbers) if number in self._answers]
        return [m for m in found if m.metadata.created_at + m.metadata.ttl > now]


@pytest.fixture
def nodes_here() -> type[NodesHere]:
    return NodesHere
