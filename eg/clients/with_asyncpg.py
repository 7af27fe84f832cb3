"""Customers with asyncpg: with_asyncpg.py CONNECTION ADDRESS"""

import asyncio, json, logging, sys, uuid
import asyncpg

connection, address = sys.argv[1:]


async def refused(what, call):
    try:
        await call
    except asyncpg.PostgresError as error:
        logging.exception(what)
        print(f"{what}: {error.sqlstate} {type(error).__name__}")


async def main():
    # Through PgBouncer in transaction mode, no statement may stay prepared on the server.
    db = await asyncpg.connect(connection, statement_cache_size=0)
    # asyncpg takes and returns JSON as text, unless it is told otherwise.
    await db.set_type_codec("jsonb", schema="pg_catalog", encoder=json.dumps, decoder=json.loads)
    one = db.fetchrow

    ann = await one("SELECT * FROM customers.register_customer($1, $2)", f" {address.upper()} ", "Ann Example")
    customer_id, version = ann["customer_id"], ann["version"]
    print(f"registered: {ann['status']}, version {version}")
    register = "SELECT * FROM customers.register_customer($1, $2)"
    await refused("the address again", one(register, address, None))
    await refused("no address", one(register, address.replace("@", "#"), None))
    await refused("a name with a NUL", one(register, "x" + address, "Ann\0"))

    print("by id:", (await one("SELECT * FROM customers.get_customer($1)", customer_id))["name"])
    print("by address:", (await one("SELECT * FROM customers.find_customer($1)", address))["name"])
    print("no such id:", await one("SELECT * FROM customers.get_customer($1)", uuid.uuid4()) or "no row")
    print("a page:", len(await db.fetch("SELECT * FROM customers.list_customers(page_size => $1)", 1)))

    patch = "SELECT * FROM customers.patch_customer($1, $2, $3)"
    patched = await one(patch, customer_id, {"name": "Ann E. Example"}, version)
    print(f"patched: {patched['name']}, version {patched['version']}")
    update = "SELECT * FROM customers.update_customer($1, name => $2, expected_version => $3)"
    await refused("an old version", one(update, customer_id, "Bea", version))
    await refused("a patch of no such id", one(patch, uuid.uuid4(), {"name": "Bea"}, None))

    set_status = "SELECT * FROM customers.set_status($1, $2, $3)"
    async with db.transaction():  # the actor is forgotten when it ends
        await db.execute("SELECT set_config('customer_db.actor', $1, true)", "agent 7")
        suspended = await one(set_status, customer_id, "SUSPENDED", "fraud")
    print(f"by agent 7: {suspended['status']}, version {suspended['version']}")

    closed = await one(set_status, customer_id, "CLOSED", None)
    print(f"closed: {closed['status']}, version {closed['version']}")
    await refused("a closed account", one(set_status, customer_id, "ACTIVE", None))
    await refused("the feed", one("SELECT * FROM customers.read_events($1)", 1000000))
    await db.close()


asyncio.run(main())
