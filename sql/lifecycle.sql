-- Runs with its caller's rights: who may not create these tables may not attach to them either.
CREATE FUNCTION attach()
    RETURNS void
    LANGUAGE c VOLATILE SET search_path = pg_catalog, pg_temp
    AS 'MODULE_PATHNAME', 'attach_wrapper';
COMMENT ON FUNCTION attach() IS
'Creates the tables, indexes, triggers and the view that are missing in schema customers; leaves what is there.
For the owner of the extension: after a restore, after DROP EXTENSION … CASCADE and CREATE EXTENSION.
Refuses with 42501 (the schema holds objects of another role), 55000 (customers.customers is no table of customers).';
