"""Customers with SQLAlchemy 2: with_sqlalchemy.py CONNECTION ADDRESS"""

import logging, sys, uuid
from sqlalchemy import BigInteger, Column, DateTime, FetchedValue, Table, bindparam, create_engine, text
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.exc import DBAPIError
from sqlalchemy.orm import DeclarativeBase, Session
from sqlalchemy.orm.exc import StaleDataError

connection, address = sys.argv[1:]
engine = create_engine(
    connection.replace("postgresql:", "postgresql+psycopg:"),
    # Through PgBouncer in transaction mode, no statement may stay prepared on the server.
    connect_args={"prepare_threshold": None},
    # Otherwise an exception's text has the parameters: addresses and names.
    hide_parameters=True,
)


class Base(DeclarativeBase):
    pass


class Customer(Base):
    # Reflected, but for what the server sets on UPDATE too.
    __table__ = Table(
        "customers",
        Base.metadata,
        Column("version", BigInteger, FetchedValue(), server_onupdate=FetchedValue()),
        Column("updated_at", DateTime(timezone=True), FetchedValue(), server_onupdate=FetchedValue()),
        schema="customers",
        autoload_with=engine,
    )
    __mapper_args__ = {"version_id_col": __table__.c.version, "version_id_generator": False}


def call(query, actor=None, **values):
    """The row of one call, in a transaction of its own; the actor is forgotten when it ends."""
    with engine.begin() as db:
        if actor:
            db.execute(text("SELECT set_config('customer_db.actor', :actor, true)"), {"actor": actor})
        return db.execute(query, values).first()


def refused(what, query, **values):
    try:
        call(query, **values)
    except DBAPIError as error:
        logging.exception(what)
        print(f"{what}: {error.orig.sqlstate} {type(error).__name__}")


register = text("SELECT * FROM customers.register_customer(:email, :name)")
ann = call(register, email=f" {address.upper()} ", name="Ann Example")
print(f"registered: {ann.status}, version {ann.version}")
refused("the address again", register, email=address, name=None)
refused("no address", register, email=address.replace("@", "#"), name=None)
refused("a name with a NUL", register, email="x" + address, name="Ann\0")

get = text("SELECT * FROM customers.get_customer(:id)")
find = text("SELECT * FROM customers.find_customer(:email)")
print("by id:", call(get, id=ann.customer_id).name)
print("by address:", call(find, email=address).name)
print("no such id:", call(get, id=uuid.uuid4()) or "no row")
with engine.begin() as db:
    page = db.execute(text("SELECT * FROM customers.list_customers(page_size => :size)"), {"size": 1})
    print("a page:", len(page.all()))

patch = text("SELECT * FROM customers.patch_customer(:id, :patch, :version)")
patch = patch.bindparams(bindparam("patch", type_=JSONB))
patched = call(patch, id=ann.customer_id, patch={"name": "Ann E. Example"}, version=ann.version)
print(f"patched: {patched.name}, version {patched.version}")
update = text("SELECT * FROM customers.update_customer(:id, name => :name, expected_version => :version)")
refused("an old version", update, id=ann.customer_id, name="Bea", version=ann.version)
refused("a patch of no such id", patch, id=uuid.uuid4(), patch={"name": "Bea"}, version=None)

set_status = text("SELECT * FROM customers.set_status(:id, :status, :reason)")
suspended = call(set_status, actor="agent 7", id=ann.customer_id, status="SUSPENDED", reason="fraud")
print(f"by agent 7: {suspended.status}, version {suspended.version}")
closed = call(set_status, id=ann.customer_id, status="CLOSED", reason=None)
print(f"closed: {closed.status}, version {closed.version}")
refused("a closed account", set_status, id=ann.customer_id, status="ACTIVE", reason=None)
refused("the feed", text("SELECT * FROM customers.read_events(:after)"), after=1000000)

# Above READ COMMITTED, PostgreSQL refuses the outdated change itself, with 40001.
read_committed = engine.execution_options(isolation_level="READ COMMITTED")
with Session(read_committed) as session, Session(read_committed) as other:
    session.add(bea := Customer(email="bea." + address, name="Bea"))
    session.commit()
    print(f"the model registers: {bea.status}, version {bea.version}")
    outdated = other.get(Customer, bea.customer_id)
    bea.name = "Bea Example"
    session.commit()
    print(f"the model renames: {bea.name}, version {bea.version}")
    outdated.name = "Beatrice"
    try:
        other.commit()
    except StaleDataError:
        print("the model, outdated: no row changes")
