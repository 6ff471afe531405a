"""The page: a reader of the output topics, a store, an HTTP API, and the files of the page itself.

    topics ─▶ reader ─▶ store (SQLite) ─▶ views ─▶ server (JSON) ─▶ static/*.js

It is an observer. It joins no group, commits no offset and imports no stage, so it cannot disturb a worker.
"""
