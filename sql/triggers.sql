-- The rules hold for every writer: one row trigger, because each CHECK costs a parse per statement.
CREATE OR REPLACE TRIGGER guard
    BEFORE INSERT OR UPDATE ON customers.customers
    FOR EACH ROW EXECUTE FUNCTION customers.guard();

CREATE OR REPLACE TRIGGER refuse_removal
    BEFORE DELETE OR TRUNCATE ON customers.customers
    FOR EACH STATEMENT EXECUTE FUNCTION customers.refuse_removal();

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
