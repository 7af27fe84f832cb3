//! Promise: alembic and a model of the table need what doc/clients.md gives them, and nothing else.

use super::{Target, changed, role_with, server};
use crate::kit::{address, on_16, printed, succeed};

#[test]
fn alembic_finds_nothing_to_change_unless_the_schema_is_included() {
    if !on_16() {
        return;
    }
    let (server, host) = server();
    let database = server.database();
    let mut admin = database.connect();
    let migrator = role_with(&mut admin, "reader");
    admin.batch_execute(&format!("GRANT CREATE ON SCHEMA public TO {migrator}")).unwrap();
    let target = Target { host, port: 5432, database: &database.name };
    let Some(mut compare) = target.program("with_alembic.py", &migrator) else { return };
    assert_eq!(succeed(&mut compare), "");

    let included = changed("with_alembic.py", ", \"include_object\": include_object", "");
    let differences = succeed(&mut target.program(&included, &migrator).expect("as above"));
    assert!(differences.contains("remove_table"), "{differences}");

    // What Django needs is in alembic's way.
    let path = format!("ALTER ROLE {migrator} SET search_path = public, customers");
    admin.batch_execute(&path).unwrap();
    let differences = succeed(&mut compare);
    assert!(differences.contains("remove_table"), "{differences}");
}

#[test]
fn a_model_changes_nothing_with_the_duty_writer_alone() {
    if !on_16() {
        return;
    }
    let (server, host) = server();
    let database = server.database();
    let mut admin = database.connect();
    let writer = role_with(&mut admin, "writer");
    let target = Target { host, port: 5432, database: &database.name };
    let Some(mut program) = target.program("with_sqlalchemy.py", &writer) else { return };
    let output = program.arg(address()).output().unwrap();
    let printed = printed(&output);
    assert!(!output.status.success() && printed.contains("the feed: 42501"), "{printed}");
    assert!(printed.contains("permission denied for table customers"), "{printed}");
}
