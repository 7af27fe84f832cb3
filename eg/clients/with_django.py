"""Customers with Django 5: with_django.py CONNECTION ADDRESS"""

import json, logging, sys, uuid
from urllib.parse import urlsplit
import django
from django.conf import settings
from django.contrib.postgres.functions import RandomUUID, TransactionNow
from django.db import DatabaseError, connection, models, transaction

url, address = urlsplit(sys.argv[1]), sys.argv[2]
database = {
    "ENGINE": "django.db.backends.postgresql",
    "HOST": url.hostname,
    "PORT": url.port,
    "USER": url.username,
    "NAME": url.path[1:],
    # Through PgBouncer in transaction mode, no cursor outlives its transaction.
    "DISABLE_SERVER_SIDE_CURSORS": True,
}
settings.configure(DATABASES={"default": database})
django.setup()


class Customer(models.Model):
    customer_id = models.UUIDField(primary_key=True, db_default=RandomUUID())
    email = models.TextField(unique=True)
    name = models.TextField(null=True)
    status = models.TextField(db_default="ACTIVE")
    registered_at = models.DateTimeField(db_default=TransactionNow())
    updated_at = models.DateTimeField(db_default=TransactionNow())
    version = models.BigIntegerField(db_default=1)

    class Meta:
        app_label = "shop"
        db_table = "customers"  # found by the role's search_path
        managed = False


def rows(function, *values):
    """The customers that a function returns."""
    return list(Customer.objects.raw(f"SELECT * FROM customers.{function}", values))


def refused(what, function, *values):
    try:
        rows(function, *values)
    except DatabaseError as error:
        logging.exception(what)
        print(f"{what}: {error.__cause__.sqlstate} {type(error).__name__}")


[ann] = rows("register_customer(%s, %s)", f" {address.upper()} ", "Ann Example")
print(f"registered: {ann.status}, version {ann.version}")
refused("the address again", "register_customer(%s)", address)
refused("no address", "register_customer(%s)", address.replace("@", "#"))
refused("a name with a NUL", "register_customer(%s, %s)", "x" + address, "Ann\0")

print("by id:", rows("get_customer(%s)", ann.pk)[0].name)
print("by address:", rows("find_customer(%s)", address)[0].name)
print("no such id:", rows("get_customer(%s)", uuid.uuid4()) or "no row")
print("a page:", len(rows("list_customers(page_size => %s)", 1)))

patch = "patch_customer(%s, %s, %s)"
[patched] = rows(patch, ann.pk, json.dumps({"name": "Ann E. Example"}), ann.version)
print(f"patched: {patched.name}, version {patched.version}")
refused("an old version", "update_customer(%s, name => %s, expected_version => %s)", ann.pk, "Bea", ann.version)
refused("a patch of no such id", patch, uuid.uuid4(), json.dumps({"name": "Bea"}), None)

with transaction.atomic(), connection.cursor() as cursor:  # the actor is forgotten when it ends
    cursor.execute("SELECT set_config('customer_db.actor', %s, true)", ["agent 7"])
    [suspended] = rows("set_status(%s, %s, %s)", ann.pk, "SUSPENDED", "fraud")
print(f"by agent 7: {suspended.status}, version {suspended.version}")

[closed] = rows("set_status(%s, 'CLOSED')", ann.pk)
print(f"closed: {closed.status}, version {closed.version}")
refused("a closed account", "set_status(%s, 'ACTIVE')", ann.pk)
refused("the feed", "read_events(%s)", 1000000)

bea = Customer.objects.create(email="bea." + address, name="Bea")
print(f"the model registers: {bea.status}, version {bea.version}")
same = Customer.objects.filter(pk=bea.pk, version=bea.version)
same.update(name="Bea Example")
bea.refresh_from_db()
print(f"the model renames: {bea.name}, version {bea.version}")
if same.update(name="Beatrice") == 0:
    print("the model, outdated: no row changes")
