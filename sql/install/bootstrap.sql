-- The schema is no member of the extension, so pg_dump includes it like any other.
DO $bootstrap$
DECLARE
    grantee text;
BEGIN
    IF current_setting('server_encoding') <> 'UTF8' THEN
        RAISE EXCEPTION USING
            ERRCODE = 'feature_not_supported',
            MESSAGE = 'customer_db needs a database whose encoding is UTF8',
            DETAIL  = format('This database is encoded in %s.', current_setting('server_encoding')),
            HINT    = 'Create one with: CREATE DATABASE name ENCODING ''UTF8'' TEMPLATE template0';
    END IF;

    IF to_regnamespace('customers') IS NULL THEN
        CREATE SCHEMA customers;
        ALTER EXTENSION customer_db DROP SCHEMA customers;
        -- Nothing is granted by default, whatever the installer's ALTER DEFAULT PRIVILEGES say.
        FOR grantee IN
            SELECT DISTINCT CASE acl.grantee WHEN 0 THEN 'PUBLIC' ELSE acl.grantee::regrole::text END
              FROM pg_namespace, aclexplode(nspacl) AS acl
             WHERE nspname = 'customers' AND acl.grantee <> nspowner
        LOOP
            EXECUTE format('REVOKE ALL ON SCHEMA customers FROM %s', grantee);
        END LOOP;
        COMMENT ON SCHEMA customers IS 'Customer profiles, their history and their change feed (customer_db)';
        PERFORM set_config('customer_db_install.fresh', 'yes', true);
    ELSE
        PERFORM set_config('customer_db_install.fresh', 'no', true);
    END IF;
END
$bootstrap$;

-- What follows looks into the schema and must not call anything in it: an operator there that takes just the types of
-- an expression would be preferred to one of pg_catalog that needs a conversion.
SET LOCAL search_path = pg_catalog, pg_temp;
