"""Keeps a complete copy of the customers: consumer.py CONNECTION CONSUMER FILE

Listen, then catch up, then read on each notification and at intervals: a notification only says
that there is something. The server keeps our place, so that nothing is pruned before we have read
it, and we keep it with the copy, for a failover sets the server's back. Events whose version we
have come again. Where the feed cannot go on (PT410), we copy the table and begin behind the copy.
"""

import json, os, sys, time
import psycopg

connection_string, consumer, path = sys.argv[1:]
FETCH = """SELECT customer_id::text, version, coalesce(event -> 'customer', event -> 'changes')
                  || jsonb_build_object('version', version), position FROM customers.fetch_events(%s)"""
TABLE = """SELECT customer_id::text, version, CASE WHEN email NOT LIKE '%@erased.invalid'
                  THEN to_jsonb(customer) END FROM customers.customers AS customer"""


def load():
    return json.load(open(path)) if os.path.exists(path) else {}


def read(db, anew=False):
    # The place moves when the file has been written: whatever cuts us off, it is not ahead of it.
    with db.transaction():
        if anew:
            [position] = db.execute("SELECT customers.feed_position()").fetchone()
            db.execute("SELECT customers.unsubscribe(%s)", [consumer])
            db.execute("SELECT customers.subscribe(%s, %s)", [consumer, position])
            rows = db.execute(TABLE).fetchall()
        elif rows := db.execute(FETCH, [consumer]).fetchall():
            position = rows[-1][3]
            db.execute("SELECT customers.acknowledge(%s, %s)", [consumer, position])
        else:
            return False
        copy = load()
        if anew:
            copy = {customer_id: known for customer_id, known in copy.items() if known is None}
        for customer_id, version, fields, *_ in rows:
            known = copy.setdefault(customer_id, {"version": 0})
            if known and version > known["version"]:  # None: erased, and stays so
                copy[customer_id] = fields and known | fields
        copy["position"] = position
        with open(path + ".new", "w") as file:
            json.dump(copy, file)
            file.flush()
            os.fsync(file.fileno())
        os.replace(path + ".new", path)
    return True


def consume(anew):
    with psycopg.connect(connection_string, autocommit=True) as db:
        db.execute("LISTEN customers")
        if anew:
            read(db, anew=True)
        elif not os.path.exists(path):  # begin at the beginning
            db.execute("SELECT customers.unsubscribe(%s)", [consumer])
        db.execute("SELECT customers.subscribe(%s, %s)", [consumer, load().get("position", 0)])
        while True:
            while read(db):
                pass
            list(db.notifies(timeout=10, stop_after=1))


anew = False
while True:
    try:
        consume(anew)
    except psycopg.Error as error:
        print(error, file=sys.stderr)
        anew = error.sqlstate == "PT410"
    time.sleep(1)
