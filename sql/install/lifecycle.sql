-- Runs with its caller's rights: a role that may not create these tables may not attach to them either.
CREATE FUNCTION attach()
    RETURNS void
    LANGUAGE c VOLATILE SET search_path = pg_catalog, pg_temp
    AS 'MODULE_PATHNAME', 'attach_wrapper';
COMMENT ON FUNCTION attach() IS
'Creates the tables, indexes, constraints, triggers and the view that are missing in schema customers; leaves what is there.
For the owner of the extension: after a restore, after DROP EXTENSION … CASCADE and CREATE EXTENSION.
Refuses with 42501 (the schema holds objects of another role, or others may create some), 55000 (customers.customers is no table of customers, has rows that break a rule, is a parent or a child of another table, or is managed by Citus).';

-- Depends on nothing but its arguments, hence IMMUTABLE.
CREATE FUNCTION broken_rule(email text, name text, status text)
    RETURNS text
    LANGUAGE c IMMUTABLE PARALLEL SAFE
    AS 'MODULE_PATHNAME', 'broken_rule_wrapper';
COMMENT ON FUNCTION broken_rule(text, text, text) IS
'Which rule a row of customers.customers breaks; NULL where it breaks none. Lists what attach() refuses to adopt.
email, name, status: as they are stored.
Refuses nothing.';
