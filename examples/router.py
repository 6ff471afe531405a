"""A router of your own: it sends each request to the candidate or to the primary, by the weights of a rollout.

It keeps the number of the last decision that it applied. A decision holds absolute weights, so reading one twice does
no harm, and after a restart the router reads the topic from its beginning.

    python examples/router.py localhost:9092 stream-monitor.decisions
"""

from __future__ import annotations

import json
import random
import sys
import uuid

from confluent_kafka import Consumer


class Router:
    """The weights of the versions of each model, as the last decisions say."""

    def __init__(self) -> None:
        self.weights: dict[str, dict[str, float]] = {}
        self._seq: dict[tuple[str, str], int] = {}

    def apply(self, decision: dict[str, object]) -> bool:
        """Apply a decision. Return False for one that was applied before, or that is older."""
        rollout, seq = (str(decision["model"]), str(decision["rollout"])), int(str(decision["seq"]))
        if seq <= self._seq.get(rollout, 0):
            return False
        self._seq[rollout] = seq
        if not decision["weights"]:  # an order was refused, and the rollout does not run
            return False
        if decision["pattern"] == "shadow":  # both versions answer each request: nothing moves
            return False
        self.weights[rollout[0]] = dict(decision["weights"])  # type: ignore[call-overload]
        return True

    def version_for(self, model: str, default: str) -> str:
        """The version that answers the next request. Each request is drawn by itself."""
        weights = self.weights.get(model) or {default: 1.0}
        return random.choices(list(weights), list(weights.values()))[0]


def main(bootstrap: str, topic: str) -> None:
    """Print the weights whenever they change."""
    router = Router()
    settings = {"bootstrap.servers": bootstrap, "group.id": f"router-{uuid.uuid4()}", "auto.offset.reset": "earliest"}
    consumer = Consumer(settings | {"isolation.level": "read_committed", "enable.auto.commit": False})
    consumer.subscribe([topic])
    while True:
        message = consumer.poll(1.0)
        if message is None or message.error() is not None:
            continue
        decision = json.loads(message.value())
        if router.apply(decision):
            print(decision["model"], router.weights[decision["model"]], "because", decision["reason"])


if __name__ == "__main__":
    main(*sys.argv[1:])
