-- Objects of the schema whose owner is a stranger, and the privilege to create some: either lets a role change what
-- functions do. $1: the extension's owner. See sql/attach/owners.sql.
WITH trusted (oid) AS (
    SELECT oid FROM pg_roles WHERE rolsuper
    UNION SELECT $1
    UNION SELECT datdba FROM pg_database WHERE datname = current_database()
)
SELECT false AS ok,
       format('%s belongs to role %s: ALTER %s OWNER TO %s;', pg_describe_object(classid, objid, 0),
              refobjid::regrole, upper(type) || ' ' || identity, $1::regrole) AS detail
  FROM pg_shdepend, pg_identify_object(classid, objid, 0)
 WHERE dbid = (SELECT oid FROM pg_database WHERE datname = current_database())
   AND refclassid = 'pg_authid'::regclass AND deptype = 'o'
   AND refobjid NOT IN (SELECT oid FROM trusted)
   AND ((classid = 'pg_namespace'::regclass AND objid = to_regnamespace('customers'))
        OR EXISTS (SELECT FROM pg_depend AS placed
                    WHERE (placed.classid, placed.objid) = (pg_shdepend.classid, pg_shdepend.objid)
                      AND placed.refclassid = 'pg_namespace'::regclass
                      AND placed.refobjid = to_regnamespace('customers')))
UNION ALL
SELECT false,
       format('%1$s may create objects in the schema: REVOKE CREATE ON SCHEMA customers FROM %1$s;',
              CASE grantee WHEN 0 THEN 'PUBLIC' ELSE grantee::regrole::text END)
  FROM pg_namespace, aclexplode(nspacl)
 WHERE nspname = 'customers' AND privilege_type = 'CREATE' AND grantee <> nspowner
   AND grantee NOT IN (SELECT oid FROM trusted)
 ORDER BY 2
