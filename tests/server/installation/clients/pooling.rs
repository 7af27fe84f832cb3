//! Promise: what doc/clients.md says of PgBouncer in transaction mode is needed there.

use super::{PAGE, PgBouncer, Target, changed, role_with, server};
use crate::kit::{address, on_16, printed};

/// A setting of a program, which the page names, and one that leaves statements prepared.
const SETTINGS: [(&str, &str, &str); 2] = [
    ("with_psycopg.py", "prepare_threshold=None", "prepare_threshold=0"),
    ("with_asyncpg.py", "statement_cache_size=0", "statement_cache_size=100"),
];

#[test]
fn a_program_that_leaves_statements_prepared_fails_the_next_one_through_pgbouncer() {
    if !on_16() {
        return;
    }
    let (server, host) = server();
    let database = server.database();
    let mut admin = database.connect();
    let programs = SETTINGS.map(|(file, setting, other)| {
        assert!(PAGE.contains(&format!("`{setting}`")), "{setting}");
        (changed(file, setting, other), role_with(&mut admin, "writer"))
    });
    let Some(pgbouncer) = PgBouncer::start(1) else { return };
    let target = Target { host, port: pgbouncer.port, database: &database.name };
    for (file, writer) in programs {
        let run = || Some(target.program(&file, &writer)?.arg(address()).output().unwrap());
        let (Some(_), Some(next)) = (run(), run()) else { continue };
        let printed = printed(&next);
        let fails = !next.status.success() && printed.contains("prepared statement");
        assert!(fails, "{file}: {printed}");
    }
}
