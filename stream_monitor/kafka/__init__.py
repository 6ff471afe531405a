"""The only package that imports confluent_kafka: clients, the loop, topics, and brokers for the demo and tests."""
