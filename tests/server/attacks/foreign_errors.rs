//! Promise: an error that is not the extension's own, wherever it occurs inside one of its functions, keeps
//! its SQLSTATE and discloses no address, no name and no reason, neither to the client nor to the server
//! log.

use crate::kit::attack::{Call, SECRET, Session};
use crate::kit::{
    Database, Server, await_blocked, call, contents, major, one, register_ann, skipped,
};
use postgres::Client;
use postgres::error::DbError;
use std::thread;
use uuid::Uuid;

/// A server that logs as much as possible of a failed statement and its parameters, and detects deadlocks quickly.
fn logging_everything() -> Server {
    Server::start(&[
        "log_min_error_statement = error",
        "log_error_verbosity = default",
        "log_parameter_max_length_on_error = -1",
        "deadlock_timeout = 50ms",
    ])
}

/// Asserts that the log discloses nothing, and that it does log what fails outside the extension's functions.
fn assert_untold(server: &Server, client: &mut Client) {
    client.batch_execute("SELECT 1 / length('') AS plainly").expect_err("division by zero");
    client.execute("SELECT 1 / (length($1) - 7)", &[&"plainly"]).expect_err("division by zero");
    let log = server.log();
    for told in ["STATEMENT:  SELECT 1 / length('') AS plainly", "$1 = 'plainly'"] {
        assert!(log.contains(told), "{told} not in {log}");
    }
    let line = log.lines().find(|line| line.to_lowercase().contains(SECRET));
    assert_eq!(line, None, "the server log tells it");
}

fn assert_error<T>(result: Result<T, postgres::Error>, sqlstate: &str, about: &str) -> DbError {
    let error = match result {
        Ok(_) => panic!("{about}: this should have failed with {sqlstate}"),
        Err(error) => error,
    };
    let error = error.as_db_error().unwrap_or_else(|| panic!("{about}: {error}")).clone();
    assert_eq!(error.code().code(), sqlstate, "{about}: {error:?}");
    assert!(!format!("{error:?}").to_lowercase().contains(SECRET), "{about}: {error:?}");
    error
}

/// A database with a customer and a consumer.
struct Place<'server> {
    database: Database<'server>,
    customer: Uuid,
}

impl<'server> Place<'server> {
    fn of(server: &'server Server) -> Self {
        let database = server.database();
        let mut client = database.connect();
        let customer =
            call(&mut client, "register_customer('zyxw.old@example.com', 'Zyxw Old')", &[]);
        client.batch_execute("SELECT customers.subscribe('mailer')").unwrap();
        Self { customer: customer.expect("a good address and name").id, database }
    }

    /// Calls of every function that reads or writes a table, with a secret in every argument that can hold one.
    fn calls(&self) -> Vec<Call> {
        let id = self.customer.to_string();
        let (id, email, name) = (id.as_str(), "zyxw.new@example.com", "Zyxw New");
        let reason = "Zyxw Old asked for it";
        let other = "00000000-0000-0000-0000-000000000405";
        let one = r#"[{"email": "zyxw.new@example.com", "name": "Zyxw New"}]"#;
        let known = r#"[{"email": "zyxw.new@example.com", "customerId": "00000000-0000-0000-0000-000000000405"}]"#;
        let import = "SELECT * FROM customers.import_customers($1::text::jsonb)";
        vec![
            Call::new("SELECT customers.register_customer($1::text, $2::text)", [email, name]),
            Call::new(
                "SELECT customers.register_customer($1::text, $2::text, $3::text::uuid)",
                [email, name, other],
            ),
            Call::new(
                "SELECT customers.update_customer($1::text::uuid, $2::text, $3::text)",
                [id, email, name],
            ),
            Call::new(
                "SELECT customers.patch_customer($1::text::uuid, $2::text::jsonb)",
                [id, r#"{"email": "zyxw.new@example.com", "name": "Zyxw New"}"#],
            ),
            Call::new(
                "SELECT customers.set_status($1::text::uuid, 'SUSPENDED', $2::text)",
                [id, reason],
            ),
            Call::new("SELECT customers.erase_customer($1::text::uuid, $2::text)", [id, reason]),
            Call::new("SELECT customers.export_customer($1::text::uuid) /* Zyxw */", [id]),
            Call::new("SELECT * FROM customers.find_customer($1::text)", [email]),
            Call::new("SELECT * FROM customers.search_customers($1::text)", ["zyxw"]),
            Call::new("SELECT * FROM customers.list_customers($1::text) /* Zyxw */", ["ACTIVE"]),
            Call::new("SELECT * FROM customers.customer_history($1::text::uuid) /* Zyxw */", [id]),
            Call::new("SELECT * FROM customers.customer_timeline($1::text::uuid) /* Zyxw */", [id]),
            Call::new(import, [one]),
            Call::new(import, [known]),
            Call::new("SELECT * FROM customers.read_events($1::text::bigint) /* Zyxw */", ["0"]),
            Call::new("SELECT * FROM customers.fetch_events($1::text) /* Zyxw */", ["mailer"]),
            Call::new("SELECT customers.acknowledge($1::text, 0) /* Zyxw */", ["mailer"]),
            Call::new("SELECT customers.subscribe($1::text) /* Zyxw */", ["reader"]),
            Call::new("SELECT customers.unsubscribe($1::text) /* Zyxw */", ["mailer"]),
            Call::new("SELECT customers.prune_events($1::text::interval) /* Zyxw */", ["1 day"]),
        ]
    }

    /// Plain statements that fire the triggers.
    fn plain_statements(&self) -> Vec<Call> {
        let id = self.customer.to_string();
        vec![
            Call::new(
                "INSERT INTO customers.customers (email, name) VALUES ($1::text, $2::text)",
                ["zyxw.new@example.com", "Zyxw New"],
            ),
            Call::new(
                "UPDATE customers.customers SET name = $2::text WHERE customer_id = $1::text::uuid",
                [&id, "Zyxw New"],
            ),
        ]
    }

    /// A session that locks tables of the schema, as a migration does.
    fn locked(&self, only: &str) -> Client {
        let mut holder = self.database.connect();
        let tables = "SELECT string_agg(oid::regclass::text, ', ') FROM pg_class
                       WHERE relnamespace = 'customers'::regnamespace AND relkind IN ('r', 'p')
                         AND relname LIKE $1";
        let tables: String = one(&mut holder, tables, &[&only]);
        holder
            .batch_execute(&format!("BEGIN; LOCK TABLE {tables} IN ACCESS EXCLUSIVE MODE"))
            .unwrap();
        holder
    }

    /// A session that has loaded what a call requires, so that nothing fails before the call.
    fn session(&self) -> Session {
        let session = Session::of(&self.database);
        session.run("LOAD 'customer_db'; SET customer_db.actor = 'Zyxw the clerk'").unwrap();
        session
    }
}

/// What ends a call that waits for a lock.
#[derive(Clone, Copy, Debug)]
enum End {
    LockTimeout,
    StatementTimeout,
    TransactionTimeout,
    Cancel,
    Terminate,
}

impl End {
    fn sqlstate(self) -> &'static str {
        match self {
            Self::LockTimeout => "55P03",
            Self::StatementTimeout | Self::Cancel => "57014",
            Self::TransactionTimeout => "25P04",
            Self::Terminate => "57P01",
        }
    }

    /// Makes a call that has to wait, and ends it.
    fn strike(
        self,
        observer: &mut Client,
        session: &Session,
        call: &Call,
        bound: bool,
    ) -> Result<(), postgres::Error> {
        let setting = match self {
            Self::LockTimeout => "SET lock_timeout = '10ms'",
            Self::StatementTimeout => "SET statement_timeout = '150ms'",
            Self::TransactionTimeout => "SET transaction_timeout = '150ms'",
            Self::Cancel | Self::Terminate => "",
        };
        session.run(setting).unwrap();
        let function = match self {
            Self::Cancel => "pg_cancel_backend",
            Self::Terminate => "pg_terminate_backend",
            _ => return call.run_in(session, bound),
        };
        thread::scope(|scope| {
            let result = scope.spawn(|| call.run_in(session, bound));
            await_blocked(observer, session.pid);
            observer.execute(&format!("SELECT {function}($1)"), &[&session.pid]).unwrap();
            result.join().unwrap()
        })
    }
}

/// Asserts the promise for all calls that end in this way, with literals and with bound parameters.
fn assert_tells_nothing(end: End) {
    let server = logging_everything();
    let place = Place::of(&server);
    let mut observer = place.database.connect();
    let before = contents(&mut observer);
    for (only, calls) in [("%", place.calls()), ("events", place.plain_statements())] {
        let mut holder = place.locked(only);
        for call in &calls {
            for bound in [false, true] {
                let result = end.strike(&mut observer, &place.session(), call, bound);
                assert_error(result, end.sqlstate(), &format!("{end:?} {}", call.statement));
            }
        }
        holder.batch_execute("ROLLBACK").unwrap();
    }
    assert_eq!(contents(&mut observer), before);
    assert_untold(&server, &mut observer);
}

#[test]
fn a_call_that_gives_up_waiting_for_a_lock_tells_nothing() {
    assert_tells_nothing(End::LockTimeout);
}

#[test]
fn a_call_whose_time_is_up_tells_nothing() {
    assert_tells_nothing(End::StatementTimeout);
}

#[test]
fn a_call_whose_transaction_has_taken_too_long_tells_nothing() {
    if major() < 17 {
        skipped("transaction_timeout is of PostgreSQL 17");
        return;
    }
    assert_tells_nothing(End::TransactionTimeout);
}

#[test]
fn a_call_that_is_cancelled_tells_nothing() {
    assert_tells_nothing(End::Cancel);
}

#[test]
fn a_call_whose_session_is_terminated_tells_nothing() {
    assert_tells_nothing(End::Terminate);
}

#[test]
fn a_call_that_a_restart_ends_tells_nothing() {
    let server = logging_everything();
    let place = Place::of(&server);
    let mut observer = place.database.connect();
    let before = contents(&mut observer);
    let holder = place.locked("%");
    let (sessions, calls): (Vec<Session>, Vec<Call>) =
        place.calls().into_iter().chain(place.calls()).map(|call| (place.session(), call)).unzip();
    let half = calls.len() / 2;
    thread::scope(|scope| {
        let results: Vec<_> = sessions
            .iter()
            .zip(&calls)
            .enumerate()
            .map(|(n, (session, call))| scope.spawn(move || call.run_in(session, n < half)))
            .collect();
        sessions.iter().for_each(|session| await_blocked(&mut observer, session.pid));
        server.pg_ctl("restart");
        for (result, call) in results.into_iter().zip(&calls) {
            assert_error(result.join().unwrap(), "57P01", call.statement);
        }
    });
    drop(holder);
    let mut observer = place.database.connect();
    assert_eq!(contents(&mut observer), before);
    assert_untold(&server, &mut observer);
}

/// Makes two sessions deadlock, each with its second call, and returns the error of the one that PostgreSQL ended.
fn deadlock(place: &Place, calls: [[&Call; 2]; 2], bound: bool) -> DbError {
    let mut observer = place.database.connect();
    let [first, second] = [(); 2].map(|()| place.session());
    for (session, calls) in [(&first, calls[0]), (&second, calls[1])] {
        session.run("BEGIN").unwrap();
        calls[0].run_in(session, bound).unwrap();
    }
    let results = thread::scope(|scope| {
        let result = scope.spawn(|| calls[0][1].run_in(&first, bound));
        await_blocked(&mut observer, first.pid);
        let other = calls[1][1].run_in(&second, bound);
        // The surviving session waits for the other's rows.
        second.run("ROLLBACK").unwrap();
        [other, result.join().unwrap()]
    });
    first.run("ROLLBACK").unwrap();
    let mut lost: Vec<postgres::Error> = results.into_iter().filter_map(Result::err).collect();
    assert_eq!(lost.len(), 1, "{lost:?}");
    assert_error::<()>(Err(lost.remove(0)), "40P01", "deadlock")
}

#[test]
fn a_deadlock_tells_nothing_of_either_call() {
    let server = logging_everything();
    let place = Place::of(&server);
    let mut client = place.database.connect();
    let other = register_ann(&mut client).id.to_string();
    let id = place.customer.to_string();
    let before = contents(&mut client);
    let update = |id: &str, name: &str| {
        Call::new("SELECT customers.update_customer($1::text::uuid, name => $2::text)", [id, name])
    };
    let suspend = |id: &str| {
        Call::new(
            "SELECT customers.set_status($1::text::uuid, 'SUSPENDED', $2::text)",
            [id, "Zyxw Old asked for it"],
        )
    };
    let register = |email: &str| {
        Call::new("SELECT customers.register_customer($1::text, 'Zyxw New')", [email])
    };
    let erase = |id: &str| {
        Call::new("SELECT customers.erase_customer($1::text::uuid, $2::text)", [id, "Zyxw asked"])
    };
    let import = |email: &str| {
        Call::new(
            "SELECT * FROM customers.import_customers(jsonb_build_array(jsonb_build_object('email', $1::text)))",
            [email],
        )
    };
    let (one, two) = ("zyxw.one@example.com", "zyxw.two@example.com");
    let mut found = 0;
    for [[a, b], [c, d]] in [
        [
            [update(&id, "Zyxw A"), update(&other, "Zyxw B")],
            [update(&other, "Zyxw C"), update(&id, "Zyxw D")],
        ],
        [[suspend(&id), suspend(&other)], [suspend(&other), suspend(&id)]],
        [[register(one), register(two)], [register(two), register(one)]],
        [[import(one), import(two)], [register(two), register(one)]],
        [[erase(&id), update(&other, "Zyxw B")], [erase(&other), update(&id, "Zyxw D")]],
    ] {
        for bound in [false, true] {
            deadlock(&place, [[&a, &b], [&c, &d]], bound);
            found += 1;
        }
    }
    assert_eq!(contents(&mut client), before);
    assert_eq!(server.log().matches("deadlock detected").count(), found);
    assert_untold(&server, &mut client);
}

/// PostgreSQL's message quotes a value that cannot be cast.
#[test]
fn an_index_expression_of_the_owners_that_fails_tells_nothing() {
    let server = logging_everything();
    for (table, expression) in [
        ("customers.customers", "(name::int)"),
        ("customers.customers", "(substr(email, 1, 8)::int)"),
        ("customers.events", "((changes ->> 'name')::int)"),
        ("customers.events", "((changes ->> 'email')::uuid)"),
    ] {
        let database = server.database();
        let mut client = database.connect();
        client.batch_execute(&format!("CREATE INDEX ON {table} ({expression})")).unwrap();
        let email = "zyxw.new@example.com";
        let id = "00000000-0000-0000-0000-000000000405";
        let batch = r#"[{"email": "zyxw.new@example.com", "name": "Zyxw New"}]"#;
        let mut calls = vec![
            Call::new(
                "SELECT customers.register_customer($1::text, $2::text)",
                [email, "Zyxw New"],
            ),
            Call::new(
                "SELECT customers.register_customer($1::text, $2::text, $3::text::uuid)",
                [email, "Zyxw New", id],
            ),
        ];
        if table == "customers.events" {
            // Fails inside the trigger that records the event.
            calls.push(Call::new(
                "INSERT INTO customers.customers (email, name) VALUES ($1::text, $2::text)",
                [email, "Zyxw New"],
            ));
        }
        for call in &calls {
            for bound in [false, true] {
                let error = assert_error(
                    call.run(&mut client, bound),
                    "22P02",
                    &format!("{expression}: {}", call.statement),
                );
                assert!(!error.message().is_empty());
            }
        }
        // The import may refuse the row or fail as a whole; it must disclose nothing in either case.
        let import =
            "SELECT outcome, sqlstate, message FROM customers.import_customers($1::text::jsonb)";
        match client.query(import, &[&batch]) {
            Ok(rows) => {
                let (outcome, sqlstate, message): (String, String, String) =
                    (rows[0].get(0), rows[0].get(1), rows[0].get(2));
                assert_eq!(
                    (outcome.as_str(), sqlstate.as_str()),
                    ("refused", "22P02"),
                    "{message}"
                );
                assert!(!message.to_lowercase().contains(SECRET), "{message}");
            }
            Err(error) => drop(assert_error::<()>(Err(error), "22P02", import)),
        }
        assert_eq!(one::<i64>(&mut client, "SELECT count(*) FROM customers.customers", &[]), 0);
    }
    assert_untold(&server, &mut server.connect("postgres"));
}

/// The same on a change: the customer had no name before, so the expression did not fail.
#[test]
fn an_index_expression_that_fails_on_a_change_tells_nothing() {
    let server = logging_everything();
    let mut client = server.database().connect();
    let id = one::<Uuid>(
        &mut client,
        "SELECT customer_id FROM customers.register_customer('ann@example.com')",
        &[],
    );
    client.batch_execute("CREATE INDEX ON customers.customers ((name::int))").unwrap();
    let before = contents(&mut client);
    let id = id.to_string();
    for call in [
        Call::new(
            "SELECT customers.update_customer($1::text::uuid, name => $2::text)",
            [&id, "Zyxw New"],
        ),
        Call::new(
            "SELECT customers.patch_customer($1::text::uuid, $2::text::jsonb)",
            [&id, r#"{"name": "Zyxw New"}"#],
        ),
    ] {
        for bound in [false, true] {
            assert_error(call.run(&mut client, bound), "22P02", call.statement);
        }
    }
    assert_eq!(contents(&mut client), before);
    assert_untold(&server, &mut client);
}

/// One trigger that puts the row into its message, and one whose message holds no value.
#[test]
fn a_trigger_of_the_owners_tells_no_value_and_may_say_why() {
    let server = logging_everything();
    for (name, timing) in [("aaa", "BEFORE"), ("zzz", "AFTER")] {
        let place = Place::of(&server);
        let mut client = place.database.connect();
        client
            .batch_execute(&format!(
                "CREATE FUNCTION public.tell() RETURNS trigger LANGUAGE plpgsql AS $$
                 BEGIN
                     IF current_setting('attack.tells', true) = 'row' THEN
                         RAISE EXCEPTION 'no %', NEW;
                     ELSIF current_setting('attack.tells', true) = 'name' THEN
                         RAISE EXCEPTION 'no % here', NEW.name USING ERRCODE = 'P0777';
                     ELSIF current_setting('attack.tells', true) = 'email' THEN
                         RAISE EXCEPTION 'no' USING DETAIL = 'it is ' || NEW.email, HINT = NEW.email;
                     ELSIF current_setting('attack.tells', true) = 'fields' THEN
                         RAISE EXCEPTION 'no' USING COLUMN = NEW.email, CONSTRAINT = NEW.name,
                                                    DATATYPE = NEW.name, TABLE = NEW.name, SCHEMA = NEW.email;
                     END IF;
                     RAISE EXCEPTION 'not now';
                 END $$;
                 CREATE TRIGGER {name} {timing} INSERT OR UPDATE ON customers.customers
                     FOR EACH ROW EXECUTE FUNCTION public.tell()"
            ))
            .unwrap();
        let before = contents(&mut client);
        let id = place.customer.to_string();
        let calls = [
            Call::new(
                "SELECT customers.register_customer($1::text, $2::text)",
                ["zyxw.new@example.com", "Zyxw New"],
            ),
            Call::new(
                "SELECT customers.register_customer($1::text, $2::text, gen_random_uuid())",
                ["zyxw.new@example.com", "Zyxw New"],
            ),
            Call::new(
                "SELECT customers.set_status($1::text::uuid, 'SUSPENDED', $2::text)",
                [&id, "Zyxw Old asked for it"],
            ),
            Call::new(
                "SELECT customers.update_customer($1::text::uuid, name => $2::text)",
                [&id, "Zyxw New"],
            ),
            Call::new(
                "SELECT customers.patch_customer($1::text::uuid, $2::text::jsonb)",
                [&id, r#"{"email": "zyxw.new@example.com"}"#],
            ),
        ];
        for (tells, sqlstate) in [
            ("row", "P0001"),
            ("name", "P0777"),
            ("email", "P0001"),
            ("fields", "P0001"),
            ("nothing", "P0001"),
        ] {
            client.execute("SELECT set_config('attack.tells', $1, false)", &[&tells]).unwrap();
            for call in &calls {
                for bound in [false, true] {
                    let about = format!("{timing} {tells}: {}", call.statement);
                    let error = assert_error(call.run(&mut client, bound), sqlstate, &about);
                    if tells == "nothing" {
                        assert_eq!(error.message(), "not now", "{about}");
                    }
                }
            }
        }
        assert_eq!(contents(&mut client), before);
    }
    assert_untold(&server, &mut server.connect("postgres"));
}

/// A refusal of a plain statement by a rule discloses nothing either.
#[test]
fn a_plain_statement_that_breaks_a_rule_tells_nothing() {
    let server = logging_everything();
    let place = Place::of(&server);
    let mut client = place.database.connect();
    let before = contents(&mut client);
    let id = place.customer.to_string();
    for (call, sqlstate) in [
        (
            Call::new(
                "INSERT INTO customers.customers (email) VALUES ($1::text)",
                ["zyxw@localhost"],
            ),
            "22023",
        ),
        (
            Call::new(
                "UPDATE customers.customers SET name = $2::text || chr(7) WHERE customer_id = $1::text::uuid",
                [&id, "Zyxw"],
            ),
            "22023",
        ),
        (Call::new("DELETE FROM customers.customers WHERE name = $1::text", ["Zyxw Old"]), "23514"),
        (Call::new("UPDATE customers.events SET reason = $1::text", ["Zyxw"]), "23514"),
    ] {
        for bound in [false, true] {
            let error = assert_error(call.run(&mut client, bound), sqlstate, call.statement);
            assert!(error.hint().is_some(), "{error:?}");
            assert_eq!(error.where_(), None, "{error:?}");
        }
    }
    assert_eq!(contents(&mut client), before);
    assert_untold(&server, &mut client);
}
