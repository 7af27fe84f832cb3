\echo Use "ALTER EXTENSION customer_db UPDATE TO '0.2.0'" to load this file. \quit

-- New: verify(), metrics(), duties(), record_missing_events(), offenders(), the table duty_marks.
SET LOCAL search_path = pg_catalog, pg_temp;

-- A session that loaded the library before it was replaced lacks the functions of this version.
DO $library$
BEGIN
    CREATE FUNCTION customers.verify()
        RETURNS TABLE (check_name text, ok boolean, detail text)
        LANGUAGE c VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET quote_all_identifiers = off
        AS 'MODULE_PATHNAME', 'verify_wrapper';
EXCEPTION WHEN undefined_function THEN
    RAISE EXCEPTION USING
        ERRCODE = 'object_not_in_prerequisite_state',
        MESSAGE = 'this session has loaded the library of an earlier customer_db',
        HINT    = 'Connect again; where customer_db is in shared_preload_libraries, restart the server first.';
END
$library$;
COMMENT ON FUNCTION customers.verify() IS
'Whether this installation keeps its promises, one row for each check: its name, whether all is in order, and in detail what is not and what to type, or NULL. Shows no personal data. The checks rows_keep_rules and rows_match_events read every customer, the latter every event too: seconds for each million.
Refuses nothing.';

CREATE FUNCTION customers.metrics()
    RETURNS TABLE (name text, labels jsonb, value double precision)
    LANGUAGE c VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
    AS 'MODULE_PATHNAME', 'metrics_wrapper';
COMMENT ON FUNCTION customers.metrics() IS
'Measures of the installation under Prometheus names, for a scraper that asks every few seconds: feed, consumers, customers by status, worker, NOTIFY queue, epochs, erasures. Tables above 8 MB are not counted: PostgreSQL''s estimates are taken, which VACUUM and ANALYZE renew. Shows no personal data.
Refuses with 55000 (the tables are not there).';

CREATE FUNCTION customers.duties()
    RETURNS TABLE (role text, duty text, complete boolean)
    LANGUAGE c VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET quote_all_identifiers = off
    AS 'MODULE_PATHNAME', 'duties_wrapper';
COMMENT ON FUNCTION customers.duties() IS
'Which role was given which duty, and whether it holds all privileges of it: not after DROP EXTENSION … CASCADE or a restore without the extension, which lose those on functions. What a role inherits from another is not listed.
Refuses nothing.';

CREATE FUNCTION customers.record_missing_events(max_customers int DEFAULT NULL)
    RETURNS bigint
    LANGUAGE c VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
    AS 'MODULE_PATHNAME', 'record_missing_events_wrapper';
COMMENT ON FUNCTION customers.record_missing_events(int) IS
'Records customers of whom the feed does not know, and returns how many: customer-registered, with the version it has, for each of an adopted table; customer-updated with every field and a new version for each whose row was changed past the triggers. Reads all customers and events; writes one event for each.
max_customers: at most so many in this call; NULL for all.
For the owner of the extension. Refuses with 22023 (max_customers below 0), 25001 (outside READ COMMITTED), 25006 (nothing may be written here), 55000 (a customer to record breaks a rule).';

CREATE FUNCTION customers.offenders()
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
COMMENT ON FUNCTION customers.offenders() IS
'Rows of customers.customers that break a rule or share an id or, in canonical form, an address with another: what attach() refuses. For each every problem, the canonical form of address and name (NULL where there is none), and the ids that it collides with. Reads all customers.
Shows personal data; for the owner of customers.customers. Refuses nothing.';

ALTER FUNCTION customers.attach() SET client_min_messages = warning;
COMMENT ON FUNCTION customers.attach() IS
'Creates the tables, indexes, constraints, triggers and the view that are missing in schema customers; leaves what is there. Where nothing is missing, nobody waits for it.
For the owner of the extension: after a restore, after DROP EXTENSION … CASCADE and CREATE EXTENSION.
Refuses with 25001 (an older snapshot), 25006 (nothing may be written here), 42501 (not the owner; the schema holds objects of another role, or others may create some), 55000 (customers.customers is no table of customers, has rows that break a rule, is a parent or a child of another table, or is managed by Citus).';

-- As sql/attach/tables.sql creates it; attach() of the new library may have done so before.
DO $marks$
DECLARE
    data_owner regrole = (SELECT relowner FROM pg_class WHERE oid = to_regclass('customers.customers'));
    granted    record;
BEGIN
    IF to_regclass('customers.duty_marks') IS NULL THEN
        CREATE TABLE customers.duty_marks (
            writer   boolean,
            reader   boolean,
            support  boolean,
            consumer boolean,
            auditor  boolean,
            privacy  boolean,
            operator boolean
        );
        ALTER EXTENSION customer_db DROP TABLE customers.duty_marks;
        COMMENT ON TABLE customers.duty_marks IS 'Marks duties: a role that holds REFERENCES on a column was given the duty of its name. Has no rows; see customers.duties().';
        COMMENT ON COLUMN customers.duty_marks.writer IS 'Marks the duty writer';
        COMMENT ON COLUMN customers.duty_marks.reader IS 'Marks the duty reader';
        COMMENT ON COLUMN customers.duty_marks.support IS 'Marks the duty support';
        COMMENT ON COLUMN customers.duty_marks.consumer IS 'Marks the duty consumer';
        COMMENT ON COLUMN customers.duty_marks.auditor IS 'Marks the duty auditor';
        COMMENT ON COLUMN customers.duty_marks.privacy IS 'Marks the duty privacy';
        COMMENT ON COLUMN customers.duty_marks.operator IS 'Marks the duty operator';
        IF data_owner IS NOT NULL THEN
            EXECUTE format('ALTER TABLE customers.duty_marks OWNER TO %s', data_owner);
        END IF;
    END IF;

    -- Nothing is granted by default, whatever the installer's ALTER DEFAULT PRIVILEGES say.
    FOR granted IN
        SELECT 'FUNCTION' AS kind, pg_proc.oid::regprocedure::text AS name,
               CASE grantee WHEN 0 THEN 'PUBLIC' ELSE grantee::regrole::text END AS grantee
          FROM pg_proc, aclexplode(coalesce(proacl, acldefault('f', proowner)))
         WHERE pronamespace = 'customers'::regnamespace AND grantee <> proowner
           AND proname IN ('verify', 'metrics', 'duties', 'record_missing_events', 'offenders')
        UNION
        SELECT 'TABLE', 'customers.duty_marks', CASE grantee WHEN 0 THEN 'PUBLIC' ELSE grantee::regrole::text END
          FROM pg_class, aclexplode(relacl)
         WHERE pg_class.oid = 'customers.duty_marks'::regclass AND grantee <> relowner
    LOOP
        EXECUTE format('REVOKE ALL ON %s %s FROM %s', granted.kind, granted.name, granted.grantee);
    END LOOP;

    -- Marks the duties that roles were given: those of which they hold everything.
    FOR granted IN
        SELECT role.oid::regrole AS role, wanted.duty
          FROM (VALUES ('writer', ARRAY['customers.register_customer(text,text,uuid)',
                                        'customers.update_customer(uuid,text,text,text,bigint)',
                                        'customers.patch_customer(uuid,jsonb,bigint)',
                                        'customers.set_status(uuid,text,text,bigint)', 'customers.import_customers(jsonb)']),
                       ('reader', ARRAY['customers.get_customer(uuid)', 'customers.find_customer(text)',
                                        'customers.list_customers(text,uuid,integer)',
                                        'customers.search_customers(text,integer)', 'customers.canonical_email(text)',
                                        'customers.canonical_name(text)']),
                       ('support', ARRAY['customers.customer_timeline(uuid)']),
                       ('consumer', ARRAY['customers.subscribe(text,bigint)', 'customers.fetch_events(text,integer)',
                                          'customers.acknowledge(text,bigint)', 'customers.read_events(bigint,integer)',
                                          'customers.feed_position()', 'customers.unsubscribe(text)']),
                       ('auditor', ARRAY['customers.customer_history(uuid)']),
                       ('privacy', ARRAY['customers.erase_customer(uuid,text)', 'customers.export_customer(uuid)',
                                         'customers.reapply_erasures()']),
                       ('operator', ARRAY['customers.prune_events(interval,integer)'])) AS wanted (duty, functions),
               pg_roles AS role
         WHERE NOT EXISTS (SELECT FROM unnest(wanted.functions) AS function
                            WHERE NOT EXISTS (SELECT FROM pg_proc, aclexplode(proacl)
                                               WHERE pg_proc.oid = function::regprocedure
                                                 AND grantee = role.oid AND grantee <> proowner))
           -- 0.1.0 distinguished a reader from a writer, which may read too, by a column.
           AND (wanted.duty <> 'reader'
                OR EXISTS (SELECT FROM pg_attribute, aclexplode(attacl)
                            WHERE attrelid = to_regclass('customers.customers') AND attname = 'version'
                              AND privilege_type = 'SELECT' AND grantee = role.oid))
    LOOP
        EXECUTE format('GRANT REFERENCES (%I) ON customers.duty_marks TO %s', granted.duty, granted.role);
        IF granted.duty = 'operator' THEN
            EXECUTE format('GRANT EXECUTE ON FUNCTION customers.verify(), customers.metrics() TO %s',
                           granted.role);
        ELSIF granted.duty = 'reader' THEN
            EXECUTE format('REVOKE SELECT (version) ON customers.customers FROM %s', granted.role);
        END IF;
    END LOOP;
END
$marks$;
