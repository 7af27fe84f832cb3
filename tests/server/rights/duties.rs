//! Promise: a duty grants exactly what its row of DUTIES lists, nothing is granted without a duty, and
//! revoking one takes exactly what it granted.

use crate::kit::calls::{functions, outcome, seeded};
use crate::kit::{
    PUBLIC, address, all, assert_refused, call, caller, database, grants, one, refusal, role,
    server,
};
use postgres::Client;
use std::collections::BTreeSet;

/// A duty's functions and relations. Everything else in the schema is the owner's alone.
struct Duty {
    name: &'static str,
    functions: &'static [&'static str],
    /// Relations that it may SELECT from.
    relations: &'static [&'static str],
}

const DUTIES: [Duty; 7] = [
    Duty {
        name: "writer",
        functions: &[
            "register_customer",
            "update_customer",
            "patch_customer",
            "set_status",
            "import_customers",
            "get_customer",
            "find_customer",
            "list_customers",
            "search_customers",
            "canonical_email",
            "canonical_name",
        ],
        relations: &["customers"],
    },
    Duty {
        name: "reader",
        functions: &[
            "get_customer",
            "find_customer",
            "list_customers",
            "search_customers",
            "canonical_email",
            "canonical_name",
        ],
        relations: &["customers"],
    },
    Duty { name: "support", functions: &["customer_timeline"], relations: &["customers_masked"] },
    Duty {
        name: "consumer",
        functions: &[
            "subscribe",
            "fetch_events",
            "acknowledge",
            "read_events",
            "feed_position",
            "unsubscribe",
        ],
        relations: &[],
    },
    Duty { name: "auditor", functions: &["customer_history"], relations: &["events", "erasures"] },
    Duty {
        name: "privacy",
        functions: &["erase_customer", "export_customer", "reapply_erasures"],
        relations: &[],
    },
    Duty { name: "operator", functions: &["verify", "metrics", "prune_events"], relations: &[] },
];

/// The functions that belong to no duty.
const OWNERS: Duty = Duty {
    name: "owner",
    functions: &[
        "attach",
        "grant_access",
        "revoke_access",
        "broken_rule",
        "offenders",
        "record_missing_events",
        "duties",
        "guard",
        "refuse_removal",
        "record_registered",
        "record_updated",
        "keep_erasure",
    ],
    relations: &["consumers", "duty_marks", "events_position_seq", "feed_epochs", "feed_read_seq"],
};

impl Duty {
    fn grant(&self, owner: &mut Client, role: &str) {
        owner.execute(GRANT, &[&role, &self.name]).expect("a superuser may grant");
    }

    fn revoke(&self, owner: &mut Client, role: &str) {
        owner.execute(REVOKE, &[&role, &self.name]).expect("a superuser may revoke");
    }
}

const GRANT: &str = "SELECT customers.grant_access($1::text::regrole, $2)";
const REVOKE: &str = "SELECT customers.revoke_access($1::text::regrole, $2)";

const FUNCTIONS: &str =
    "SELECT proname::text FROM pg_proc WHERE pronamespace = 'customers'::regnamespace ORDER BY 1";
const RELATIONS: &str = "SELECT relname::text FROM pg_class
                          WHERE relnamespace = 'customers'::regnamespace AND relkind NOT IN ('i', 'I', 'c')
                          ORDER BY 1";

/// Each duty, with a role that has only this duty.
fn holders(owner: &mut Client) -> Vec<(Duty, String)> {
    let mut holder = |duty: Duty| {
        let role = role(owner, "");
        duty.grant(owner, &role);
        (duty, role)
    };
    DUTIES.into_iter().map(&mut holder).collect()
}

/// The same, and a role without a duty.
fn everybody(owner: &mut Client) -> Vec<(Duty, String)> {
    let nobody = Duty { name: "nobody", functions: &[], relations: &[] };
    let mut everybody = holders(owner);
    everybody.push((nobody, role(owner, "")));
    everybody
}

#[test]
fn whatever_is_in_the_schema_has_its_duty_or_is_the_owners() {
    let mut client = database().connect();
    let duties = || DUTIES.iter().chain([&OWNERS]);
    let functions: BTreeSet<&str> = duties().flat_map(|duty| duty.functions).copied().collect();
    let relations: BTreeSet<&str> = duties().flat_map(|duty| duty.relations).copied().collect();
    assert_eq!(all::<String>(&mut client, FUNCTIONS, &[]), Vec::from_iter(functions));
    assert_eq!(all::<String>(&mut client, RELATIONS, &[]), Vec::from_iter(relations));
}

#[test]
fn the_catalogue_grants_each_duty_what_is_its_and_nothing_else() {
    let mut client = database().connect();
    for (duty, role) in everybody(&mut client) {
        let functions: Vec<String> = all(
            &mut client,
            "SELECT proname::text FROM pg_proc
              WHERE pronamespace = 'customers'::regnamespace
                AND has_function_privilege($1, oid, 'EXECUTE')",
            &[&role],
        );
        assert_eq!(sorted(functions), sorted(duty.functions), "{}", duty.name);
        let relations: Vec<String> = all(
            &mut client,
            "SELECT concat(relname, CASE WHEN privilege <> 'SELECT' THEN ' ' || privilege END)
               FROM pg_class,
                    unnest(ARRAY['SELECT', 'INSERT', 'UPDATE', 'REFERENCES', 'DELETE', 'TRUNCATE', 'TRIGGER']) AS privilege
              WHERE relnamespace = 'customers'::regnamespace AND relkind NOT IN ('i', 'I', 'c', 'S')
                -- The mark of the duty, which permits nothing.
                AND NOT (relname = 'duty_marks' AND privilege = 'REFERENCES' AND has_column_privilege($1, oid, $2, privilege))
                AND (has_table_privilege($1, oid, privilege)
                     OR privilege IN ('SELECT', 'INSERT', 'UPDATE', 'REFERENCES')
                        AND has_any_column_privilege($1, oid, privilege))
             UNION ALL
             SELECT relname::text FROM pg_class
              WHERE CASE WHEN relnamespace = 'customers'::regnamespace AND relkind = 'S'
                         THEN has_sequence_privilege($1, oid, 'USAGE, SELECT, UPDATE') END",
            &[&role, &if duty.name == "nobody" { "writer" } else { duty.name }],
        );
        assert_eq!(sorted(relations), sorted(duty.relations), "{}", duty.name);
        let schema: String = one(
            &mut client,
            "SELECT concat_ws(' ', has_schema_privilege($1, 'customers', 'USAGE'),
                              has_schema_privilege($1, 'customers', 'CREATE'),
                              has_type_privilege($1, 'customers.profile', 'USAGE'))",
            &[&role],
        );
        let usage = if duty.name == "nobody" { "f" } else { "t" };
        assert_eq!(schema, format!("{usage} f f"), "{}", duty.name);
    }
}

fn sorted<T: ToString>(names: impl IntoIterator<Item = T>) -> Vec<String> {
    let mut names: Vec<String> = names.into_iter().map(|name| name.to_string()).collect();
    names.sort();
    names
}

#[test]
fn each_duty_can_call_its_functions_and_no_other() {
    let database = seeded();
    let mut owner = database.connect();
    let functions = functions(&mut owner);
    for (duty, role) in everybody(&mut owner) {
        let mut client = database.connect_as(&role);
        for function in &functions {
            let call = function.call();
            let outcome = outcome(&mut client, &call);
            // A refusal by a rule, as of a second register_customer() with an id, shows that the call is allowed.
            let allowed = duty.functions.contains(&function.name.as_str());
            assert_eq!(outcome != "42501", allowed, "{} {call}: {outcome}", duty.name);
        }
    }
}

#[test]
fn each_duty_can_select_from_its_relations_and_do_nothing_else_to_any() {
    let database = seeded();
    let mut owner = database.connect();
    let relations: Vec<(String, String, String)> = owner
        .query(
            "SELECT relname::text, relkind::text,
                    (SELECT attname::text FROM pg_attribute
                      WHERE attrelid = pg_class.oid AND attnum = pg_class.relnatts)
               FROM pg_class
              WHERE relnamespace = 'customers'::regnamespace AND relkind NOT IN ('i', 'I', 'c')",
            &[],
        )
        .unwrap()
        .iter()
        .map(|row| (row.get(0), row.get(1), row.get(2)))
        .collect();
    for (duty, role) in everybody(&mut owner) {
        let mut client = database.connect_as(&role);
        for (relation, kind, column) in &relations {
            let read = outcome(&mut client, &format!("SELECT * FROM customers.{relation}"));
            let wanted =
                if duty.relations.contains(&relation.as_str()) { "00000" } else { "42501" };
            assert_eq!(read, wanted, "{} reads {relation}", duty.name);
            let table = format!("customers.{relation}");
            let writes: &[String] = match kind.as_str() {
                "S" => &[
                    format!("SELECT nextval('{table}')"),
                    format!("SELECT setval('{table}', 1)"),
                    format!("ALTER SEQUENCE {table} RESTART"),
                ],
                _ => &[
                    format!("INSERT INTO {table} DEFAULT VALUES"),
                    format!("UPDATE {table} SET {column} = {column}"),
                    format!("DELETE FROM {table}"),
                    format!("TRUNCATE {table}"),
                    format!("ALTER TABLE {table} ADD COLUMN mine int"),
                    format!(
                        "CREATE TRIGGER mine BEFORE INSERT ON {table} EXECUTE FUNCTION customers.guard()"
                    ),
                ],
            };
            for write in writes {
                let outcome = outcome(&mut client, write);
                // 42809: TRUNCATE and CREATE TRIGGER do not apply to a view.
                let refused = outcome == "42501" || kind == "v" && outcome == "42809";
                assert!(refused, "{} {write}: {outcome}", duty.name);
            }
        }
        let planted = outcome(&mut client, "CREATE TABLE customers.planted ()");
        assert_eq!(planted, "42501", "{}", duty.name);
    }
}

#[test]
fn granting_twice_is_granting_once() {
    let mut client = database().connect();
    for (duty, role) in holders(&mut client) {
        let once = grants(&mut client, &role);
        duty.grant(&mut client, &role);
        assert_eq!(grants(&mut client, &role), once, "{}", duty.name);
        for _ in 0..2 {
            duty.revoke(&mut client, &role);
            assert_eq!(grants(&mut client, &role), [""; 0], "{}", duty.name);
        }
    }
}

fn grants_of_each(client: &mut Client) -> Vec<(Duty, Vec<String>)> {
    let holders = holders(client);
    holders.into_iter().map(|(duty, role)| (duty, grants(client, &role))).collect()
}

#[test]
fn of_two_duties_each_is_left_whole_when_the_other_is_revoked() {
    let mut client = database().connect();
    let alone = grants_of_each(&mut client);
    let both = role(&mut client, "");
    for (revoked, _) in &alone {
        for (kept, granted) in alone.iter().filter(|(kept, _)| kept.name != revoked.name) {
            revoked.grant(&mut client, &both);
            kept.grant(&mut client, &both);
            revoked.revoke(&mut client, &both);
            assert_eq!(grants(&mut client, &both), *granted, "without {}", revoked.name);
            kept.revoke(&mut client, &both);
            assert_eq!(grants(&mut client, &both), [""; 0], "{} {}", revoked.name, kept.name);
        }
    }
}

#[test]
fn of_all_duties_one_after_the_other_can_be_revoked() {
    let mut client = database().connect();
    let alone = grants_of_each(&mut client);
    let role = role(&mut client, "");
    alone.iter().for_each(|(duty, _)| duty.grant(&mut client, &role));
    for revoked in 1..=alone.len() {
        alone[revoked - 1].0.revoke(&mut client, &role);
        let left: BTreeSet<&String> = alone[revoked..].iter().flat_map(|(_, all)| all).collect();
        assert_eq!(grants(&mut client, &role).iter().collect::<BTreeSet<_>>(), left);
    }
}

#[test]
fn revoking_a_duty_that_a_role_does_not_have_takes_nothing() {
    let mut client = database().connect();
    for (duty, role) in everybody(&mut client) {
        let granted = grants(&mut client, &role);
        for other in DUTIES.iter().filter(|other| other.name != duty.name) {
            other.revoke(&mut client, &role);
            assert_eq!(grants(&mut client, &role), granted, "{} of a {}", other.name, duty.name);
        }
    }
}

#[test]
fn revoking_leaves_what_was_granted_by_hand() {
    let mut client = database().connect();
    let role = role(&mut client, "");
    let revoke_all =
        |client: &mut Client| DUTIES.iter().for_each(|duty| duty.revoke(client, &role));
    let select = format!("GRANT SELECT, UPDATE (reason) ON customers.events TO {role}");
    client.batch_execute(&select).unwrap();
    let by_hand = grants(&mut client, &role);
    DUTIES[0].grant(&mut client, &role);
    revoke_all(&mut client);
    assert_eq!(grants(&mut client, &role), by_hand);

    // Parts of duties that it does not have.
    client
        .batch_execute(&format!(
            "GRANT USAGE ON SCHEMA customers TO {role};
             GRANT EXECUTE ON FUNCTION customers.get_customer, customers.read_events,
                                       customers.export_customer TO {role}"
        ))
        .unwrap();
    let by_hand = grants(&mut client, &role);
    revoke_all(&mut client);
    assert_eq!(grants(&mut client, &role), by_hand);
}

/// A column privilege that was granted by hand does not make a role a reader.
#[test]
fn revoking_writer_takes_reading_although_a_column_was_granted_by_hand() {
    let mut client = database().connect();
    let role = role(&mut client, "");
    let writer = &DUTIES[0];
    let by_hand = format!("GRANT SELECT (customer_id) ON customers.customers TO {role}");
    client.batch_execute(&by_hand).unwrap();
    writer.grant(&mut client, &role);
    writer.revoke(&mut client, &role);
    let reads = "SELECT has_column_privilege($1, 'customers.customers', 'email', 'SELECT')";
    assert!(!one::<bool>(&mut client, reads, &[&role]));
}

/// The owner holds everything without a duty, and must keep it: functions run with the owner's rights.
#[test]
fn revoking_a_duty_from_the_owner_takes_nothing() {
    let mut client = database().connect();
    let before = grants(&mut client, "postgres");
    assert!(!before.is_empty());
    for duty in &DUTIES {
        duty.revoke(&mut client, "postgres");
        assert_eq!(grants(&mut client, "postgres"), before, "{}", duty.name);
    }
}

#[test]
fn a_duty_of_a_group_is_its_members_and_not_theirs_to_lose() {
    let database = seeded();
    let mut owner = database.connect();
    let (group, reader) = (role(&mut owner, ""), &DUTIES[1]);
    reader.grant(&mut owner, &group);
    let member = role(&mut owner, &format!("IN ROLE {group}"));
    let list = "SELECT FROM customers.list_customers()";
    assert_eq!(outcome(&mut database.connect_as(&member), list), "00000");
    let granted = grants(&mut owner, &group);
    reader.revoke(&mut owner, &member);
    assert_eq!(grants(&mut owner, &group), granted);
    assert_eq!(outcome(&mut database.connect_as(&member), list), "00000");
}

#[test]
fn what_is_no_duty_or_no_role_is_refused_with_the_list_of_duties() {
    let mut client = database().connect();
    let somebody = role(&mut client, "");
    for function in ["grant_access", "revoke_access"] {
        for arguments in [
            format!("'{somebody}', 'admin'"),
            format!("'{somebody}', 'Writer'"),
            format!("'{somebody}', 'writer '"),
            format!("'{somebody}', ''"),
            format!("'{somebody}', NULL"),
            "NULL, 'writer'".to_owned(),
            "NULL, NULL".to_owned(),
            "4294967295::oid::regrole, 'writer'".to_owned(),
            "1::oid::regrole, 'writer'".to_owned(),
            // PUBLIC in an access control list.
            "'-', 'writer'".to_owned(),
            "0::oid::regrole, 'writer'".to_owned(),
        ] {
            let call = format!("SELECT customers.{function}({arguments})");
            let hint = refusal(client.batch_execute(&call)).hint().unwrap_or_default().to_owned();
            for duty in &DUTIES {
                assert!(hint.contains(duty.name), "{call}: {hint}");
            }
            assert_refused(client.batch_execute(&call), "22023", &[]);
        }
    }
    assert_eq!(grants(&mut client, &somebody), [""; 0]);
    assert_eq!(grants(&mut client, PUBLIC), [""; 0]);
}

#[test]
fn only_the_owner_and_superusers_grant_and_revoke() {
    let database = database();
    let mut owner = database.connect();
    let subject = role(&mut owner, "");
    let superuser = role(&mut owner, "SUPERUSER");
    let mut superuser = database.connect_as(&superuser);
    DUTIES.iter().for_each(|duty| duty.grant(&mut superuser, &subject));
    let granted = grants(&mut owner, &subject);
    let mut strangers: Vec<String> =
        everybody(&mut owner).into_iter().map(|(_, stranger)| stranger).collect();
    let creator = role(&mut owner, "CREATEROLE");
    let grant_all = format!("GRANT ALL ON DATABASE {} TO {creator}", database.name);
    owner.batch_execute(&grant_all).unwrap();
    strangers.push(creator);
    for stranger in strangers {
        let mut client = database.connect_as(&stranger);
        for duty in &DUTIES {
            for call in [GRANT, REVOKE] {
                let error = refusal(client.execute(call, &[&subject, &duty.name]));
                assert_eq!(error.code().code(), "42501", "{stranger} {call}: {error:?}");
            }
        }
    }
    assert_eq!(grants(&mut owner, &subject), granted);
    DUTIES.iter().for_each(|duty| duty.revoke(&mut superuser, &subject));
    assert_eq!(grants(&mut owner, &subject), [""; 0]);
}

/// EXECUTE on these functions does not suffice: only the owner can grant a duty.
#[test]
fn who_may_call_every_function_gives_and_takes_nothing_all_the_same() {
    let database = database();
    let mut owner = database.connect();
    let (subject, caller) = (role(&mut owner, ""), caller(&mut owner));
    DUTIES.iter().for_each(|duty| duty.grant(&mut owner, &subject));
    let granted = grants(&mut owner, &subject);
    let own = grants(&mut owner, &caller);
    let mut client = database.connect_as(&caller);
    for duty in &DUTIES {
        for (call, role) in [(GRANT, &caller), (REVOKE, &subject)] {
            let error = refusal(client.execute(call, &[role, &duty.name]));
            assert_eq!(error.code().code(), "42501", "{call} {}: {error:?}", duty.name);
        }
    }
    assert_eq!(grants(&mut owner, &subject), granted);
    assert_eq!(grants(&mut owner, &caller), own);
}

#[test]
fn an_owner_who_is_no_superuser_grants_and_revokes() {
    let database = server().empty_database("");
    let mut superuser = database.connect();
    let installer = role(&mut superuser, "SUPERUSER");
    database.connect_as(&installer).batch_execute("CREATE EXTENSION customer_db").unwrap();
    superuser.batch_execute(&format!("ALTER ROLE {installer} NOSUPERUSER")).unwrap();
    let mut owner = database.connect_as(&installer);
    let subject = role(&mut superuser, "");
    for duty in &DUTIES {
        duty.grant(&mut owner, &subject);
    }
    assert_eq!(
        outcome(&mut database.connect_as(&subject), "SELECT FROM customers.list_customers()"),
        "00000"
    );
    for duty in &DUTIES {
        duty.revoke(&mut owner, &subject);
    }
    assert_eq!(grants(&mut superuser, &subject), [""; 0]);
}

#[test]
fn a_role_may_have_any_name() {
    let database = seeded();
    let mut owner = database.connect();
    for name in [
        "two words",
        "UPPER",
        "PUBLIC",
        "select",
        "current_user",
        "o'neill",
        "double\"quote",
        "x; DROP TABLE customers.customers; --",
        "x TO PUBLIC --",
        "back\\slash",
        "%s %I $1",
        "naïve ☃",
        "1",
        &"long".repeat(15),
    ] {
        // Roles belong to the cluster, which other tests share.
        let quoted: String = one(&mut owner, "SELECT quote_ident($1)", &[&name]);
        owner.batch_execute(&format!("CREATE ROLE {quoted} LOGIN")).unwrap();
        for duty in &DUTIES {
            duty.grant(&mut owner, &quoted);
        }
        let mut client = database.connect_as(name);
        assert_eq!(
            outcome(&mut client, "SELECT FROM customers.list_customers()"),
            "00000",
            "{name}"
        );
        for duty in &DUTIES {
            duty.revoke(&mut owner, &quoted);
        }
        assert_eq!(grants(&mut owner, &quoted), [""; 0], "{name}");
        assert_eq!(
            outcome(&mut client, "SELECT FROM customers.list_customers()"),
            "42501",
            "{name}"
        );
        owner.batch_execute(&format!("DROP ROLE {quoted}")).unwrap();
    }
    assert_eq!(grants(&mut owner, PUBLIC), [""; 0]);
}

#[test]
fn a_dump_carries_duties_and_they_can_be_revoked_where_it_is_restored() {
    let database = seeded();
    let mut owner = database.connect();
    let holders = holders(&mut owner);
    let (both, writer, reader) = (role(&mut owner, ""), &DUTIES[0], &DUTIES[1]);
    writer.grant(&mut owner, &both);
    reader.grant(&mut owner, &both);
    let copy = database.copy();
    let mut copied = copy.connect();
    assert_eq!(grants(&mut copied, PUBLIC), [""; 0]);
    writer.revoke(&mut copied, &both);
    assert_eq!(grants(&mut copied, &both), grants(&mut owner, &holders[1].1), "a reader");
    for (duty, role) in &holders {
        assert_eq!(grants(&mut copied, role), grants(&mut owner, role), "{}", duty.name);
        duty.revoke(&mut copied, role);
        assert_eq!(grants(&mut copied, role), [""; 0], "{}", duty.name);
    }
}

#[test]
fn a_role_that_is_dropped_takes_its_duties_along() {
    let mut client = database().connect();
    for (_, role) in holders(&mut client) {
        client.batch_execute(&format!("DROP OWNED BY {role}; DROP ROLE {role}")).unwrap();
    }
}

#[test]
fn no_role_is_not_taken_for_one() {
    let mut client = database().connect();
    let before: Vec<_> = holders(&mut client)
        .into_iter()
        .map(|(_, role)| (grants(&mut client, &role), role))
        .collect();
    for function in ["grant_access", "revoke_access"] {
        for duty in &DUTIES {
            for no_role in ["'-'", "0"] {
                let call = format!("SELECT customers.{function}({no_role}, '{}')", duty.name);
                assert_refused(client.batch_execute(&call), "22023", &[]);
            }
        }
    }
    for (held, role) in before {
        assert_eq!(grants(&mut client, &role), held);
    }
}

#[test]
fn an_owner_who_is_given_a_duty_and_loses_it_stays_the_owner() {
    for owns_schema in [true, false] {
        let database = database();
        let mut client = database.connect();
        let owner = role(&mut client, "");
        let own_schema = format!("ALTER SCHEMA customers OWNER TO {owner}");
        client
            .batch_execute(&format!(
                "DO $$ DECLARE relation regclass; BEGIN
                     FOR relation IN SELECT oid FROM pg_class
                                      WHERE relnamespace = 'customers'::regnamespace AND relkind IN ('r', 'v')
                     LOOP EXECUTE format('ALTER TABLE %s OWNER TO {owner}', relation); END LOOP;
                 END $$;
                 {}; ALTER DATABASE {} OWNER TO {owner};
                 SELECT customers.attach()",
                if owns_schema { &own_schema } else { "" },
                database.name
            ))
            .unwrap();
        let complaints =
            "SELECT coalesce(string_agg(detail, '; '), '') FROM customers.verify() WHERE NOT ok";
        for duty in &DUTIES {
            duty.grant(&mut client, &owner);
            let complete = "SELECT bool_and(complete) FROM customers.duties()";
            assert!(one::<bool>(&mut client, complete, &[]), "{}", duty.name);
            duty.revoke(&mut client, &owner);
            call(&mut database.connect(), "register_customer($1)", &[&address()]).unwrap();
            assert_eq!(one::<String>(&mut client, complaints, &[]), "", "{}", duty.name);
        }
    }
}
