-- What is granted to PUBLIC, and privileges to write the feed's tables, with which events are forged or lost. $1: the
-- extension's owner.
WITH granted (kind, name, owner, grantee, privilege) AS (
    SELECT 'SCHEMA', nspname::text, nspowner, grantee, privilege_type
      FROM pg_namespace, aclexplode(coalesce(nspacl, acldefault('n', nspowner))) WHERE nspname = 'customers'
    UNION ALL
    SELECT CASE relkind WHEN 'S' THEN 'SEQUENCE' ELSE 'TABLE' END, pg_class.oid::regclass::text, relowner, grantee,
           privilege_type
      FROM pg_class, aclexplode(relacl)
     WHERE relnamespace = to_regnamespace('customers') AND relkind IN ('r', 'p', 'v', 'm', 'S')
    UNION ALL
    SELECT 'TABLE', attrelid::regclass::text, relowner, grantee, privilege_type || format(' (%I)', attname)
      FROM pg_attribute JOIN pg_class ON pg_class.oid = attrelid, aclexplode(attacl)
     WHERE relnamespace = to_regnamespace('customers')
    UNION ALL
    SELECT 'ROUTINE', pg_proc.oid::regprocedure::text, proowner, grantee, privilege_type
      FROM pg_proc, aclexplode(coalesce(proacl, acldefault('f', proowner)))
     WHERE pronamespace = to_regnamespace('customers')
    UNION ALL
    SELECT 'TYPE', pg_type.oid::regtype::text, typowner, grantee, privilege_type
      FROM pg_type, aclexplode(coalesce(typacl, acldefault('T', typowner)))
     WHERE pg_type.oid = to_regtype('customers.profile')
)
SELECT false AS ok,
       format('PUBLIC holds %s on %s: REVOKE %s ON %s %s FROM PUBLIC;', privilege, name, privilege, kind, name) AS detail
  FROM granted WHERE grantee = 0
UNION ALL
SELECT false, format('%1$s may %2$s %3$s: REVOKE %2$s ON %4$s %3$s FROM %1$s;', grantee::regrole, privilege, name, kind)
  FROM granted
 WHERE grantee NOT IN (0, owner, $1) AND privilege ~ '^(INSERT|UPDATE|DELETE|TRUNCATE|TRIGGER|USAGE)'
   AND name IN ('customers.events', 'customers.consumers', 'customers.erasures', 'customers.feed_epochs',
                'customers.events_position_seq', 'customers.feed_read_seq')
   AND NOT EXISTS (SELECT FROM pg_roles WHERE oid = grantee AND rolsuper)
 ORDER BY 2
