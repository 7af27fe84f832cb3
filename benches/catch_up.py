"""Reads a feed to its end, 1000 events at a time: catch_up.py CONNECTION ours|theirs. Prints their number and the seconds."""

import json, sys, time
import psycopg

connection, feed = sys.argv[1:]
with psycopg.connect(connection, autocommit=True) as db:
    since, count, place = time.perf_counter(), 0, 0
    while True:
        if feed == "ours":
            query = "SELECT position, type, event FROM customers.read_events(%s, 1000)"
        else:
            query = "SELECT global_position, type, data FROM message_store.get_category_messages('customer', %s, 1000)"
        rows = db.execute(query, [place], prepare=True).fetchall()
        if not rows:
            break
        if feed == "theirs":  # a text; psycopg has parsed ours
            rows = [(position, kind, json.loads(data)) for position, kind, data in rows]
        count += len(rows)
        place = rows[-1][0] + (feed == "theirs")
    print(count, time.perf_counter() - since)
