"""A worker process with a fault in it.

The fault is put around the clients from outside; the product has no hooks for it.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

from confluent_kafka import KafkaError, KafkaException

from stream_monitor.config.settings import Settings
from stream_monitor.describe.rekey import Rekey
from stream_monitor.describe.stage import Describe
from stream_monitor.errors import RestoreError
from stream_monitor.judge.stage import Judge
from stream_monitor.kafka.confluent import KafkaClient
from stream_monitor.kafka.transactions import Transactions
from stream_monitor.service import run as app
from stream_monitor.stages.topology import Topology

STEPS = ("before begin", "produced", "flushed", "offsets sent", "before commit", "committed")
ACTIONS = ("kill", "unknown", "abort")


@dataclass(frozen=True)
class Fault:
    """What goes wrong, and when.

    At `step` of transaction number `nth`, or of the next one that comes so far: SIGKILL, an answer that never came, or
    an abort. Or the first call of a stage's method raises (`broken`), after it has frozen the process `frozen`, or
    takes `slow_s` longer (`slow`).
    """

    step: str = ""
    nth: int = 1
    action: str = "kill"
    broken: str = ""
    frozen: int = 0
    slow: str = ""
    slow_s: float = 0.0

    def dumps(self) -> str:
        return json.dumps(asdict(self))


class FaultyProducer:
    """A producer that fails at one step of one transaction."""

    def __init__(self, real: Any, fault: Fault) -> None:
        self._real, self._fault, self._transactions = real, fault, 0
        self._produced = self._failed = False

    def __getattr__(self, name: str) -> Any:
        return getattr(self._real, name)

    def _reach(self, step: str) -> None:
        if step != self._fault.step or self._transactions < self._fault.nth or self._failed:
            return
        self._failed = True
        if self._fault.action == "kill":
            os.kill(os.getpid(), signal.SIGKILL)
        abort = self._fault.action == "abort"
        raise KafkaException(KafkaError(KafkaError._TIMED_OUT, "the fault of this test", False, False, abort))

    def begin_transaction(self) -> None:
        self._transactions += 1
        self._produced = False
        self._reach("before begin")
        self._real.begin_transaction()

    def produce(self, *args: Any, **options: Any) -> None:
        self._real.produce(*args, **options)
        if not self._produced:
            self._produced = True
            self._real.poll(0)
            self._reach("produced")

    def flush(self, timeout_s: float) -> Any:
        left = self._real.flush(timeout_s)
        self._reach("flushed")
        return left

    def send_offsets_to_transaction(self, *args: Any) -> None:
        self._real.send_offsets_to_transaction(*args)
        self._reach("offsets sent")

    def commit_transaction(self, timeout_s: float) -> None:
        self._reach("before commit")
        self._real.commit_transaction(timeout_s)
        self._reach("committed")


def first_call(cls: type, name: str, before: Callable[[], None]) -> None:
    """Do something before the first call of a method."""
    method, called = getattr(cls, name), list[bool]()

    def wrapped(self: Any, *args: Any) -> Any:
        if not called:
            called.append(True)
            before()
        return method(self, *args)

    setattr(cls, name, wrapped)


def work(role: str, settings: str, topology: str, told: str, log: str) -> None:
    """Be a worker, whose output goes to the file `log`."""
    with open(log, "ab") as output:
        os.dup2(output.fileno(), sys.stdout.fileno())
        os.dup2(output.fileno(), sys.stderr.fileno())
    fault = Fault(**json.loads(told))
    stage: type = {"describe": Describe, "judge": Judge, "rekey": Rekey}[role]

    class FaultyTransactions(Transactions):
        def _new_producer(self) -> Any:
            return FaultyProducer(super()._new_producer(), fault)

    class FaultyClient(KafkaClient):
        def __init__(self, settings: Settings, role: str) -> None:
            super().__init__(settings, role)
            break_stage()  # not earlier: a worker runs its stage once before, to compile

        def _new_transactions(self) -> Transactions:
            return FaultyTransactions(self.settings, self.role, self.transactional_id, self._reasons, self._logs)

    def fail() -> None:
        if fault.frozen:
            os.kill(fault.frozen, signal.SIGSTOP)
        raise RestoreError("the fault of this test")

    def break_stage() -> None:
        if fault.broken:
            first_call(stage, fault.broken, fail)
        if fault.slow:
            first_call(stage, fault.slow, lambda: time.sleep(fault.slow_s))

    vars(app)["KafkaClient"] = FaultyClient
    sys.exit(app.run_stage(Settings.model_validate_json(settings), Topology(**json.loads(topology)), role, 0))
