//! Promise: eg/pgtap.sql finds a new installation in order, and notices when it is not.

use super::fetched;
use crate::kit::{Database, database, home, major, on_16, project, succeed};
use std::fs;

/// The lines "ok …" and "not ok …" that the tests print in a database.
fn results(database: &Database) -> Vec<String> {
    let file = project().join("eg/pgtap.sql");
    let printed = succeed(database.program("psql").args(["--no-psqlrc", "--file"]).arg(file));
    let mut lines = printed.lines().map(str::to_owned);
    assert_eq!(lines.next().as_deref(), Some("1..20"), "{printed}");
    lines.filter(|line| line.starts_with("ok ") || line.starts_with("not ok ")).collect()
}

#[test]
fn the_tests_for_pgtap_pass_and_each_of_three_faults_fails_some() {
    let Some(fetched) = fetched("debian").filter(|_| on_16()) else { return };
    let packaged = fetched.join("usr/share/postgresql/15/extension");
    let extensions = home(&major().to_string()).join("share/extension");
    for file in ["pgtap.control", "pgtap--1.2.0.sql"] {
        fs::copy(packaged.join(file), extensions.join(file)).unwrap();
    }
    let database = database();
    let ok = results(&database);
    assert_eq!(ok.iter().filter(|line| line.starts_with("ok ")).count(), 20, "{ok:#?}");

    let mut client = database.connect();
    let faults = [
        (
            "GRANT EXECUTE ON FUNCTION customers.customer_history(uuid) TO PUBLIC",
            "REVOKE EXECUTE ON FUNCTION customers.customer_history(uuid) FROM PUBLIC",
            "nothing is granted to PUBLIC",
        ),
        (
            "ALTER FUNCTION customers.register_customer(text, text, uuid) SECURITY INVOKER",
            "ALTER FUNCTION customers.register_customer(text, text, uuid) SECURITY DEFINER",
            "register_customer() has the owner's rights",
        ),
        (
            "ALTER TABLE customers.customers DISABLE TRIGGER guard",
            "ALTER TABLE customers.customers ENABLE TRIGGER guard",
            "the rules hold for plain SQL",
        ),
    ];
    for (fault, mended, test) in faults {
        client.batch_execute(fault).unwrap();
        let results = results(&database);
        let noticed =
            results.iter().any(|line| line.starts_with("not ok ") && line.ends_with(test));
        assert!(noticed, "{fault}: {results:#?}");
        client.batch_execute(mended).unwrap();
    }
    assert_eq!(results(&database), ok);
}
