//! Changing a customer: one UPDATE that names only the columns to change.

use super::{read, read_reason, write};
use crate::customer::data_owner::as_writing_data_owner;
use crate::customer::operation::{self, Operation};
use crate::customer::profile::{Profile, profile_columns};
use crate::customer::schema::CUSTOMERS;
use crate::postgres::catalog_cache::CatalogCache;
use crate::postgres::error::{OrRaise, Protected, protect};
use crate::postgres::jsonb::{Jsonb, present};
use crate::postgres::statement::{Statement, connected, sql};
use crate::postgres::text::Text;
use crate::refusal::Refusal;
use crate::rules::status::{self, Status};
use crate::rules::{email, name};
use pgrx::Uuid;
use pgrx::pg_sys::BuiltinOid::{self, INT8OID, TEXTOID, UUIDOID};
use pgrx::prelude::*;
use serde::Deserialize;

/// Far more than a patch of all three fields at their maximum length.
const MAX_PATCH_OCTETS: usize = 64 * 1024;

#[pg_extern(sql = false)]
fn update_customer(
    customer_id: Option<Uuid>,
    email: Option<Text<'_>>,
    name: Option<Text<'_>>,
    status: Option<Text<'_>>,
    expected_version: Option<i64>,
) -> Profile {
    as_writing_data_owner(|| {
        let change = Change {
            email: read("email", email, email::INPUT_LIMIT).or_raise(),
            name: read("name", name, name::INPUT_LIMIT).or_raise().map(Some),
            status: read("status", status, status::INPUT_LIMIT).or_raise(),
        };
        change.apply(customer_id, expected_version).or_raise()
    })
}

#[pg_extern(sql = false)]
fn patch_customer(
    customer_id: Option<Uuid>,
    patch: Option<Jsonb<'_>>,
    expected_version: Option<i64>,
) -> Profile {
    as_writing_data_owner(|| {
        let patch = patch.ok_or(Refusal::Missing { argument: "patch" }).or_raise();
        Change::from_patch(patch).or_raise().apply(customer_id, expected_version).or_raise()
    })
}

#[pg_extern(sql = false)]
fn set_status(
    customer_id: Option<Uuid>,
    status: Option<Text<'_>>,
    reason: Option<Text<'_>>,
    expected_version: Option<i64>,
) -> Profile {
    as_writing_data_owner(|| {
        let id = customer_id.ok_or(Refusal::Missing { argument: "customer_id" }).or_raise();
        let status = read("status", status, status::INPUT_LIMIT).or_raise();
        let status = Some(status.ok_or(Refusal::Missing { argument: "status" }).or_raise());
        let reason = read_reason(reason).or_raise().map(|reason| (id, reason.to_owned()));
        operation::during(Operation { reason, ..Default::default() }, || {
            let change = Change { status, ..Default::default() };
            change.apply(customer_id, expected_version).or_raise()
        })
    })
}

/// The new values, named as in a patch; None leaves a field unchanged.
#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct Change<'a> {
    #[serde(default, deserialize_with = "present", borrow)]
    email: Option<&'a str>,
    /// `Some(None)` clears the name.
    #[serde(default, deserialize_with = "present", borrow)]
    name: Option<Option<&'a str>>,
    #[serde(default, deserialize_with = "present", borrow)]
    status: Option<&'a str>,
}

impl<'a> Change<'a> {
    fn from_patch(patch: Jsonb<'a>) -> Result<Self, Refusal> {
        if patch.octets() > MAX_PATCH_OCTETS {
            return Err(Refusal::PatchTooLong);
        }
        let patch = patch.root();
        if patch.is_string() {
            return Err(Refusal::EncodedTwice { argument: "patch" });
        }
        if !patch.is_object() {
            return Err(Refusal::EmptyPatch);
        }
        let change = Self::deserialize(patch)?;
        let is_empty = change.email.is_none() && change.name.is_none() && change.status.is_none();
        if is_empty { Err(Refusal::EmptyPatch) } else { Ok(change) }
    }

    fn apply(
        self,
        customer_id: Option<Uuid>,
        expected_version: Option<i64>,
    ) -> Result<Profile, Refusal> {
        let customer_id = customer_id.ok_or(Refusal::Missing { argument: "customer_id" })?;
        let name = self.name.flatten();
        protect(Protected::Call, [self.email, name, None, None]);
        let email = self.email.map(email::canonical).transpose()?;
        name.map(name::canonical).transpose()?;
        self.status.map(Status::parse).transpose()?;
        let params = [
            customer_id.into(),
            email.as_deref().into(),
            name.into(),
            self.status.into(),
            expected_version.into(),
        ];
        protect_stored(customer_id);
        let [leaving_email, changing_email] = self.statements();
        let change = || {
            write(leaving_email, &params)
                .or_else(|| email.is_some().then(|| write(changing_email, &params)).flatten())
        };
        if let Some(changed) = change() {
            return Ok(changed);
        }
        match (expected_version, current_version(customer_id)) {
            (Some(expected), Some(current)) if expected != current => {
                Err(Refusal::VersionConflict { expected, current })
            }
            // It may have been registered after the first look.
            (_, Some(_)) => change().ok_or(Refusal::NotWritten),
            (_, None) => Err(Refusal::NoCustomer),
        }
    }

    /// Two UPDATEs. The first is for a customer whose address does not change; it writes no row if the
    /// address would change. The second changes the address.
    ///
    /// PostgreSQL chooses the row lock by the columns that an UPDATE names. Naming the address, which is a
    /// key, conflicts with every transaction that references the customer by a foreign key, and deadlocks
    /// with those that then change it.
    fn statements(&self) -> [&'static Statement; 2] {
        macro_rules! update {
            ($set:literal) => {
                Statement::new(
                    sql!(
                        "UPDATE customers.customers SET ",
                        $set,
                        " WHERE customer_id = $1 AND ($5 IS NULL OR version = $5)
                            AND ($2 IS NULL OR email = $2)
                          RETURNING ",
                        profile_columns!()
                    ),
                    &TYPES,
                )
            };
            (email $set:literal) => {
                Statement::new(
                    sql!(
                        "UPDATE customers.customers SET email = $2",
                        $set,
                        " WHERE customer_id = $1 AND ($5 IS NULL OR version = $5)
                          RETURNING ",
                        profile_columns!()
                    ),
                    &TYPES,
                )
            };
        }
        const TYPES: [BuiltinOid; 5] = [UUIDOID, TEXTOID, TEXTOID, TEXTOID, INT8OID];
        static NOTHING: [Statement; 2] = [update!("status = status"), update!(email "")];
        static NAME: [Statement; 2] = [update!("name = $3"), update!(email ", name = $3")];
        static STATUS: [Statement; 2] = [update!("status = $4"), update!(email ", status = $4")];
        static BOTH: [Statement; 2] =
            [update!("name = $3, status = $4"), update!(email ", name = $3, status = $4")];
        match (self.name.is_some(), self.status.is_some()) {
            (false, false) => &NOTHING,
            (true, false) => &NAME,
            (false, true) => &STATUS,
            (true, true) => &BOTH,
        }
        .each_ref()
    }
}

/// If another BEFORE trigger fires before the guard, which would do the same, remembers the stored values,
/// so that the trigger's error message cannot disclose them.
fn protect_stored(customer_id: Uuid) {
    static STORED: Statement = Statement::new(
        c"SELECT email, name FROM customers.customers WHERE customer_id = $1",
        &[UUIDOID],
    );
    thread_local! {
        static KNOWN: CatalogCache<pg_sys::Oid, bool> = const { CatalogCache::new() };
    }
    let look_up = || CUSTOMERS.open(pg_sys::RowExclusiveLock).has_trigger_before(c"guard");
    if !KNOWN.with(|known| known.get(CUSTOMERS.oid(), look_up)) {
        return;
    }
    connected(|_| {
        STORED.run(&[customer_id.into()], |row| {
            let text = |column| row.get::<Text>(column).map(Text::lossy);
            let (email, name) = (text(1), text(2));
            protect(Protected::Row, [email.as_deref(), name.as_deref(), None, None]);
        });
    });
}

fn current_version(customer_id: Uuid) -> Option<i64> {
    static VERSION: Statement = Statement::new(
        c"SELECT version FROM customers.customers WHERE customer_id = $1",
        &[UUIDOID],
    );
    VERSION.value(&[customer_id.into()])
}
