-- The rules are in one row trigger, so that they hold for every statement: PostgreSQL would parse each
-- CHECK again per statement.
CREATE OR REPLACE TRIGGER guard
    BEFORE INSERT OR UPDATE ON customers.customers
    FOR EACH ROW EXECUTE FUNCTION customers.guard();

CREATE OR REPLACE TRIGGER refuse_removal
    BEFORE DELETE OR TRUNCATE ON customers.customers
    FOR EACH STATEMENT EXECUTE FUNCTION customers.refuse_removal();

-- A statement on a parent, and logical replication's apply, fire only row triggers.
CREATE OR REPLACE TRIGGER refuse_removal_of_row
    BEFORE DELETE ON customers.customers
    FOR EACH ROW EXECUTE FUNCTION customers.refuse_removal();

-- A transition table allows only one kind of event, hence two triggers.
CREATE OR REPLACE TRIGGER record_registered
    AFTER INSERT ON customers.customers
    REFERENCING NEW TABLE AS registered
    FOR EACH STATEMENT EXECUTE FUNCTION customers.record_registered();

CREATE OR REPLACE TRIGGER record_updated
    AFTER UPDATE ON customers.customers
    REFERENCING OLD TABLE AS before NEW TABLE AS after
    FOR EACH STATEMENT EXECUTE FUNCTION customers.record_updated();

-- The feed is append-only.
CREATE OR REPLACE TRIGGER refuse_removal
    BEFORE UPDATE OR DELETE OR TRUNCATE ON customers.events
    FOR EACH STATEMENT EXECUTE FUNCTION customers.refuse_removal();

CREATE OR REPLACE TRIGGER refuse_removal_of_row
    BEFORE UPDATE OR DELETE ON customers.events
    FOR EACH ROW EXECUTE FUNCTION customers.refuse_removal();

-- The partitions of a partitioned feed have the row trigger from it; a TRUNCATE of one fires only its own.
DO $partitions$
DECLARE
    partition regclass;
BEGIN
    FOR partition IN SELECT relid FROM pg_partition_tree('customers.events') WHERE parentrelid IS NOT NULL LOOP
        EXECUTE format('CREATE OR REPLACE TRIGGER refuse_removal BEFORE UPDATE OR DELETE OR TRUNCATE ON %s
                        FOR EACH STATEMENT EXECUTE FUNCTION customers.refuse_removal()', partition);
    END LOOP;
END
$partitions$;

-- Skips customers that are in the ledger already, so that it can be loaded over part of itself.
CREATE OR REPLACE TRIGGER keep_erasure
    BEFORE INSERT ON customers.erasures
    FOR EACH ROW EXECUTE FUNCTION customers.keep_erasure();

-- Citus refuses to distribute a table with a trigger that depends on an extension; statements on shards
-- would bypass all triggers. DROP EXTENSION is still refused: the other triggers depend on its functions.
-- Only where it does not depend yet: that locks out readers.
DO $depends$
DECLARE
    independent record;
BEGIN
    FOR independent IN
        SELECT tgname AS name, tgrelid::regclass AS "table"
          FROM pg_trigger
         WHERE tgrelid IN ('customers.customers'::regclass, 'customers.events'::regclass)
           AND tgname IN ('refuse_removal', 'refuse_removal_of_row')
           AND NOT EXISTS (SELECT FROM pg_depend
                            WHERE classid = 'pg_trigger'::regclass AND objid = pg_trigger.oid
                              AND refclassid = 'pg_extension'::regclass AND deptype = 'x')
    LOOP
        EXECUTE format('ALTER TRIGGER %I ON %s DEPENDS ON EXTENSION customer_db', independent.name, independent."table");
    END LOOP;
END
$depends$;
