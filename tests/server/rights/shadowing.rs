//! Promise: calling a function does what it promises and nothing else: no planted object is used in place
//! of another, and no text is executed as SQL.

use crate::kit::calls::{functions, outcome, seed, seeded};
use crate::kit::{
    Database, all, call, caller, contents, database, id, one, refusal, register_ann, role, server,
};
use postgres::Client;

/// The SQLSTATE that planted objects raise.
const PLANTED: &str = "P0666";

/// Plants objects in a schema, `evil` or pg_temp, under the names of everything in pg_catalog and in the
/// schema customers. Each raises when it is used.
fn plant(attacker: &mut Client, schema: &str) {
    attacker
        .batch_execute(&format!(
            "CREATE FUNCTION {schema}.planted(what text) RETURNS bool LANGUAGE plpgsql COST 0.001 AS
             $$ BEGIN RAISE EXCEPTION USING MESSAGE = pg_catalog.concat('planted: ', what), ERRCODE = '{PLANTED}'; END $$;
             DO $plant$
             DECLARE
                 made text;
             BEGIN
                 FOR made IN
                     -- Functions, aggregates and what operators and casts call.
                     SELECT format('CREATE FUNCTION {schema}.%I(%s) RETURNS %s%s LANGUAGE plpgsql AS %L', proname,
                                   oidvectortypes(proargtypes), CASE WHEN proretset THEN 'SETOF ' END,
                                   prorettype::regtype,
                                   format('BEGIN PERFORM {schema}.planted(%L); END', oid::regprocedure))
                       FROM pg_proc
                      WHERE pronamespace = 'pg_catalog'::regnamespace
                     UNION ALL
                     SELECT format('CREATE FUNCTION {schema}.operator_%s(%s) RETURNS %s LANGUAGE plpgsql AS %L', oid,
                                   concat_ws(', ', nullif(oprleft, 0)::regtype, oprright::regtype), oprresult::regtype,
                                   format('BEGIN PERFORM {schema}.planted(%L); END', oid::regoperator))
                       FROM pg_operator
                      WHERE oprnamespace = 'pg_catalog'::regnamespace
                     UNION ALL
                     SELECT format('CREATE OPERATOR {schema}.%s (%s, FUNCTION = {schema}.operator_%s)', oprname,
                                   concat_ws(', ', 'LEFTARG = ' || nullif(oprleft, 0)::regtype, 'RIGHTARG = ' || oprright::regtype),
                                   oid)
                       FROM pg_operator
                      WHERE oprnamespace = 'pg_catalog'::regnamespace
                     UNION ALL
                     SELECT format('CREATE VIEW {schema}.%I AS SELECT %s WHERE {schema}.planted(%L)', relname,
                                   (SELECT string_agg(format('NULL::%s AS %I', atttypid::regtype, attname), ', ' ORDER BY attnum)
                                      FROM pg_attribute
                                     WHERE attrelid = pg_class.oid AND attnum > 0 AND NOT attisdropped),
                                   oid::regclass)
                       FROM pg_class
                      WHERE relnamespace IN ('pg_catalog'::regnamespace, to_regnamespace('customers'))
                        AND relkind IN ('r', 'v')
                     UNION ALL
                     SELECT format('CREATE DOMAIN {schema}.%I AS text CHECK ({schema}.planted(%L))', typname, typname)
                       FROM pg_type
                      WHERE typnamespace = 'pg_catalog'::regnamespace AND typtype = 'b' AND typelem = 0
                 LOOP
                     -- What nobody can make (functions of type internal, say) nobody can plant.
                     BEGIN
                         EXECUTE made;
                     EXCEPTION WHEN OTHERS THEN
                         NULL;
                     END;
                 END LOOP;
             END $plant$"
        ))
        .unwrap();
}

/// A session that finds `evil` before pg_catalog; asserts that planted objects are found.
fn attacking(database: &Database, role: &str) -> Client {
    let mut client = database.connect_as(role);
    client.batch_execute("SET search_path = evil, pg_temp, pg_catalog").unwrap();
    for used in [
        "SELECT now()",
        "SELECT lower('A')",
        "SELECT FROM (VALUES (1)) AS v (a) WHERE a = 1",
        "SELECT 'a'::pg_catalog.text || 'b'::pg_catalog.text",
        "SELECT * FROM pg_class",
        "SELECT * FROM events",
        "SELECT 'a'::text",
        "SELECT max(a) FROM (VALUES (1)) AS v (a)",
    ] {
        assert_eq!(outcome(&mut client, used), PLANTED, "{used}");
    }
    client
}

/// A role that may call every function and create schemas, and has planted objects in one.
fn attacker(database: &Database) -> String {
    let mut owner = database.connect();
    let attacker = caller(&mut owner);
    owner
        .batch_execute(&format!(
            "GRANT CREATE, TEMPORARY ON DATABASE {} TO {attacker}",
            database.name
        ))
        .unwrap();
    let mut client = database.connect_as(&attacker);
    client.batch_execute("CREATE SCHEMA evil; GRANT USAGE ON SCHEMA evil TO PUBLIC").unwrap();
    plant(&mut client, "evil");
    attacker
}

#[test]
fn no_object_in_a_schema_that_comes_first_is_called() {
    let database = seeded();
    let attacker = attacker(&database);
    let mut owner = database.connect();
    let functions = functions(&mut owner);
    let mut plain = database.connect_as(&attacker);
    // With plans made under attack, and with plans made before it.
    let mut attacking = attacking(&database, &attacker);
    let mut attacked_later = database.connect_as(&attacker);
    for function in &functions {
        let call = function.call();
        let wanted = outcome(&mut plain, &call);
        assert_eq!(outcome(&mut attacking, &call), wanted, "{call}");
        assert_eq!(outcome(&mut attacked_later, &call), wanted, "{call}");
    }
    attacked_later.batch_execute("SET search_path = evil, pg_temp, pg_catalog").unwrap();
    for function in &functions {
        let call = function.call();
        assert_eq!(outcome(&mut attacked_later, &call), outcome(&mut plain, &call), "{call}");
    }
}

#[test]
fn no_temporary_object_is_used() {
    let database = seeded();
    let mut owner = database.connect();
    let functions = functions(&mut owner);
    let caller = caller(&mut owner);
    let mut plain = database.connect_as(&caller);
    let mut attacking = database.connect_as(&caller);
    plant(&mut attacking, "pg_temp");
    assert_eq!(outcome(&mut attacking, "SELECT * FROM pg_class"), PLANTED);
    for function in &functions {
        let call = function.call();
        assert_eq!(outcome(&mut attacking, &call), outcome(&mut plain, &call), "{call}");
    }
}

/// The functions only the owner may call, and plain changes that fire triggers.
#[test]
fn the_owner_is_not_led_astray_either() {
    let database = seeded();
    attacker(&database);
    let mut owner = attacking(&database, "postgres");
    let mut plain = database.connect();
    let calls = functions(&mut plain).into_iter().map(|function| function.call());
    let plain_sql = [
        "INSERT INTO customers.customers (email) VALUES ('somebody@example.com')",
        "UPDATE customers.customers SET name = 'Bea'",
        "DELETE FROM customers.customers",
        "TRUNCATE customers.events",
    ];
    for call in calls.chain(plain_sql.map(str::to_owned)) {
        assert_eq!(outcome(&mut owner, &call), outcome(&mut plain, &call), "{call}");
    }
}

#[test]
fn nothing_that_was_planted_before_is_called_by_installing_and_attaching() {
    let database = server().empty_database("");
    let mut owner = database.connect();
    let attacker = role(&mut owner, "");
    owner
        .batch_execute(&format!(
            "CREATE SCHEMA evil AUTHORIZATION {attacker}; CREATE SCHEMA customers;
             CREATE TABLE customers.events (position bigint)"
        ))
        .unwrap();
    plant(&mut database.connect_as(&attacker), "evil");
    owner.batch_execute("DROP SCHEMA customers CASCADE").unwrap();
    let mut owner = attacking(&database, "postgres");
    for install in [
        "CREATE EXTENSION customer_db",
        "DROP EXTENSION customer_db CASCADE; CREATE EXTENSION customer_db; SELECT customers.attach()",
        "DROP EXTENSION customer_db CASCADE;
         ALTER TABLE customers.customers DROP CONSTRAINT customers_pkey, DROP COLUMN version CASCADE,
             ALTER status DROP DEFAULT, DROP CONSTRAINT customers_status_check;
         CREATE EXTENSION customer_db; SELECT customers.attach()",
    ] {
        owner.batch_execute(install).unwrap_or_else(|why| panic!("{install}: {why:?}"));
    }
    seed(&mut database.connect());
}

/// A role that may write the table by plain DML, and nothing else.
fn plain_writer(owner: &mut Client, database: &Database) -> String {
    let writer = role(owner, "");
    owner
        .batch_execute(&format!(
            "GRANT CREATE ON DATABASE {} TO {writer};
             GRANT USAGE ON SCHEMA customers TO {writer};
             GRANT SELECT, INSERT, UPDATE ON customers.customers TO {writer}",
            database.name
        ))
        .unwrap();
    writer
}

/// A trigger that was added to the feed calls a function by an unqualified name. It also fires for a role
/// that writes a customer; what it finds must not run with more than that role's rights.
#[test]
fn a_trigger_of_the_owners_on_the_feed_lends_nobody_the_owners_rights() {
    let database = database();
    let mut owner = database.connect();
    owner
        .batch_execute(
            "ALTER TABLE customers.events ADD COLUMN note text;
             CREATE FUNCTION public.annotate() RETURNS trigger LANGUAGE plpgsql AS
             'BEGIN NEW.note = lower(NEW.type); RETURN NEW; END';
             CREATE TRIGGER annotate BEFORE INSERT ON customers.events
                 FOR EACH ROW EXECUTE FUNCTION public.annotate()",
        )
        .unwrap();
    let writer = plain_writer(&mut owner, &database);
    let mut client = database.connect_as(&writer);
    client
        .batch_execute(
            "CREATE SCHEMA evil;
             GRANT ALL ON SCHEMA evil TO PUBLIC;
             CREATE FUNCTION evil.lower(text) RETURNS text LANGUAGE sql AS 'SELECT current_user::text';
             SET search_path = evil, pg_catalog;
             INSERT INTO customers.customers (email) VALUES ('somebody@example.com')",
        )
        .unwrap();
    let ran_as: String = one(&mut owner, "SELECT note FROM customers.events", &[]);
    assert_ne!(ran_as, "postgres", "the writer's function ran as a superuser");
}

#[test]
fn create_on_the_database_is_no_way_into_the_schema() {
    let database = seeded();
    let mut owner = database.connect();
    let attacker = caller(&mut owner);
    owner.batch_execute(&format!("GRANT ALL ON DATABASE {} TO {attacker}", database.name)).unwrap();
    let mut client = database.connect_as(&attacker);
    client.batch_execute("CREATE SCHEMA own").unwrap();
    for attack in [
        "CREATE TABLE customers.customers_staging ()",
        "CREATE FUNCTION customers.lower(text) RETURNS text LANGUAGE sql AS 'SELECT $1'",
        "CREATE OR REPLACE FUNCTION customers.get_customer(customer_id uuid) RETURNS SETOF customers.profile LANGUAGE sql AS 'SELECT NULL'",
        "ALTER FUNCTION customers.get_customer RESET ALL",
        "ALTER FUNCTION customers.get_customer SECURITY INVOKER",
        "ALTER FUNCTION customers.get_customer SET SCHEMA own",
        "CREATE TRIGGER t BEFORE INSERT ON customers.customers FOR EACH ROW EXECUTE FUNCTION customers.guard()",
        "CREATE RULE r AS ON INSERT TO customers.events DO INSTEAD NOTHING",
        "CREATE POLICY p ON customers.customers",
        "CREATE TABLE own.child () INHERITS (customers.customers)",
        "ALTER SCHEMA customers RENAME TO own2",
        "DROP SCHEMA customers CASCADE",
        "DROP EXTENSION customer_db CASCADE",
        "ALTER EXTENSION customer_db ADD SCHEMA own",
        "CREATE EXTENSION customer_db SCHEMA own",
        "GRANT SELECT ON customers.customers TO PUBLIC",
        "COMMENT ON FUNCTION customers.get_customer IS 'mine'",
        "SELECT customers.attach()",
    ] {
        let outcome = outcome(&mut client, attack);
        // 42710 if PostgreSQL checks for existence first; 01007 because GRANT of a privilege that one lacks
        // is a warning.
        assert!(["42501", "42710", "01007"].contains(&outcome.as_str()), "{attack}: {outcome}");
    }
}

/// Texts that would be executed if they were concatenated into SQL.
const INJECTIONS: [&str; 9] = [
    "'; DROP TABLE customers.customers; --",
    "' || (SELECT 1 / 0) || '",
    "\\'; SELECT 1 / 0; --",
    "$1",
    "$$; SELECT 1 / 0; $$",
    "%I %L %s %n",
    "\"; DROP SCHEMA customers CASCADE; --",
    "{\"email\": {\"$ne\": null}}",
    "*/ SELECT 1 / 0 /*",
];

fn quoted(text: &str) -> String {
    format!("E'{}'", text.replace('\\', "\\\\").replace('\'', "''"))
}

#[test]
fn a_text_that_looks_like_sql_is_data_or_refused_in_every_argument() {
    let mut client = seeded().connect();
    let tables = "SELECT count(*) FROM pg_class WHERE relnamespace = 'customers'::regnamespace";
    let there: i64 = one(&mut client, tables, &[]);
    let mut tried = 0;
    for function in functions(&mut client) {
        for injection in INJECTIONS {
            let json = serde_json::json!({ "name": injection, "email": injection }).to_string();
            for at in 0..function.arguments.len() {
                let value = match function.arguments[at].1.as_str() {
                    "text" => quoted(injection),
                    "jsonb" if function.name == "import_customers" => quoted(&format!("[{json}]")),
                    "jsonb" => quoted(&json),
                    _ => continue,
                };
                let argument = &function.arguments[at].0;
                let call = function.call_with(|name, _| (name == argument).then(|| value.clone()));
                let mut transaction = client.transaction().unwrap();
                if let Err(error) = transaction.batch_execute(&call) {
                    let error = refusal::<()>(Err(error));
                    let code = error.code().code();
                    assert!(["22023", "23505", "PT404"].contains(&code), "{call}: {error:?}");
                    assert!(!format!("{error:?}").contains(injection), "{call}: {error:?}");
                }
                let _ = transaction.rollback();
                tried += 1;
            }
        }
    }
    assert!(tried >= 20 * INJECTIONS.len(), "only {tried}");
    assert_eq!(one::<i64>(&mut client, tables, &[]), there);
}

#[test]
fn a_text_that_looks_like_sql_comes_back_as_it_went_in() {
    let mut client = database().connect();
    let ann = register_ann(&mut client).id;
    for (n, injection) in INJECTIONS.into_iter().enumerate() {
        client.execute("SELECT set_config('customer_db.actor', $1, false)", &[&injection]).unwrap();
        let status = if n % 2 == 0 { "SUSPENDED" } else { "ACTIVE" };
        call(&mut client, "set_status($1, $2, $3)", &[&ann, &status, &injection]).unwrap();
        for reader in ["customer_history", "customer_timeline"] {
            let told = format!(
                "SELECT reason = $2 AND actor = $2 FROM customers.{reader}($1) ORDER BY version DESC LIMIT 1"
            );
            assert!(one::<bool>(&mut client, &told, &[&ann, &injection]), "{injection}");
        }
        client.execute("SELECT customers.subscribe($1)", &[&injection]).unwrap();
        let consumers = "SELECT consumer FROM customers.consumers";
        assert_eq!(all::<String>(&mut client, consumers, &[]), [injection]);
        client.execute("SELECT customers.unsubscribe($1)", &[&injection]).unwrap();
        let gone = register_ann(&mut client).id;
        call(&mut client, "erase_customer($1, $2)", &[&gone, &injection]).unwrap();
        let ledger = "SELECT reason FROM customers.erasures WHERE customer_id = $1";
        assert_eq!(one::<String>(&mut client, ledger, &[&gone]), injection);
    }
}

#[test]
fn who_may_call_every_function_cannot_forge_events() {
    let database = database();
    let mut owner = database.connect();
    let caller = caller(&mut owner);
    owner
        .batch_execute(&format!("GRANT CREATE ON DATABASE {} TO {caller}", database.name))
        .unwrap();
    let ann = register_ann(&mut owner);
    let before = contents(&mut owner);
    let mut client = database.connect_as(&caller);
    client.batch_execute("CREATE SCHEMA own").unwrap();
    for table in ["pg_temp.customers", "own.customers", "own.events"] {
        let forge = |client: &mut Client, function: &str, when: &str, change: &str| {
            let mut transaction = client.transaction().unwrap();
            transaction
                .batch_execute(&format!(
                    "CREATE TABLE {table} (customer_id uuid, email text, name text, status text,
                         registered_at timestamptz, updated_at timestamptz, version bigint);
                     INSERT INTO {table} VALUES ('{}', 'somebody@example.com', NULL, 'ACTIVE', now(), now(), 1);
                     CREATE TRIGGER t AFTER {when} FOR EACH STATEMENT EXECUTE FUNCTION customers.{function}()",
                    ann.id
                ))
                .unwrap();
            let refused = transaction.batch_execute(change);
            assert_eq!(refusal(refused).code().code(), "39P01", "{table} {function}");
        };
        let insert = format!(
            "INSERT INTO {table} VALUES ('{}', 'forged@example.com', 'Forged', 'CLOSED', now(), now(), 2)",
            id()
        );
        let inserted = format!("INSERT ON {table} REFERENCING NEW TABLE AS n");
        let updated = format!("UPDATE ON {table} REFERENCING OLD TABLE AS o NEW TABLE AS n");
        let update = format!("UPDATE {table} SET status = 'CLOSED', version = 2");
        forge(&mut client, "record_registered", &inserted, &insert);
        forge(&mut client, "record_updated", &updated, &update);
        forge(&mut client, "record_registered", &updated, &update);
        forge(&mut client, "record_registered", &format!("INSERT ON {table}"), &insert);
        forge(&mut client, "record_updated", &format!("UPDATE ON {table}"), &update);
    }
    assert_eq!(contents(&mut owner), before);
}

/// PostgreSQL prefers an operator that takes just the types of an expression, wherever it stands, to one of
/// pg_catalog that needs a conversion.
#[test]
fn no_operator_that_was_planted_in_the_schema_is_called_by_installing() {
    for is_owner_of_database in [false, true] {
        let database = server().empty_database("");
        let mut client = database.connect();
        let planter = role(&mut client, "");
        let grant = if is_owner_of_database {
            format!("ALTER DATABASE {} OWNER TO {planter}", database.name)
        } else {
            format!("GRANT CREATE ON DATABASE {} TO {planter}", database.name)
        };
        client.batch_execute(&grant).unwrap();
        let mut stranger = database.connect_as(&planter);
        stranger.batch_execute("CREATE SCHEMA customers").unwrap();
        for (n, (operator, left, right)) in [
            ("=", "oid", "regclass"),
            ("=", "oid", "regnamespace"),
            ("<>", "oid", "regnamespace"),
            ("=", "name", "text"),
            ("||", "text", "name"),
            ("||", "text", "regclass"),
        ]
        .into_iter()
        .enumerate()
        {
            let result = if operator == "||" { "text" } else { "bool" };
            stranger
                .batch_execute(&format!(
                    "CREATE FUNCTION customers.planted{n}({left}, {right}) RETURNS {result} LANGUAGE plpgsql AS
                     $$ BEGIN RAISE EXCEPTION 'planted' USING ERRCODE = '{PLANTED}'; END $$;
                     CREATE OPERATOR customers.{operator} (
                         LEFTARG = {left}, RIGHTARG = {right}, FUNCTION = customers.planted{n})"
                ))
                .unwrap();
        }
        let installed =
            client.batch_execute("CREATE EXTENSION customer_db; SELECT customers.attach()");
        match installed {
            Ok(()) => assert!(is_owner_of_database),
            Err(error) => {
                assert_eq!(error.code().map(|code| code.code()), Some("42501"), "{error:?}");
            }
        }
    }
}
