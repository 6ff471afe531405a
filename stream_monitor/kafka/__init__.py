"""The only door to confluent_kafka: clients, the transactional loop, topics, and brokers for demo and tests."""
