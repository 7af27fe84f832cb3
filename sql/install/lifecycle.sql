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

CREATE FUNCTION record_missing_events(max_customers int DEFAULT NULL)
    RETURNS bigint
    LANGUAGE c VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
    AS 'MODULE_PATHNAME', 'record_missing_events_wrapper';
COMMENT ON FUNCTION record_missing_events(int) IS
'Records customers of whom the feed does not know, and returns how many: customer-registered, with the version it has, for each of an adopted table; customer-updated with every field and a new version for each whose row was changed past the triggers. Reads all customers and events; writes one event for each.
max_customers: at most so many in this call; NULL for all.
For the owner of the extension. Refuses with 22023 (max_customers below 0), 25001 (outside READ COMMITTED), 25006 (nothing may be written here).';

CREATE FUNCTION verify()
    RETURNS TABLE (check_name text, ok boolean, detail text)
    LANGUAGE c VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET quote_all_identifiers = off
    AS 'MODULE_PATHNAME', 'verify_wrapper';
COMMENT ON FUNCTION verify() IS
'Whether this installation keeps its promises, one row for each check: its name, whether all is in order, and in detail what is not and what to type, or NULL. Shows no personal data. The checks rows_keep_rules and rows_match_events read every customer, the latter every event too: seconds for each million.
Refuses nothing.';

CREATE FUNCTION metrics()
    RETURNS TABLE (name text, labels jsonb, value double precision)
    LANGUAGE c VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
    AS 'MODULE_PATHNAME', 'metrics_wrapper';
COMMENT ON FUNCTION metrics() IS
'Measures of the installation under Prometheus names, for a scraper that asks every few seconds: feed, consumers, customers by status, worker, NOTIFY queue, epochs, erasures. Tables above 8 MB are not counted: PostgreSQL''s estimates are taken, which VACUUM and ANALYZE renew. Shows no personal data.
Refuses with 55000 (the tables are not there).';
