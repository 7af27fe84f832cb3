//! Promise: a database that was upgraded equals a fresh one, and a library that is too old says what to do.

use crate::kit::{
    Database, Server, all, home, major, new_folder, one, refusal, register_ann, role, server,
    succeed,
};
use postgres::Client;
use std::fs;
use std::process::Command;

/// Everything in the schema and in the extension: definitions, comments, owners and privileges. Roles are numbered in
/// the order of their names.
const OBJECTS: &str = r#"
    WITH object (classid, objid, objsubid) AS (
        SELECT 'pg_proc'::regclass, oid, 0 FROM pg_proc WHERE pronamespace = 'customers'::regnamespace
        UNION ALL SELECT 'pg_class'::regclass, oid, 0 FROM pg_class WHERE relnamespace = 'customers'::regnamespace
        UNION ALL SELECT 'pg_class'::regclass, attrelid, attnum FROM pg_attribute JOIN pg_class ON pg_class.oid = attrelid
                   WHERE relnamespace = 'customers'::regnamespace AND attnum > 0
        UNION ALL SELECT 'pg_constraint'::regclass, oid, 0 FROM pg_constraint
                   WHERE connamespace = 'customers'::regnamespace
        UNION ALL SELECT 'pg_trigger'::regclass, pg_trigger.oid, 0 FROM pg_trigger JOIN pg_class ON pg_class.oid = tgrelid
                   WHERE relnamespace = 'customers'::regnamespace
        UNION ALL SELECT 'pg_type'::regclass, oid, 0 FROM pg_type WHERE typnamespace = 'customers'::regnamespace
        UNION ALL SELECT 'pg_namespace'::regclass, 'customers'::regnamespace, 0)
    SELECT concat_ws(' | ', pg_describe_object(classid, objid, objsubid),
                     CASE classid WHEN 'pg_proc'::regclass THEN pg_get_functiondef(objid)
                                  WHEN 'pg_constraint'::regclass THEN pg_get_constraintdef(objid)
                                  WHEN 'pg_trigger'::regclass THEN pg_get_triggerdef(objid)
                                  WHEN 'pg_class'::regclass THEN (
                                       SELECT concat_ws(', ', relkind, relpersistence,
                                                        CASE relkind WHEN 'v' THEN pg_get_viewdef(objid) END,
                                                        format_type(atttypid, atttypmod), attnotnull, attcollation)
                                         FROM pg_class LEFT JOIN pg_attribute ON attrelid = objid AND attnum = objsubid
                                        WHERE pg_class.oid = objid) END,
                     'comment ' || CASE objsubid WHEN 0 THEN obj_description(objid, classid::regclass::name)
                                                 ELSE col_description(objid, objsubid) END,
                     (SELECT string_agg(deptype::text, '') FROM pg_depend
                       WHERE pg_depend.classid = object.classid AND pg_depend.objid = object.objid
                         AND refclassid = 'pg_extension'::regclass),
                     (SELECT string_agg(privilege_type || ' to ' || replace(grantee::regrole::text, $1, 'ROLE'), ', '
                                        ORDER BY privilege_type, replace(grantee::regrole::text, $1, 'ROLE'))
                        FROM (SELECT proacl FROM pg_proc WHERE classid = 'pg_proc'::regclass AND oid = objid
                              UNION ALL SELECT relacl FROM pg_class WHERE classid = 'pg_class'::regclass AND oid = objid
                                                                      AND objsubid = 0
                              UNION ALL SELECT attacl FROM pg_attribute WHERE classid = 'pg_class'::regclass
                                           AND attrelid = objid AND attnum = objsubid
                              UNION ALL SELECT nspacl FROM pg_namespace WHERE classid = 'pg_namespace'::regclass
                                           AND oid = objid
                              UNION ALL SELECT typacl FROM pg_type WHERE classid = 'pg_type'::regclass AND oid = objid)
                             AS acls (acl), aclexplode(acl)))
      FROM object
     ORDER BY 1"#;

const DUTIES: [&str; 7] =
    ["writer", "reader", "support", "consumer", "auditor", "privacy", "operator"];

/// What grant_access() of 0.1.0 granted.
const GRANTED_BY_0_1_0: &str = "
    GRANT USAGE ON SCHEMA customers TO ROLE_writer, ROLE_reader, ROLE_support, ROLE_consumer, ROLE_auditor,
                                       ROLE_privacy, ROLE_operator;
    GRANT EXECUTE ON FUNCTION customers.register_customer, customers.update_customer, customers.patch_customer,
                              customers.set_status, customers.import_customers TO ROLE_writer;
    GRANT EXECUTE ON FUNCTION customers.get_customer, customers.find_customer, customers.list_customers,
                              customers.search_customers, customers.canonical_email, customers.canonical_name
       TO ROLE_writer, ROLE_reader;
    GRANT SELECT ON customers.customers TO ROLE_writer, ROLE_reader;
    GRANT SELECT (version) ON customers.customers TO ROLE_reader;
    GRANT EXECUTE ON FUNCTION customers.customer_timeline TO ROLE_support;
    GRANT SELECT ON customers.customers_masked TO ROLE_support;
    GRANT EXECUTE ON FUNCTION customers.subscribe, customers.fetch_events, customers.acknowledge,
                              customers.read_events, customers.feed_position, customers.unsubscribe TO ROLE_consumer;
    GRANT EXECUTE ON FUNCTION customers.customer_history TO ROLE_auditor;
    GRANT SELECT ON customers.events, customers.erasures TO ROLE_auditor;
    GRANT EXECUTE ON FUNCTION customers.erase_customer, customers.export_customer, customers.reapply_erasures
       TO ROLE_privacy;
    GRANT EXECUTE ON FUNCTION customers.prune_events TO ROLE_operator";

/// A database as 0.1.0 has left it, with a customer and a role for each duty, whose names begin with `role`.
fn of_0_1_0<'a>(server: &'a Server, role: &str) -> Database<'a> {
    let database = server.empty_database("");
    let mut client = database.connect();
    client.batch_execute("CREATE EXTENSION customer_db VERSION '0.1.0'").unwrap();
    // The library is the new one, whose attach() has made it.
    client.batch_execute("DROP TABLE customers.duty_marks").unwrap();
    for duty in DUTIES {
        client.batch_execute(&format!("CREATE ROLE {role}_{duty}")).unwrap();
    }
    client.batch_execute(&GRANTED_BY_0_1_0.replace("ROLE", role)).unwrap();
    register_ann(&mut client);
    database
}

fn objects(client: &mut Client, role: &str) -> Vec<String> {
    all(client, OBJECTS, &[&role])
}

#[test]
fn an_upgraded_database_equals_a_fresh_one() {
    let server = server();
    let database = of_0_1_0(server, "upgraded");
    let mut client = database.connect();
    // Before the update, the new library serves the old functions.
    register_again(&mut client, "before@example.com");
    let error =
        refusal(client.execute("SELECT customers.grant_access('upgraded_writer', 'reader')", &[]));
    assert_eq!(error.code().code(), "55000");
    assert!(error.hint().unwrap().contains("ALTER EXTENSION customer_db UPDATE"));
    // Nor do default privileges of the installer's get into what is new.
    let stranger = role(&mut client, "");
    client
        .batch_execute(&format!(
            "ALTER DEFAULT PRIVILEGES GRANT EXECUTE ON FUNCTIONS TO {stranger};
             ALTER DEFAULT PRIVILEGES GRANT SELECT ON TABLES TO {stranger};
             ALTER EXTENSION customer_db UPDATE;
             ALTER DEFAULT PRIVILEGES REVOKE EXECUTE ON FUNCTIONS FROM {stranger};
             ALTER DEFAULT PRIVILEGES REVOKE SELECT ON TABLES FROM {stranger}"
        ))
        .unwrap();
    let fresh = server.database();
    let mut other = fresh.connect();
    for duty in DUTIES {
        other
            .batch_execute(&format!(
                "CREATE ROLE fresh_{duty}; SELECT customers.grant_access('fresh_{duty}', '{duty}')"
            ))
            .unwrap();
    }
    let (upgraded, fresh) = (objects(&mut client, "upgraded"), objects(&mut other, "fresh"));
    assert!(fresh.len() > 100);
    for object in &upgraded {
        assert!(fresh.contains(object), "only in the upgraded database: {object}");
    }
    for object in &fresh {
        assert!(upgraded.contains(object), "only in the fresh database: {object}");
    }
    let complaints = "SELECT string_agg(check_name || coalesce(detail, ''), ', ') FROM customers.verify() WHERE NOT ok";
    assert_eq!(one::<Option<String>>(&mut client, complaints, &[]), None);
    register_again(&mut client, "after@example.com");
    for duty in DUTIES {
        let drop = |role: &str| format!("DROP OWNED BY {role}_{duty}; DROP ROLE {role}_{duty}");
        client.batch_execute(&drop("upgraded")).unwrap();
        other.batch_execute(&drop("fresh")).unwrap();
    }
}

fn register_again(client: &mut Client, email: &str) {
    client.execute("SELECT customers.register_customer($1)", &[&email]).unwrap();
}

#[test]
fn an_update_that_does_not_exist_changes_nothing() {
    let database = server().database();
    let mut client = database.connect();
    let before = objects(&mut client, "nobody");
    for version in ["9.9.9", "0.1.0"] {
        let update = format!("ALTER EXTENSION customer_db UPDATE TO '{version}'");
        assert_eq!(refusal(client.batch_execute(&update)).code().code(), "22023");
    }
    assert_eq!(objects(&mut client, "nobody"), before);
}

#[test]
fn a_session_with_the_library_of_before_is_told_to_connect_again() {
    // The library of before is this one without a function that is new.
    let folder = new_folder();
    let old = folder.join("old");
    succeed(Command::new("cp").arg("-a").arg(home(&major().to_string())).arg(&old));
    let library = old.join("lib/customer_db.so");
    let library =
        if library.exists() { library } else { old.join("lib/postgresql/customer_db.so") };
    let mut octets = fs::read(&library).expect("the library");
    let (name, other) = (b"verify_wrapper\0", b"verifX_wrapper\0");
    let mut replaced = 0;
    for i in 0..octets.len() - name.len() {
        if octets[i..].starts_with(name) {
            octets[i..i + other.len()].copy_from_slice(other);
            replaced += 1;
        }
    }
    assert!(replaced >= 1, "the library has the function");
    fs::remove_file(&library).unwrap();
    fs::write(&library, octets).unwrap();
    {
        let server = Server::start_of(&old, &[], &[]);
        let database = of_0_1_0(&server, "old");
        let mut client = database.connect();
        let before = objects(&mut client, "old");
        let error = refusal(client.batch_execute("ALTER EXTENSION customer_db UPDATE"));
        assert_eq!(error.code().code(), "55000", "{error:?}");
        assert!(error.hint().is_some_and(|hint| hint.contains("Connect again")), "{error:?}");
        assert_eq!(objects(&mut client, "old"), before);
        register_again(&mut client, "still@example.com");
    }
    fs::remove_dir_all(folder).unwrap();
}

#[test]
fn roles_of_a_restored_schema_of_before_keep_their_duties() {
    let database = of_0_1_0(server(), "restored");
    let mut client = database.connect();
    client.batch_execute("ALTER EXTENSION customer_db UPDATE").unwrap();
    // As after restoring a dump of 0.1.0 with this version installed.
    client
        .batch_execute(
            "DROP TABLE customers.duty_marks;
             GRANT SELECT (version) ON customers.customers TO restored_reader;
             SELECT customers.attach()",
        )
        .unwrap();
    let held: Vec<String> = all(
        &mut client,
        "SELECT role || ' ' || duty FROM customers.duties() WHERE complete ORDER BY 1",
        &[],
    );
    let mut expected = DUTIES.map(|duty| format!("restored_{duty} {duty}"));
    expected.sort();
    assert_eq!(held, expected);
    for duty in DUTIES {
        client
            .batch_execute(&format!("DROP OWNED BY restored_{duty}; DROP ROLE restored_{duty}"))
            .unwrap();
    }
}
