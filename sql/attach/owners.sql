-- The owner of an object can change what it does, and a role with CREATE on the schema can add a function
-- that is called in place of the extension's. So neither may be a stranger: a role other than the current
-- one, superusers, and the owner of the database.
DO $owners$
DECLARE
    stranger text;
BEGIN
    SELECT pg_describe_object(owned.classid, owned.objid, 0) || ' belongs to role ' || quote_ident(role.rolname)
      INTO stranger
      FROM pg_shdepend AS owned
      JOIN pg_roles AS role ON role.oid = owned.refobjid
     WHERE owned.dbid = (SELECT oid FROM pg_database WHERE datname = current_database())
       AND owned.refclassid = 'pg_authid'::regclass
       AND owned.deptype = 'o'
       AND NOT role.rolsuper
       AND role.rolname <> current_user
       AND role.oid <> (SELECT datdba FROM pg_database WHERE datname = current_database())
       AND ((owned.classid, owned.objid) = ('pg_namespace'::regclass, 'customers'::regnamespace)
            OR EXISTS (SELECT FROM pg_depend AS placed
                        WHERE (placed.classid, placed.objid) = (owned.classid, owned.objid)
                          AND placed.refclassid = 'pg_namespace'::regclass
                          AND placed.refobjid = 'customers'::regnamespace))
     LIMIT 1;
    IF FOUND THEN
        RAISE EXCEPTION USING
            ERRCODE = 'insufficient_privilege',
            MESSAGE = 'schema customers holds objects of another role',
            DETAIL  = stranger || '.',
            HINT    = 'Look at what it is, then give it to the installing role with ALTER … OWNER TO, or drop it.';
    END IF;

    SELECT coalesce(quote_ident(role.rolname), 'PUBLIC')
      INTO stranger
      FROM pg_namespace AS schema
     CROSS JOIN aclexplode(schema.nspacl) AS acl
      LEFT JOIN pg_roles AS role ON role.oid = acl.grantee
     WHERE schema.nspname = 'customers'
       AND acl.privilege_type = 'CREATE'
       AND role.rolsuper IS NOT TRUE
       AND role.rolname IS DISTINCT FROM current_user
       AND acl.grantee <> schema.nspowner
       AND acl.grantee <> (SELECT datdba FROM pg_database WHERE datname = current_database())
     LIMIT 1;
    IF FOUND THEN
        RAISE EXCEPTION USING
            ERRCODE = 'insufficient_privilege',
            MESSAGE = 'others may create objects in schema customers',
            DETAIL  = format('%s holds CREATE on it.', stranger),
            HINT    = format('Look at what is there, then REVOKE CREATE ON SCHEMA customers FROM %s.', stranger);
    END IF;
END
$owners$;
