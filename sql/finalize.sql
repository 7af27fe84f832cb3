-- PostgreSQL gives PUBLIC every new function and type; here nothing is for PUBLIC.
DO $revoke$
DECLARE
    function regprocedure;
BEGIN
    REVOKE ALL ON TYPE profile FROM PUBLIC;
    FOR function IN
        SELECT objid
          FROM pg_depend
         WHERE refclassid = 'pg_extension'::regclass
           AND refobjid = (SELECT oid FROM pg_extension WHERE extname = 'customer_db')
           AND deptype = 'e'
           AND classid = 'pg_proc'::regclass
    LOOP
        EXECUTE format('REVOKE ALL ON FUNCTION %s FROM PUBLIC', function);
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
            HINT    = 'Run SELECT customers.attach() to create the tables and triggers that are missing.';
        RETURN;
    END IF;

    PERFORM customers.attach();

    -- The data is the owner's: DROP EXTENSION must not reach it, and pg_dump must carry it.
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
