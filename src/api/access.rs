//! Duties: named sets of privileges. They are granted as PostgreSQL privileges, so pg_dump and DROP OWNED
//! handle them.

use crate::customer::data_owner::refuse_read_only;
use crate::postgres::error::{OrRaise, entry_point};
use crate::postgres::result_set::ResultSet;
use crate::postgres::statement::{Statement, connected, run_script as run};
use crate::postgres::text::Text;
use crate::refusal::Refusal;
use pgrx::pg_sys::BuiltinOid::{BOOLOID, OIDOID, TEXTOID};
use pgrx::prelude::*;

/// Privileges are written as in GRANT and REVOKE, and as regprocedure and regclass print names.
struct Duty {
    name: &'static str,
    /// The first marks the duty: a role that has it has the duty. It permits nothing, since the table has no key for a
    /// foreign key to reference; and it stays when the functions are dropped with the extension, or left out of a dump.
    privileges: &'static [&'static str],
    /// Privileges that other duties have too.
    shared: &'static [&'static str],
}

/// By which 0.1.0 distinguished a reader from a writer, which may read too.
const FORMER_MARK_OF_READER: &str = "SELECT (version) ON TABLE customers.customers";
const PRUNING: &str = "EXECUTE ON FUNCTION customers.prune_events(interval,integer)";
/// Every duty has it.
const ENTERING: &str = "USAGE ON SCHEMA customers";
const READING: &[&str] = &[
    "EXECUTE ON FUNCTION customers.get_customer(uuid)",
    "EXECUTE ON FUNCTION customers.find_customer(text)",
    "EXECUTE ON FUNCTION customers.list_customers(text,uuid,integer)",
    "EXECUTE ON FUNCTION customers.search_customers(text,integer)",
    "EXECUTE ON FUNCTION customers.canonical_email(text)",
    "EXECUTE ON FUNCTION customers.canonical_name(text)",
    "SELECT ON TABLE customers.customers",
];

const DUTIES: [Duty; 7] = [
    Duty {
        name: "writer",
        privileges: &[
            "REFERENCES (writer) ON TABLE customers.duty_marks",
            "EXECUTE ON FUNCTION customers.register_customer(text,text,uuid)",
            "EXECUTE ON FUNCTION customers.update_customer(uuid,text,text,text,bigint)",
            "EXECUTE ON FUNCTION customers.patch_customer(uuid,jsonb,bigint)",
            "EXECUTE ON FUNCTION customers.set_status(uuid,text,text,bigint)",
            "EXECUTE ON FUNCTION customers.import_customers(jsonb)",
        ],
        shared: READING,
    },
    Duty {
        name: "reader",
        privileges: &["REFERENCES (reader) ON TABLE customers.duty_marks"],
        shared: READING,
    },
    Duty {
        name: "support",
        privileges: &[
            "REFERENCES (support) ON TABLE customers.duty_marks",
            "EXECUTE ON FUNCTION customers.customer_timeline(uuid)",
            "SELECT ON TABLE customers.customers_masked",
        ],
        shared: &[],
    },
    Duty {
        name: "consumer",
        privileges: &[
            "REFERENCES (consumer) ON TABLE customers.duty_marks",
            "EXECUTE ON FUNCTION customers.subscribe(text,bigint)",
            "EXECUTE ON FUNCTION customers.fetch_events(text,integer)",
            "EXECUTE ON FUNCTION customers.acknowledge(text,bigint)",
            "EXECUTE ON FUNCTION customers.read_events(bigint,integer)",
            "EXECUTE ON FUNCTION customers.feed_position()",
            "EXECUTE ON FUNCTION customers.unsubscribe(text)",
        ],
        shared: &[],
    },
    Duty {
        name: "auditor",
        privileges: &[
            "REFERENCES (auditor) ON TABLE customers.duty_marks",
            "EXECUTE ON FUNCTION customers.customer_history(uuid)",
            "SELECT ON TABLE customers.events",
            "SELECT ON TABLE customers.erasures",
        ],
        shared: &[],
    },
    Duty {
        name: "privacy",
        privileges: &[
            "REFERENCES (privacy) ON TABLE customers.duty_marks",
            "EXECUTE ON FUNCTION customers.erase_customer(uuid,text)",
            "EXECUTE ON FUNCTION customers.export_customer(uuid)",
            "EXECUTE ON FUNCTION customers.reapply_erasures()",
        ],
        shared: &[],
    },
    Duty {
        name: "operator",
        privileges: &[
            "REFERENCES (operator) ON TABLE customers.duty_marks",
            "EXECUTE ON FUNCTION customers.verify()",
            "EXECUTE ON FUNCTION customers.metrics()",
            PRUNING,
        ],
        shared: &[],
    },
];

#[pg_extern(sql = false)]
fn grant_access(role: Option<pg_sys::Oid>, duty: Option<Text<'_>>) {
    entry_point(|| {
        refuse_read_only();
        let (duty, role) = (find_duty(duty).or_raise(), Role::find(role).or_raise());
        expect_owner().or_raise();
        expect_marks().or_raise();
        run(&format!("GRANT {ENTERING} TO {}", role.quoted));
        for privilege in duty.all() {
            run(&format!("GRANT {privilege} TO {}", role.quoted));
        }
    });
}

#[pg_extern(sql = false)]
fn revoke_access(role: Option<pg_sys::Oid>, duty: Option<Text<'_>>) {
    entry_point(|| {
        refuse_read_only();
        let (duty, role) = (find_duty(duty).or_raise(), Role::find(role).or_raise());
        expect_owner().or_raise();
        expect_marks().or_raise();
        if !role.has(duty) {
            return;
        }
        let others: Vec<&Duty> =
            DUTIES.iter().filter(|other| other.name != duty.name && role.has(other)).collect();
        let needed = |privilege: &str| others.iter().any(|other| other.shared.contains(&privilege));
        // An owner keeps what it has as the owner.
        let stays =
            |privilege: &str| needed(privilege) || privilege != duty.mark() && role.owns(privilege);
        for privilege in duty.all().filter(|privilege| !stays(privilege)) {
            run(&format!("REVOKE {privilege} FROM {}", role.quoted));
        }
        if others.is_empty() && !role.owns_anything() {
            run(&format!("REVOKE {ENTERING} FROM {}", role.quoted));
        }
    });
}

/// Which role has which duty, and whether it has all of its privileges.
#[pg_extern(sql = false)]
fn duties<'call>(result: ResultSet<'call>) -> ResultSet<'call> {
    entry_point(|| {
        let roles = Role::all();
        let rows = roles.iter().flat_map(|role| {
            let held = DUTIES.iter().filter(|duty| role.has(duty));
            held.map(|duty| {
                [role.name.as_str().into(), duty.name.into(), role.lacks(duty).is_none().into()]
            })
        });
        result.fill_with([TEXTOID, TEXTOID, BOOLOID], rows)
    })
}

/// Duties of which a role lacks a part, as after DROP EXTENSION … CASCADE or a restore without the extension, each with
/// the call that completes it.
pub fn incomplete_duties() -> Vec<String> {
    let mut incomplete = Vec::new();
    for role in Role::all() {
        for duty in DUTIES.iter().filter(|duty| role.has(duty)) {
            if let Some(lacking) = role.lacks(duty) {
                incomplete.push(format!(
                    "role {} has the duty {} without {lacking}: SELECT customers.grant_access({}, '{}');",
                    role.quoted, duty.name, role.literal, duty.name
                ));
            }
        }
    }
    incomplete
}

/// Marks the duties of roles that were given them before there were marks: after a restore of what 0.1.0 has made.
pub fn mark_duties() {
    for role in Role::all() {
        for duty in DUTIES.iter().filter(|duty| role.had(duty)) {
            run(&format!("GRANT {} TO {}", duty.mark(), role.quoted));
        }
    }
}

impl Duty {
    fn mark(&self) -> &'static str {
        self.privileges[0]
    }

    /// The privileges that are no other duty's, without the mark.
    fn own(&self) -> &'static [&'static str] {
        &self.privileges[1..]
    }

    fn all(&self) -> impl Iterator<Item = &'static str> {
        self.privileges.iter().chain(self.shared).copied()
    }
}

/// Refuses whoever is not the extension's owner: PostgreSQL would only warn a caller that lacks the grant option.
pub fn expect_owner() -> Result<(), Refusal> {
    static OWNS: Statement = Statement::new(
        c"SELECT pg_has_role(extowner, 'USAGE') FROM pg_extension WHERE extname = 'customer_db'",
        &[],
    );
    if OWNS.read_value(&[]) == Some(true) { Ok(()) } else { Err(Refusal::NotTheOwner) }
}

fn expect_marks() -> Result<(), Refusal> {
    if has_marks() { Ok(()) } else { Err(Refusal::OutOfDate) }
}

/// Whether the table of marks is there.
pub fn has_marks() -> bool {
    static HAS_MARKS: Statement =
        Statement::new(c"SELECT to_regclass('customers.duty_marks') IS NOT NULL", &[]);
    HAS_MARKS.read_value(&[]) == Some(true)
}

/// The role that owns the extension.
pub fn extension_owner() -> Option<pg_sys::Oid> {
    static OWNER: Statement =
        Statement::new(c"SELECT extowner FROM pg_extension WHERE extname = 'customer_db'", &[]);
    OWNER.read_value(&[])
}

fn find_duty(name: Option<Text>) -> Result<&'static Duty, Refusal> {
    let name = name.filter(|name| name.octets() <= LONGEST_NAME).ok_or(Refusal::UnknownDuty)?;
    let name = name.utf8("duty")?;
    DUTIES.iter().find(|duty| duty.name == name).ok_or(Refusal::UnknownDuty)
}

/// In octets; no duty has a longer name.
const LONGEST_NAME: usize = 64;

struct Role {
    name: String,
    /// The name, quoted where necessary.
    quoted: String,
    /// That as a literal.
    literal: String,
    /// The privileges granted to it on the schema and objects in it, not inherited ones; and of what it owns, OWNER in
    /// place of the privileges that come with that.
    privileges: Vec<String>,
}

impl Role {
    fn find(oid: Option<pg_sys::Oid>) -> Result<Self, Refusal> {
        // '-' is a regrole without a role.
        let oid = oid.filter(|oid| *oid != pg_sys::InvalidOid).ok_or(Refusal::UnknownRole)?;
        let role = Self::list(Some(oid)).pop().ok_or(Refusal::UnknownRole)?;
        // The name is from a database of another encoding, and cannot be written here.
        let is_readable = !role.name.contains(char::REPLACEMENT_CHARACTER);
        if is_readable { Ok(role) } else { Err(Refusal::NotUtf8 { argument: "role" }) }
    }

    /// The roles that have a privilege.
    fn all() -> Vec<Self> {
        let mut roles = Self::list(None);
        roles.retain(|role| !role.privileges.is_empty());
        roles
    }

    fn list(oid: Option<pg_sys::Oid>) -> Vec<Self> {
        static ROLES: Statement = Statement::new(
            c"WITH granted (grantee, privilege) AS (
              SELECT grantee, privilege_type || ' ON SCHEMA customers'
                FROM pg_namespace, aclexplode(nspacl)
               WHERE nspname = 'customers' AND grantee <> nspowner
              UNION ALL
              SELECT grantee, privilege_type || ' ON FUNCTION ' || pg_proc.oid::regprocedure
                FROM pg_proc, aclexplode(proacl)
               WHERE pronamespace = to_regnamespace('customers') AND grantee <> proowner
              UNION ALL
              SELECT grantee, privilege_type || ' ON TABLE ' || pg_class.oid::regclass
                FROM pg_class, aclexplode(relacl)
               WHERE relnamespace = to_regnamespace('customers') AND grantee <> relowner
              UNION ALL
              SELECT grantee, privilege_type || ' (' || attname || ') ON TABLE ' || attrelid::regclass
                FROM pg_attribute JOIN pg_class ON pg_class.oid = attrelid, aclexplode(attacl)
               WHERE relnamespace = to_regnamespace('customers')
              UNION ALL
              SELECT nspowner, 'OWNER ON SCHEMA customers' FROM pg_namespace WHERE nspname = 'customers'
              UNION ALL
              SELECT proowner, 'OWNER ON FUNCTION ' || pg_proc.oid::regprocedure
                FROM pg_proc WHERE pronamespace = to_regnamespace('customers')
              UNION ALL
              SELECT relowner, 'OWNER ON TABLE ' || pg_class.oid::regclass
                FROM pg_class WHERE relnamespace = to_regnamespace('customers'))
              SELECT rolname::text, quote_ident(rolname), quote_literal(quote_ident(rolname)), privilege
                FROM pg_roles LEFT JOIN granted ON grantee = pg_roles.oid
               WHERE pg_roles.oid = $1 OR $1 IS NULL AND privilege IS NOT NULL
               ORDER BY rolname, privilege",
            &[OIDOID],
        );
        let mut roles: Vec<Self> = Vec::new();
        connected(|_| {
            ROLES.read(&[oid.into()], |row| {
                let text = |column| row.get::<String>(column);
                let (name, quoted, literal) = (text(1), text(2), text(3));
                if roles.last().map(|role| &role.name) != name.as_ref() {
                    let [name, quoted, literal] =
                        [name, quoted, literal].map(Option::unwrap_or_default);
                    roles.push(Self { name, quoted, literal, privileges: Vec::new() });
                }
                roles.last_mut().expect("pushed above").privileges.extend(text(4));
            });
        });
        roles
    }

    fn has(&self, duty: &Duty) -> bool {
        self.holds(duty.mark())
    }

    /// Whether it holds what 0.1.0 granted for a duty.
    fn had(&self, duty: &Duty) -> bool {
        let holds_all = |privileges: &[&str]| privileges.iter().all(|held| self.holds(held));
        match duty.name {
            "reader" => holds_all(READING) && self.holds(FORMER_MARK_OF_READER),
            "operator" => self.holds(PRUNING),
            _ => holds_all(duty.own()),
        }
    }

    fn holds(&self, privilege: &str) -> bool {
        self.privileges.iter().any(|held| held == privilege)
    }

    /// The first privilege of the duty that it does not hold.
    fn lacks(&self, duty: &Duty) -> Option<&'static str> {
        std::iter::once(ENTERING)
            .chain(duty.all())
            .find(|privilege| !self.holds(privilege) && !self.owns(privilege))
    }

    /// Whether it owns the schema or something in it, to which attach() then gives it access.
    fn owns_anything(&self) -> bool {
        self.privileges.iter().any(|privilege| privilege.starts_with("OWNER ON "))
    }

    /// Whether the privilege is one on an object of the role's own.
    fn owns(&self, privilege: &str) -> bool {
        let object = privilege.split_once(" ON ").map_or("", |(_, object)| object);
        self.holds(&format!("OWNER ON {object}"))
    }
}
