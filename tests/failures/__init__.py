"""The failure suite: real workers on a real Apache Kafka, broken on purpose, and verified from the input."""
