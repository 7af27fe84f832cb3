"""Customers with psycopg 3: with_psycopg.py CONNECTION ADDRESS"""

import logging, sys, uuid
import psycopg
from psycopg.rows import namedtuple_row
from psycopg.types.json import Jsonb

connection, address = sys.argv[1:]
# Through PgBouncer in transaction mode, no statement may stay prepared on the server.
db = psycopg.connect(connection, autocommit=True, prepare_threshold=None, row_factory=namedtuple_row)


def one(query, *values):
    return db.execute(query, values).fetchone()


def refused(what, query, *values):
    try:
        one(query, *values)
    except psycopg.Error as error:
        logging.exception(what)
        print(f"{what}: {error.sqlstate} {type(error).__name__}")


ann = one("SELECT * FROM customers.register_customer(%s, %s)", f" {address.upper()} ", "Ann Example")
print(f"registered: {ann.status}, version {ann.version}")
refused("the address again", "SELECT * FROM customers.register_customer(%s)", address)
refused("no address", "SELECT * FROM customers.register_customer(%s)", address.replace("@", "#"))
refused("a name with a NUL", "SELECT * FROM customers.register_customer(%s, %s)", "x" + address, "Ann\0")

print("by id:", one("SELECT * FROM customers.get_customer(%s)", ann.customer_id).name)
print("by address:", one("SELECT * FROM customers.find_customer(%s)", address).name)
print("no such id:", one("SELECT * FROM customers.get_customer(%s)", uuid.uuid4()) or "no row")
print("a page:", db.execute("SELECT * FROM customers.list_customers(page_size => %s)", [1]).rowcount)

patch = "SELECT * FROM customers.patch_customer(%s, %s, %s)"
patched = one(patch, ann.customer_id, Jsonb({"name": "Ann E. Example"}), ann.version)
print(f"patched: {patched.name}, version {patched.version}")
update = "SELECT * FROM customers.update_customer(%s, name => %s, expected_version => %s)"
refused("an old version", update, ann.customer_id, "Bea", ann.version)
refused("a patch of no such id", patch, uuid.uuid4(), Jsonb({"name": "Bea"}), None)

with db.transaction():  # the actor is forgotten when it ends
    db.execute("SELECT set_config('customer_db.actor', %s, true)", ["agent 7"])
    suspended = one("SELECT * FROM customers.set_status(%s, %s, %s)", ann.customer_id, "SUSPENDED", "fraud")
print(f"by agent 7: {suspended.status}, version {suspended.version}")

closed = one("SELECT * FROM customers.set_status(%s, 'CLOSED')", ann.customer_id)
print(f"closed: {closed.status}, version {closed.version}")
refused("a closed account", "SELECT * FROM customers.set_status(%s, 'ACTIVE')", ann.customer_id)
refused("the feed", "SELECT * FROM customers.read_events(%s)", 1000000)
