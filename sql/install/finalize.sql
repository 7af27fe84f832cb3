SET LOCAL search_path = pg_catalog, pg_temp;

-- PostgreSQL gives PUBLIC every new function and type, and the installer's ALTER DEFAULT PRIVILEGES may give them to
-- others; here nothing is granted by default.
DO $revoke$
DECLARE
    granted record;
BEGIN
    FOR granted IN
        WITH member (kind, name, owner, acl) AS (
            SELECT 'FUNCTION', pg_proc.oid::regprocedure::text, proowner, coalesce(proacl, acldefault('f', proowner))
              FROM pg_depend JOIN pg_proc ON pg_proc.oid = objid
             WHERE classid = 'pg_proc'::regclass AND refclassid = 'pg_extension'::regclass AND deptype = 'e'
               AND refobjid = (SELECT oid FROM pg_extension WHERE extname = 'customer_db')
            UNION ALL
            SELECT 'TYPE', pg_type.oid::regtype::text, typowner, coalesce(typacl, acldefault('T', typowner))
              FROM pg_type WHERE pg_type.oid = 'customers.profile'::regtype)
        SELECT kind, name, CASE grantee WHEN 0 THEN 'PUBLIC' ELSE grantee::regrole::text END AS grantee
          FROM member, aclexplode(acl)
         WHERE grantee <> owner
         GROUP BY 1, 2, 3
    LOOP
        EXECUTE format('REVOKE ALL ON %s %s FROM %s', granted.kind, granted.name, granted.grantee);
    END LOOP;
END
$revoke$;

DO $finalize$
DECLARE
    member record;
BEGIN
    IF current_setting('customer_db_install.fresh') = 'no' THEN
        RAISE WARNING USING
            MESSAGE = 'customer_db: schema customers exists, so only its functions were installed',
            HINT    = 'A table that is to be adopted has to be moved there first. SELECT customers.attach() then creates '
                      'the tables and triggers that are missing.';
        RETURN;
    END IF;

    PERFORM customers.attach();

    -- The data belong to the owner: DROP EXTENSION must not drop them, and pg_dump must include them.
    FOR member IN
        SELECT CASE relation.relkind WHEN 'r' THEN 'TABLE' WHEN 'S' THEN 'SEQUENCE' WHEN 'v' THEN 'VIEW' END AS kind,
               relation.oid::regclass AS name
          FROM pg_depend AS dependency
          JOIN pg_class AS relation ON relation.oid = dependency.objid
         WHERE dependency.classid = 'pg_class'::regclass
           AND dependency.refclassid = 'pg_extension'::regclass
           AND dependency.refobjid = (SELECT oid FROM pg_extension WHERE extname = 'customer_db')
           AND dependency.deptype = 'e'
           AND relation.relkind IN ('r', 'S', 'v')
    LOOP
        EXECUTE format('ALTER EXTENSION customer_db DROP %s %s', member.kind, member.name);
    END LOOP;
END
$finalize$;
