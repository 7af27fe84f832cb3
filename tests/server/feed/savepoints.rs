//! Promise: what is rolled back to a savepoint is not announced and does not count, and the cost of
//! savepoints grows linearly.

use crate::feed::notifying::{announced, check_collapse, writer};
use crate::kit::attack::processor_time;
use crate::kit::{address, database, on_16, pid, positions, received};
use postgres::Client;
use std::time::Duration;

/// Runs a transaction written as words: a number registers that many customers, "s" sets a savepoint of
/// that name, "<s" rolls back to it, "+s" releases it.
fn run(client: &mut Client, script: &str) {
    let mut statements = vec!["BEGIN".to_owned()];
    for word in script.split_whitespace() {
        if let Ok(count) = word.parse() {
            let register = || format!("SELECT customers.register_customer('{}')", address());
            statements.extend(std::iter::repeat_with(register).take(count));
        } else if let Some(name) = word.strip_prefix('<') {
            statements.push(format!("ROLLBACK TO {name}"));
        } else if let Some(name) = word.strip_prefix('+') {
            statements.push(format!("RELEASE {name}"));
        } else {
            statements.push(format!("SAVEPOINT {word}"));
        }
    }
    statements.push("COMMIT".to_owned());
    client.batch_execute(&statements.join(";")).unwrap();
}

#[test]
fn what_is_rolled_back_does_not_count_towards_the_limit() {
    for script in [
        "3 a 3 <a 1",
        "2 a 1 b 5 <b +a 1",
        "a 2 +a b 2 +b",
        "2 a 2 b 1 +b <a 2",
        "a 9 <a 4",
        "a 9 b 9 <a 2 c 9 <c 2",
        "1 a 1 b 1 c 1 d 1 <d",
        "a b c 9 +c <b 4 +b +a",
        "a 3 <a a 3 <a a 3 <a 4",
    ] {
        let database = database();
        let mut listener = database.listen();
        let mut client = writer(&database, 4);
        run(&mut client, script);
        let kept = announced(&mut client);
        assert_eq!(kept.len(), 4, "{script}");
        assert_eq!(received(&mut listener), kept, "{script}");
    }
}

#[test]
fn what_is_kept_counts_towards_the_limit() {
    for script in
        ["2 a 1 +a b 3 +b", "4 a 3 <a 2", "3 a 3 <a 3", "a 2 b 2 +b +a 2", "a 3 b 1 c 9 <c 2 +b +a"]
    {
        let database = database();
        let mut listener = database.listen();
        let mut client = writer(&database, 4);
        run(&mut client, script);
        let kept = positions(&mut client);
        assert_eq!(kept.len(), 6, "{script}");
        check_collapse(&received(&mut listener), &kept, 4);
        // The next transaction counts from 0.
        run(&mut client, "4");
        assert_eq!(received(&mut listener), announced(&mut client)[6..], "{script}");
    }
}

/// Registers customers in PL/pgSQL blocks with EXCEPTION, every tenth of which is rolled back. Returns the
/// processor time that this took, which other tests on the machine hardly change.
fn register_in_blocks(client: &mut Client, prefix: &str, count: usize) -> Duration {
    let backend = pid(client);
    let before = processor_time(backend);
    client
        .batch_execute(&format!(
            "DO $$
             BEGIN
                 FOR i IN 1..{count} LOOP
                     BEGIN
                         PERFORM customers.register_customer('{prefix}' || i || '@example.com');
                         IF i % 10 = 0 THEN
                             RAISE EXCEPTION 'rolled back';
                         END IF;
                     EXCEPTION WHEN raise_exception THEN
                         NULL;
                     END;
                 END LOOP;
             END $$"
        ))
        .unwrap();
    processor_time(backend) - before
}

#[test]
fn twenty_thousand_blocks_take_no_more_than_their_share_of_processor_time() {
    if !on_16() {
        return;
    }
    const FEW: usize = 5_000;
    const MANY: usize = 20_000;
    let database = database();
    let mut listener = database.listen();
    let mut client = writer(&database, MANY as i32);
    register_in_blocks(&mut client, "warm", 500);
    assert_eq!(received(&mut listener), announced(&mut client));
    let mut few = Duration::MAX;
    for prefix in ["few", "again"] {
        few = few.min(register_in_blocks(&mut client, prefix, FEW));
        assert_eq!(received(&mut listener).len(), FEW * 9 / 10);
    }
    let before = positions(&mut client).len();
    let many = register_in_blocks(&mut client, "many", MANY);
    let told: Vec<i64> = received(&mut listener)
        .iter()
        .map(|payload| payload["position"].as_i64().unwrap())
        .collect();
    assert_eq!(told.len(), MANY * 9 / 10);
    assert_eq!(told, positions(&mut client)[before..], "each that was kept, in order");
    // Four times as many savepoints; sixteen times the time if the cost were quadratic.
    assert!(many < few * 8, "{FEW} took {few:?}, {MANY} took {many:?}");
}
