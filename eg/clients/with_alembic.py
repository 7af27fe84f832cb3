"""What alembic's autogenerate would change: with_alembic.py CONNECTION

The application's tables are in public; what attach() has created in customers is not the application's to migrate."""

import sys
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import BigInteger, Column, MetaData, Table, Uuid, create_engine

engine = create_engine(sys.argv[1].replace("postgresql:", "postgresql+psycopg:"))
metadata = MetaData()
Table("orders", metadata, Column("order_id", BigInteger, primary_key=True), Column("customer_id", Uuid, nullable=False))
# As an ORM's model has it, among the application's own tables.
Table("customers", metadata, schema="customers", autoload_with=engine)


def include_object(thing, name, kind, reflected, compared):
    return getattr(thing, "schema", None) != "customers"


with engine.connect() as db:
    metadata.tables["orders"].create(db)
    options = {"include_schemas": True, "include_object": include_object}
    for difference in compare_metadata(MigrationContext.configure(db, opts=options), metadata):
        print(difference)
