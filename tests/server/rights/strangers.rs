//! Promise: only the owner can create objects in the schema or holds privileges on them, whatever was
//! granted before, by hand or by default.

use crate::kit::{Database, all, assert_refused, one, role, server};
use postgres::Client;

const CREATE: &str = "CREATE EXTENSION customer_db";
const ATTACH: &str = "SELECT customers.attach()";

/// A new database without the extension, in the shared cluster.
fn empty() -> Database<'static> {
    server().empty_database("")
}

/// The objects of the schema with columns, triggers and constraints, and the privileges on the schema.
fn inventory(client: &mut Client) -> Vec<String> {
    all(
        client,
        "SELECT pg_describe_object(classid, objid, objsubid) FROM pg_depend
          WHERE refclassid = 'pg_namespace'::regclass AND refobjid = 'customers'::regnamespace
         UNION ALL
         SELECT attrelid::regclass || '.' || attname FROM pg_attribute
          WHERE attrelid IN (SELECT oid FROM pg_class WHERE relnamespace = 'customers'::regnamespace)
         UNION ALL
         SELECT 'trigger ' || tgname FROM pg_trigger
          WHERE tgrelid IN (SELECT oid FROM pg_class WHERE relnamespace = 'customers'::regnamespace)
         UNION ALL
         SELECT 'constraint ' || conname FROM pg_constraint WHERE connamespace = 'customers'::regnamespace
         UNION ALL
         SELECT concat('schema ', nspacl) FROM pg_namespace WHERE nspname = 'customers'
         ORDER BY 1",
        &[],
    )
}

/// The privileges that roles other than an object's owner hold on the schema and its objects, as in "SELECT
/// on relation customers to PUBLIC". Row types of tables are left out: only a role that may read the table
/// can use them.
fn held_by_others(client: &mut Client) -> Vec<String> {
    all(
        client,
        "WITH object (name, owner, acl) AS (
             SELECT 'schema ' || nspname, nspowner, coalesce(nspacl, acldefault('n', nspowner))
               FROM pg_namespace WHERE nspname = 'customers'
             UNION ALL
             SELECT 'relation ' || relname, relowner,
                    coalesce(relacl, acldefault(CASE relkind WHEN 'S' THEN 's' ELSE 'r' END::\"char\", relowner))
               FROM pg_class WHERE relnamespace = 'customers'::regnamespace AND relkind NOT IN ('i', 'I', 'c')
             UNION ALL
             SELECT 'column ' || attname, relowner, attacl
               FROM pg_attribute JOIN pg_class ON pg_class.oid = attrelid
              WHERE relnamespace = 'customers'::regnamespace
             UNION ALL
             SELECT 'function ' || proname, proowner, coalesce(proacl, acldefault('f', proowner))
               FROM pg_proc WHERE pronamespace = 'customers'::regnamespace
             UNION ALL
             SELECT 'type ' || typname, typowner, coalesce(typacl, acldefault('T', typowner))
               FROM pg_type LEFT JOIN pg_class ON pg_class.oid = typrelid
              WHERE typnamespace = 'customers'::regnamespace AND typelem = 0
                AND (typrelid = 0 OR relkind = 'c'))
         SELECT concat(privilege_type, ' on ', name, ' to ',
                       CASE grantee WHEN 0 THEN 'PUBLIC' ELSE grantee::regrole::text END)
           FROM object, aclexplode(acl) WHERE grantee <> owner ORDER BY 1",
        &[],
    )
}

/// Grants everything that a role creates from now on to `grantee`; `place` may name a schema.
fn grant_by_default(client: &mut Client, creator: &str, place: &str, grantee: &str) {
    let kinds: &[&str] = match place {
        "" => &["TABLES", "SEQUENCES", "FUNCTIONS", "TYPES", "SCHEMAS"],
        _ => &["TABLES", "SEQUENCES", "FUNCTIONS", "TYPES"],
    };
    for kind in kinds {
        let grant = format!(
            "ALTER DEFAULT PRIVILEGES FOR ROLE {creator} {place} GRANT ALL ON {kind} TO {grantee}, PUBLIC"
        );
        client.batch_execute(&grant).unwrap();
    }
}

#[test]
fn a_schema_that_others_may_create_in_is_refused_and_left_alone() {
    let mut client = server().connect("postgres");
    let somebody = role(&mut client, "");
    let group = role(&mut client, &format!("ROLE {somebody}"));
    for grantee in [somebody.as_str(), &group, "PUBLIC"] {
        let mut client = empty().connect();
        let grant = format!("GRANT CREATE ON SCHEMA customers TO {grantee}");
        let revoke = format!("REVOKE CREATE ON SCHEMA customers FROM {grantee}");
        client.batch_execute(&format!("CREATE SCHEMA customers; {grant}")).unwrap();
        assert_refused(client.batch_execute(CREATE), "42501", &[]);
        let installed = "SELECT count(*) FROM pg_extension WHERE extname = 'customer_db'";
        assert_eq!(one::<i64>(&mut client, installed, &[]), 0, "{grantee}");
        assert_eq!(inventory(&mut client).len(), 1, "nothing but the schema");

        client.batch_execute(&format!("{revoke}; {CREATE}; {grant}")).unwrap();
        let before = inventory(&mut client);
        assert_refused(client.batch_execute(ATTACH), "42501", &[]);
        assert_eq!(inventory(&mut client), before, "{grantee}");

        // The same if nothing is missing.
        client.batch_execute(&format!("{revoke}; {ATTACH}; {grant}")).unwrap();
        let before = inventory(&mut client);
        assert_refused(client.batch_execute(ATTACH), "42501", &[]);
        assert_eq!(inventory(&mut client), before, "{grantee}");
    }
}

#[test]
fn a_schema_that_others_may_use_is_not_refused() {
    let mut client = empty().connect();
    let somebody = role(&mut client, "");
    let grant = format!("GRANT USAGE ON SCHEMA customers TO {somebody}");
    client.batch_execute(&format!("CREATE SCHEMA customers; {grant}; {CREATE}; {ATTACH}")).unwrap();
    let held = [format!("USAGE on schema customers to {somebody}")];
    assert_eq!(held_by_others(&mut client), held, "and they may still");
}

#[test]
fn default_privileges_grant_nothing_of_a_new_installation() {
    let mut client = empty().connect();
    let somebody = role(&mut client, "");
    let installer = role(&mut client, "SUPERUSER");
    grant_by_default(&mut client, &installer, "", &somebody);
    client.batch_execute(&format!("SET ROLE {installer}; {CREATE}")).unwrap();
    assert_eq!(held_by_others(&mut client), [""; 0]);
}

#[test]
fn default_privileges_grant_nothing_of_what_attach_creates() {
    let mut client = empty().connect();
    let somebody = role(&mut client, "");
    client
        .batch_execute(&format!(
            "CREATE SCHEMA customers;
             CREATE TABLE customers.customers (
                 customer_id uuid, email text, name text, status text,
                 registered_at timestamptz, updated_at timestamptz);
             GRANT SELECT ON customers.customers TO {somebody}"
        ))
        .unwrap();
    for place in ["", "IN SCHEMA customers"] {
        grant_by_default(&mut client, "postgres", place, &somebody);
    }
    client.batch_execute(&format!("{CREATE}; {ATTACH}")).unwrap();
    // What the owner has granted by hand is kept.
    let held = [format!("SELECT on relation customers to {somebody}")];
    assert_eq!(held_by_others(&mut client), held);
}
