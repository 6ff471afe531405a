"""Who is told of what: an observer that reads output topics and sends messages to receivers.

`routes` and `quiet` say who is told when, `incidents` and `dispatch` turn records into messages, `texts` writes them.
All of these are pure, and time is an argument. `sinks` hold a service a file, `transport` sends, `delivery` drives one
receiver, and `run` all of them.
"""
