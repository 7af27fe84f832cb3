"""Keeps a complete copy of the customers: consumer.py CONNECTION CONSUMER FILE

Listen, then catch up, then read on each notification and at intervals: a notification only says
that there is something. The server keeps our place; events whose version we have come again.
"""

import json, os, sys, time
import psycopg

connection_string, consumer, path = sys.argv[1:]


def apply(copy, customer_id, version, fields):
    known = copy.setdefault(customer_id, {"version": 0})
    if version > known["version"]:
        if fields is None:  # erased, but for the version: older events may come again
            known.clear()
        known.update(fields or {}, version=version)


def read_batch(connection):
    with connection.transaction():
        fetch = """SELECT customer_id::text, version, coalesce(event -> 'customer', event -> 'changes'),
                          position FROM customers.fetch_events(%s)"""
        events = connection.execute(fetch, [consumer]).fetchall()
        if events:
            copy = json.load(open(path)) if os.path.exists(path) else {}
            for *event, position in events:
                apply(copy, *event)
            with open(path + ".new", "w") as file:
                json.dump(copy, file)
                file.flush()
                os.fsync(file.fileno())
            os.replace(path + ".new", path)
            connection.execute("SELECT customers.acknowledge(%s, %s)", [consumer, position])
    return len(events)


def consume():
    with psycopg.connect(connection_string, autocommit=True) as connection:
        connection.execute("LISTEN customers")
        if not os.path.exists(path):  # begin at the beginning
            connection.execute("SELECT customers.unsubscribe(%s)", [consumer])
        connection.execute("SELECT customers.subscribe(%s)", [consumer])
        while True:
            while read_batch(connection) > 0:
                pass
            list(connection.notifies(timeout=10, stop_after=1))


while True:
    try:
        consume()
    except psycopg.OperationalError as error:
        print(error, file=sys.stderr)
    time.sleep(1)
