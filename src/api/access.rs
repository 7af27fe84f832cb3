//! Duties: named sets of privileges. They are granted as PostgreSQL privileges, so pg_dump and DROP OWNED
//! handle them.

use crate::postgres::error::{OrRaise, entry_point};
use crate::postgres::statement::{Statement, connected, run_script as run};
use crate::postgres::text::Text;
use crate::refusal::Refusal;
use pgrx::pg_sys::BuiltinOid::OIDOID;
use pgrx::prelude::*;

/// Privileges are written as in GRANT and REVOKE, and as regprocedure and regclass print names.
struct Duty {
    name: &'static str,
    /// The first is no other duty's: a role that has it has the duty.
    privileges: &'static [&'static str],
    /// Privileges that other duties have too.
    shared: &'static [&'static str],
}

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
        // Implied by the shared SELECT. Distinguishes a reader from a writer, which may read too.
        privileges: &["SELECT (version) ON TABLE customers.customers"],
        shared: READING,
    },
    Duty {
        name: "support",
        privileges: &[
            "EXECUTE ON FUNCTION customers.customer_timeline(uuid)",
            "SELECT ON TABLE customers.customers_masked",
        ],
        shared: &[],
    },
    Duty {
        name: "consumer",
        privileges: &[
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
            "EXECUTE ON FUNCTION customers.customer_history(uuid)",
            "SELECT ON TABLE customers.events",
            "SELECT ON TABLE customers.erasures",
        ],
        shared: &[],
    },
    Duty {
        name: "privacy",
        privileges: &[
            "EXECUTE ON FUNCTION customers.erase_customer(uuid,text)",
            "EXECUTE ON FUNCTION customers.export_customer(uuid)",
            "EXECUTE ON FUNCTION customers.reapply_erasures()",
        ],
        shared: &[],
    },
    Duty {
        name: "operator",
        privileges: &["EXECUTE ON FUNCTION customers.prune_events(interval,integer)"],
        shared: &[],
    },
];

#[pg_extern(sql = false)]
fn grant_access(role: Option<pg_sys::Oid>, duty: Option<Text<'_>>) {
    entry_point(|| {
        let (duty, role) = (find_duty(duty).or_raise(), Role::find(role).or_raise());
        expect_owner().or_raise();
        run(&format!("GRANT USAGE ON SCHEMA customers TO {}", role.name));
        for privilege in duty.all() {
            run(&format!("GRANT {privilege} TO {}", role.name));
        }
    });
}

#[pg_extern(sql = false)]
fn revoke_access(role: Option<pg_sys::Oid>, duty: Option<Text<'_>>) {
    entry_point(|| {
        let (duty, role) = (find_duty(duty).or_raise(), Role::find(role).or_raise());
        expect_owner().or_raise();
        if !role.has(duty) {
            return;
        }
        let others: Vec<&Duty> =
            DUTIES.iter().filter(|other| other.name != duty.name && role.has(other)).collect();
        let needed = |privilege: &str| others.iter().any(|other| other.shared.contains(&privilege));
        for privilege in duty.all().filter(|privilege| !needed(privilege)) {
            run(&format!("REVOKE {privilege} FROM {}", role.name));
        }
        if others.is_empty() {
            run(&format!("REVOKE USAGE ON SCHEMA customers FROM {}", role.name));
        }
    });
}

impl Duty {
    fn all(&self) -> impl Iterator<Item = &'static str> {
        self.privileges.iter().chain(self.shared).copied()
    }
}

/// Without this check, PostgreSQL would only warn a caller that lacks the grant option.
fn expect_owner() -> Result<(), Refusal> {
    static OWNS: Statement = Statement::new(
        c"SELECT pg_has_role(extowner, 'USAGE') FROM pg_extension WHERE extname = 'customer_db'",
        &[],
    );
    if OWNS.read_value(&[]) == Some(true) { Ok(()) } else { Err(Refusal::NotTheOwner) }
}

fn find_duty(name: Option<Text>) -> Result<&'static Duty, Refusal> {
    let name = name.filter(|name| name.octets() <= LONGEST_NAME).ok_or(Refusal::UnknownDuty)?;
    let name = name.utf8("duty")?;
    DUTIES.iter().find(|duty| duty.name == name).ok_or(Refusal::UnknownDuty)
}

/// In octets; no duty has a longer name.
const LONGEST_NAME: usize = 64;

struct Role {
    /// Quoted where necessary.
    name: String,
    /// The privileges granted to it on objects of the schema: neither inherited ones, nor those of an
    /// object's owner.
    privileges: Vec<String>,
}

impl Role {
    fn find(oid: Option<pg_sys::Oid>) -> Result<Self, Refusal> {
        static NAME: Statement =
            Statement::new(c"SELECT quote_ident(rolname) FROM pg_roles WHERE oid = $1", &[OIDOID]);
        static PRIVILEGES: Statement = Statement::new(
            c"SELECT privilege_type || ' ON FUNCTION ' || pg_proc.oid::regprocedure
                FROM pg_proc, aclexplode(proacl)
               WHERE pronamespace = 'customers'::regnamespace AND grantee = $1 AND proowner <> $1
              UNION ALL
              SELECT privilege_type || ' ON TABLE ' || pg_class.oid::regclass
                FROM pg_class, aclexplode(relacl)
               WHERE relnamespace = 'customers'::regnamespace AND grantee = $1 AND relowner <> $1
              UNION ALL
              SELECT privilege_type || ' (' || attname || ') ON TABLE ' || attrelid::regclass
                FROM pg_attribute JOIN pg_class ON pg_class.oid = attrelid, aclexplode(attacl)
               WHERE relnamespace = 'customers'::regnamespace AND grantee = $1",
            &[OIDOID],
        );
        let mut name = None;
        let mut privileges = Vec::new();
        connected(|_| {
            NAME.read(&[oid.into()], |row| {
                name = row.get::<Text>(1).map(|name| name.utf8("role").map(str::to_owned));
            });
            PRIVILEGES.read(&[oid.into()], |row| {
                privileges.extend(row.get::<Text>(1).map(|name| name.lossy().into_owned()));
            });
        });
        Ok(Self { name: name.ok_or(Refusal::UnknownRole)??, privileges })
    }

    fn has(&self, duty: &Duty) -> bool {
        self.privileges.iter().any(|privilege| privilege == duty.privileges[0])
    }
}
