-- Objects of the schema whose owner is a stranger, and the privilege to create some: either lets a role change what
-- functions do. $1: the extension's owner. See sql/attach/owners.sql. What a stranger has made is not to be given to a
-- superuser: it would then do with his rights what its author wrote.
WITH trusted (oid) AS (
    SELECT oid FROM pg_roles WHERE rolsuper
    UNION SELECT $1
    UNION SELECT datdba FROM pg_database WHERE datname = current_database()
)
SELECT false AS ok,
       format(CASE WHEN is_ours
                   THEN '%1$s belongs to role %2$s. Drop first the triggers, defaults, policies and index expressions that it '
                        'has added, then: ALTER %3$s %4$s OWNER TO %5$s;'
                   ELSE '%1$s belongs to role %2$s. Look at what it is, then: DROP %3$s %4$s;'
              END, pg_describe_object(classid, objid, 0), refobjid::regrole, replace(upper(type), ' OBJECT', ''), identity,
              $1::regrole) AS detail
  FROM pg_shdepend,
       pg_identify_object(classid, objid, 0),
       LATERAL (SELECT EXISTS (SELECT FROM pg_depend AS member
                                WHERE (member.classid, member.objid) = (pg_shdepend.classid, pg_shdepend.objid)
                                  AND member.refclassid = 'pg_extension'::regclass AND member.deptype = 'e')
                       OR classid = 'pg_namespace'::regclass
                       OR classid = 'pg_class'::regclass
                          AND identity IN ('customers.customers', 'customers.events', 'customers.consumers', 'customers.erasures',
                                           'customers.feed_epochs', 'customers.duty_marks', 'customers.events_position_seq',
                                           'customers.feed_read_seq') AS is_ours) AS ours
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
