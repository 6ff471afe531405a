from __future__ import annotations

import os
from collections.abc import Iterator

import pytest
from hypothesis import settings

from stream_monitor.errors import BrokerError
from stream_monitor.kafka.local import LocalKafka, class_path, java_binary
from tests.broker_folder import broker_folder

settings.register_profile("suite", deadline=None)
settings.load_profile("suite")  # no test depends on the machine's pace

LONGEST = (
    "test_promise.py", "failures", "kafka", "test_evaluate.py", "test_numba_backend.py", "test_log_replay.py",
    "test_river_adapter.py", "test_browser.py", "test_verify.py", "test_silence.py", "test_scanned_columns.py",
    "test_multivariate.py", "test_reset.py", "test_new_topics.py",
)  # fmt: skip
"""Files and folders that take longest: they begin first, so that no core is idle at the end."""
SLOW = frozenset({
    # folders: real brokers, statistics of many streams
    "kafka", "failures", "deploy", "evaluate", "detect", "rejudge", "upgrade", "verify",
    # long properties, processes, compilers
    "test_promise.py", "test_fuzz.py", "test_hostile.py", "test_scanned_columns.py", "test_numba_backend.py",
    "test_store.py", "test_changelog.py", "test_merge_queue.py", "test_windows.py", "test_open_panes.py",
    "test_admission.py", "test_multivariate.py", "test_recent_rows.py", "test_recent.py", "test_centroids.py",
    "test_pinned_centroids.py", "test_pinned_rows.py", "test_reset.py", "test_watermarks.py", "test_terminal.py",
    "test_logs.py", "test_supervisor.py", "test_commands.py", "test_health.py", "test_build.py", "test_structure.py",
    "test_skips.py", "test_new_topics.py", "test_row_sampling.py", "test_privacy.py", "test_attribution.py",
    "test_id_hash.py", "test_concat.py", "test_sequential.py", "test_summarise.py", "test_baseline_manager.py",
    "test_numeric_table.py", "test_browser.py",
})  # fmt: skip
"""Files and folders that `make quick` leaves out."""


@pytest.fixture(scope="session")
def real_kafka() -> None:
    """Java and jars are here, so a LocalKafka can start. Without them: a loud skip, or a failure where CI is set."""
    try:
        java_binary()
        class_path()
    except BrokerError as error:
        if os.environ.get("CI", "").lower() not in ("", "0", "false"):
            raise
        pytest.skip(f"NO APACHE KAFKA, so nothing about Kafka is tested: {error}")


@pytest.fixture(scope="session")
def kafka(request: pytest.FixtureRequest) -> Iterator[str]:
    """Bootstrap address of a real Apache Kafka: a given one, or one that the suite starts.

    A broker that has all it needs and still does not start is a failure, never a skip.
    """
    given = os.environ.get("STREAM_MONITOR_TEST_BOOTSTRAP")
    if given:
        yield given
        return
    request.getfixturevalue("real_kafka")
    with broker_folder() as folder, LocalKafka(folder) as broker:
        yield broker.bootstrap


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--quick", action="store_true", help="leave out what takes long: see SLOW in tests/conftest.py")
    parser.addoption("--seeds", type=int, default=3, help="schedules of crashes in the failure suite")
    parser.addoption("--first-seed", type=int, default=0, help="where they begin")


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_auto_num_workers() -> int:
    """One more than cores: tests of a real Kafka wait now and then. Each may start a broker, so not more than 8."""
    return min((os.cpu_count() or 1) + 1, 8)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """The longest first; with `--quick` nothing that takes long."""
    if config.getoption("--quick"):
        slow = [item for item in items if SLOW & set(item.path.parts)]
        config.hook.pytest_deselected(items=slow)
        items[:] = [item for item in items if item not in set(slow)]
    items.sort(key=lambda item: next((i for i, part in enumerate(LONGEST) if part in item.path.parts), len(LONGEST)))
