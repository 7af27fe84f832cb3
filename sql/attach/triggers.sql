-- The rules hold for every writer: one row trigger, because each CHECK costs a parse per statement.
CREATE OR REPLACE TRIGGER guard
    BEFORE INSERT OR UPDATE ON customers.customers
    FOR EACH ROW EXECUTE FUNCTION customers.guard();

CREATE OR REPLACE TRIGGER refuse_removal
    BEFORE DELETE OR TRUNCATE ON customers.customers
    FOR EACH STATEMENT EXECUTE FUNCTION customers.refuse_removal();

-- A statement on a parent, and the apply of logical replication, fire row triggers alone.
CREATE OR REPLACE TRIGGER refuse_removal_of_row
    BEFORE DELETE ON customers.customers
    FOR EACH ROW EXECUTE FUNCTION customers.refuse_removal();

-- A transition table belongs to one kind of event, hence two triggers.
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

-- The ledger can be loaded over a part of it.
CREATE OR REPLACE TRIGGER keep_erasure
    BEFORE INSERT ON customers.erasures
    FOR EACH ROW EXECUTE FUNCTION customers.keep_erasure();

-- Citus refuses to distribute a table with a trigger that depends on an extension, and statements on shards would
-- pass all of them. DROP EXTENSION stays refused: the other triggers depend on its functions in the usual way.
ALTER TRIGGER refuse_removal ON customers.customers DEPENDS ON EXTENSION customer_db;
ALTER TRIGGER refuse_removal_of_row ON customers.customers DEPENDS ON EXTENSION customer_db;
ALTER TRIGGER refuse_removal ON customers.events DEPENDS ON EXTENSION customer_db;
ALTER TRIGGER refuse_removal_of_row ON customers.events DEPENDS ON EXTENSION customer_db;
