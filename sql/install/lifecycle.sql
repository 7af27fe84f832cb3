-- Runs with its caller's rights: a role that may not create these tables may not attach to them either. Leaves out
-- PostgreSQL's notice of each object that is there already.
CREATE FUNCTION attach()
    RETURNS void
    LANGUAGE c VOLATILE SET search_path = pg_catalog, pg_temp SET client_min_messages = warning
    AS 'MODULE_PATHNAME', 'attach_wrapper';
COMMENT ON FUNCTION attach() IS
'Creates the tables, indexes, constraints, triggers and the view that are missing in schema customers; leaves what is there. Where nothing is missing, nobody waits for it.
For the owner of the extension: after a restore, after DROP EXTENSION … CASCADE and CREATE EXTENSION.
Refuses with 25001 (an older snapshot), 25006 (nothing may be written here), 42501 (not the owner; the schema holds objects of another role, or others may create some), 55000 (customers.customers is no table of customers, has rows that break a rule, is a parent or a child of another table, or is managed by Citus).';

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
For the owner of the extension. Refuses with 22023 (max_customers below 0), 25001 (outside READ COMMITTED), 25006 (nothing may be written here), 55000 (a customer to record breaks a rule).';

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

CREATE FUNCTION offenders()
    RETURNS TABLE (customer_id uuid, problems text[], canonical_email text, canonical_name text, collides_with uuid[])
    LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
    AS $offenders$
        WITH judged AS (
            SELECT customer_id, status, registered_at, updated_at,
                   customers.broken_rule(email, name, status) AS broken,
                   customers.broken_rule(email, NULL, 'ACTIVE') AS about_email,
                   customers.broken_rule('a@example.com', name, 'ACTIVE') AS about_name,
                   customers.broken_rule('a@example.com', NULL, status) AS about_status,
                   email, name,
                   -- An adopted table need not have the column.
                   to_jsonb(customer) AS all_columns
              FROM customers.customers AS customer
        ), mended AS (
            SELECT *,
                   CASE WHEN about_email IS NULL OR about_email LIKE '%not in canonical form'
                        THEN customers.canonical_email(email) ELSE email END AS mended_email,
                   CASE WHEN about_name IS NULL OR about_name LIKE '%not in canonical form'
                        THEN customers.canonical_name(name) END AS mended_name
              FROM judged
        ), compared AS (
            SELECT *,
                   array_agg(customer_id) OVER (PARTITION BY mended_email) AS same_address,
                   count(*) OVER (PARTITION BY customer_id) AS same_id,
                   all_columns ? 'version' AND coalesce((all_columns ->> 'version')::bigint, 0) < 1 AS has_no_version
              FROM mended
        )
        SELECT customer_id,
               array_remove(ARRAY[
                   CASE WHEN broken IS NOT NULL THEN about_email END,
                   CASE WHEN broken IS NOT NULL THEN about_name END,
                   CASE WHEN broken IS NOT NULL THEN about_status END,
                   CASE WHEN customer_id IS NULL THEN 'customer_id is NULL' END,
                   CASE WHEN same_id > 1 THEN 'customer_id is that of several customers' END,
                   CASE WHEN registered_at IS NULL THEN 'registered_at is NULL' END,
                   CASE WHEN registered_at > clock_timestamp() THEN 'registered_at is in the future' END,
                   CASE WHEN registered_at < '1900-01-01 00:00:00+00' THEN 'registered_at is before 1900' END,
                   CASE WHEN updated_at IS NULL THEN 'updated_at is NULL' END,
                   CASE WHEN has_no_version THEN 'version is NULL or below 1' END,
                   CASE WHEN cardinality(same_address) > 1 THEN 'the address is that of several customers' END], NULL),
               CASE WHEN about_email IS NULL OR about_email LIKE '%not in canonical form' THEN mended_email END,
               mended_name,
               nullif(array_remove(same_address, customer_id), '{}')
          FROM compared
         WHERE broken IS NOT NULL OR customer_id IS NULL OR same_id > 1 OR cardinality(same_address) > 1
            OR registered_at IS NULL OR registered_at > clock_timestamp()
            OR registered_at < '1900-01-01 00:00:00+00' OR updated_at IS NULL OR has_no_version
         ORDER BY mended_email, customer_id
    $offenders$;
COMMENT ON FUNCTION offenders() IS
'Rows of customers.customers that break a rule or share an id or, in canonical form, an address with another: what attach() refuses. For each every problem, the canonical form of address and name (NULL where there is none), and the ids that it collides with. Reads all customers.
Shows personal data; for the owner of customers.customers. Refuses nothing.';
