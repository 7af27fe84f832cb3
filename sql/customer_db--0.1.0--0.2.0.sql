\echo Use "ALTER EXTENSION customer_db UPDATE TO '0.2.0'" to load this file. \quit

-- New: verify(), metrics(), duties(), record_missing_events(), the view duty_marks.
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
For the owner of the extension. Refuses with 22023 (max_customers below 0), 25001 (outside READ COMMITTED), 25006 (nothing may be written here).';

-- As sql/attach/views.sql creates it; attach() of the new library may have done so before.
DO $marks$
DECLARE
    data_owner regrole = (SELECT relowner FROM pg_class WHERE oid = to_regclass('customers.customers'));
    granted    record;
BEGIN
    IF to_regclass('customers.duty_marks') IS NULL THEN
        CREATE VIEW customers.duty_marks AS
        SELECT NULL::boolean AS writer,
               NULL::boolean AS reader,
               NULL::boolean AS support,
               NULL::boolean AS consumer,
               NULL::boolean AS auditor,
               NULL::boolean AS privacy,
               NULL::boolean AS operator
         WHERE false;
        ALTER EXTENSION customer_db DROP VIEW customers.duty_marks;
        COMMENT ON VIEW customers.duty_marks IS 'Marks duties: a role that holds REFERENCES on a column was given the duty of its name. Has no rows; see customers.duties().';
        COMMENT ON COLUMN customers.duty_marks.writer IS 'Marks the duty writer';
        COMMENT ON COLUMN customers.duty_marks.reader IS 'Marks the duty reader';
        COMMENT ON COLUMN customers.duty_marks.support IS 'Marks the duty support';
        COMMENT ON COLUMN customers.duty_marks.consumer IS 'Marks the duty consumer';
        COMMENT ON COLUMN customers.duty_marks.auditor IS 'Marks the duty auditor';
        COMMENT ON COLUMN customers.duty_marks.privacy IS 'Marks the duty privacy';
        COMMENT ON COLUMN customers.duty_marks.operator IS 'Marks the duty operator';
        IF data_owner IS NOT NULL THEN
            EXECUTE format('ALTER VIEW customers.duty_marks OWNER TO %s', data_owner);
        END IF;
    END IF;

    -- Nothing is granted by default, whatever the installer's ALTER DEFAULT PRIVILEGES say.
    FOR granted IN
        SELECT 'FUNCTION' AS kind, pg_proc.oid::regprocedure::text AS name,
               CASE grantee WHEN 0 THEN 'PUBLIC' ELSE grantee::regrole::text END AS grantee
          FROM pg_proc, aclexplode(coalesce(proacl, acldefault('f', proowner)))
         WHERE pronamespace = 'customers'::regnamespace AND grantee <> proowner
           AND proname IN ('verify', 'metrics', 'duties', 'record_missing_events')
        UNION
        SELECT 'TABLE', 'customers.duty_marks', CASE grantee WHEN 0 THEN 'PUBLIC' ELSE grantee::regrole::text END
          FROM pg_class, aclexplode(relacl)
         WHERE pg_class.oid = 'customers.duty_marks'::regclass AND grantee <> relowner
    LOOP
        EXECUTE format('REVOKE ALL ON %s %s FROM %s', granted.kind, granted.name, granted.grantee);
    END LOOP;

    -- Marks the duties that roles have, by what was no other duty's.
    FOR granted IN
        SELECT grantee::regrole AS role, wanted.duty
          FROM (VALUES ('writer', 'customers.register_customer(text,text,uuid)'),
                       ('support', 'customers.customer_timeline(uuid)'),
                       ('consumer', 'customers.subscribe(text,bigint)'),
                       ('auditor', 'customers.customer_history(uuid)'),
                       ('privacy', 'customers.erase_customer(uuid,text)'),
                       ('operator', 'customers.prune_events(interval,integer)')) AS wanted (duty, function)
          JOIN pg_proc ON pg_proc.oid = wanted.function::regprocedure,
               aclexplode(proacl)
         WHERE grantee NOT IN (0, proowner)
        UNION
        SELECT grantee::regrole, 'reader'
          FROM pg_attribute, aclexplode(attacl)
         WHERE attrelid = to_regclass('customers.customers') AND attname = 'version' AND privilege_type = 'SELECT'
           AND grantee <> 0
    LOOP
        EXECUTE format('GRANT REFERENCES (%I) ON customers.duty_marks TO %s', granted.duty, granted.role);
        IF granted.duty = 'operator' THEN
            EXECUTE format('GRANT EXECUTE ON FUNCTION customers.verify(), customers.metrics(), customers.duties() TO %s',
                           granted.role);
        ELSIF granted.duty = 'reader' THEN
            EXECUTE format('REVOKE SELECT (version) ON customers.customers FROM %s', granted.role);
        END IF;
    END LOOP;
END
$marks$;
