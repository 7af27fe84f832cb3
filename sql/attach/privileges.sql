-- What attach() has just created gets the owner of customers.customers, whose rights the functions work
-- with, and no grants: the installer's ALTER DEFAULT PRIVILEGES do not apply to it. What existed before
-- keeps its owner and its grants.
DO $privileges$
DECLARE
    data_owner regrole = (SELECT relowner FROM pg_class WHERE oid = 'customers.customers'::regclass);
    created    record;
    granted    record;
BEGIN
    FOR created IN
        SELECT CASE relkind WHEN 'v' THEN 'VIEW' ELSE 'TABLE' END AS kind, oid::regclass AS name, relowner AS owner
          FROM pg_class
         WHERE relnamespace = 'customers'::regnamespace
           AND relkind IN ('r', 'p', 'v')
           AND oid::text <> ALL (string_to_array(current_setting('customer_db_attach.known'), ','))
    LOOP
        IF created.owner <> data_owner THEN
            EXECUTE format('ALTER %s %s OWNER TO %s', created.kind, created.name, data_owner);
        END IF;
    END LOOP;

    FOR granted IN
        SELECT CASE relation.relkind WHEN 'S' THEN 'SEQUENCE' ELSE 'TABLE' END AS kind,
               relation.oid::regclass AS name,
               CASE acl.grantee WHEN 0 THEN 'PUBLIC' ELSE acl.grantee::regrole::text END AS grantee
          FROM pg_class AS relation, aclexplode(relation.relacl) AS acl
         WHERE relation.relnamespace = 'customers'::regnamespace
           AND relation.relkind IN ('r', 'p', 'v', 'S')
           AND acl.grantee <> relation.relowner
           AND relation.oid::text <> ALL (string_to_array(current_setting('customer_db_attach.known'), ','))
         GROUP BY 1, 2, 3
    LOOP
        EXECUTE format('REVOKE ALL ON %s %s FROM %s', granted.kind, granted.name, granted.grantee);
    END LOOP;
END
$privileges$;
