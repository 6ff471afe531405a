"""A stand-in for the image of Apache Kafka: the Java and the jars of the tests, on the base of our own image."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from stream_monitor.kafka.local import class_path, java_binary
from tests.deploy.podman import Podman

TAG = "localhost/stream-monitor-kafka:test"
START = """
import os, subprocess
java = ["/opt/jdk/bin/java", "-Xmx512M", "-XX:TieredStopAtLevel=1", "-cp", "/opt/jars/*:/opt/modules/*"]
given = {name[6:].lower().replace("_", "."): value for name, value in os.environ.items() if name.startswith("KAFKA_")}
given["log.dirs"] = "/tmp/kafka"
with open("/tmp/server.properties", "w") as file:
    file.writelines(f"{name}={value}\\n" for name, value in given.items())
tool = ["kafka.tools.StorageTool", "format", "--cluster-id=MkU3OEVBNTcwNTJENDM2Qg", "-c", "/tmp/server.properties"]
subprocess.run([*java, *tool], check=True)
os.execv(java[0], [*java, "kafka.Kafka", "/tmp/server.properties"])
"""
"""As the real image does: a variable KAFKA_NODE_ID is the property node.id."""
PROBE = """#!/usr/bin/python3
import socket, sys
host, port = sys.argv[2].rsplit(":", 1)
socket.create_connection((host, int(port)), timeout=5).close()
"""
DOCKERFILE = """ARG BASE
FROM ${BASE}
COPY jdk /opt/jdk
COPY jars /opt/jars
COPY modules /opt/modules
COPY start.py /opt/start.py
COPY --chmod=755 kafka-broker-api-versions.sh /opt/kafka/bin/kafka-broker-api-versions.sh
USER 1000
ENTRYPOINT ["python3", "/opt/start.py"]
"""


def build(podman: Podman, folder: Path) -> str:
    """Build the image in `folder`; returns its tag."""
    shutil.copytree(Path(java_binary()).parents[1], folder / "jdk", symlinks=True)
    for entry in class_path().split(os.pathsep):
        place = Path(entry).parent
        shutil.copytree(place, folder / place.name)
    (folder / "start.py").write_text(START)
    (folder / "kafka-broker-api-versions.sh").write_text(PROBE)
    (folder / "Dockerfile").write_text(DOCKERFILE)
    podman.run("build", "--format", "docker", "--build-arg", f"BASE={podman.base()}", "-t", TAG, str(folder))
    return TAG
