//! The settings, under the reserved prefix `customer_db.`.

use crate::refusal::Refusal;
use crate::rules::free_text;
use pgrx::prelude::*;
use pgrx::{GucContext, GucFlags, GucRegistry, GucSetting};
use std::collections::BTreeSet;
use std::ffi::CString;

#[derive(Clone, Copy, PartialEq, Eq, PostgresGucEnum)]
pub enum Notify {
    #[name = c"transaction"]
    Transaction,
    #[name = c"worker"]
    Worker,
    #[name = c"off"]
    Off,
}

pub static NOTIFY: GucSetting<Notify> = GucSetting::<Notify>::new(Notify::Transaction);
pub static NOTIFY_LIMIT: GucSetting<i32> = GucSetting::<i32>::new(1000);
static DATABASES: GucSetting<Option<CString>> = GucSetting::<Option<CString>>::new(None);
static ACTOR: GucSetting<Option<CString>> = GucSetting::<Option<CString>>::new(None);

/// On whose behalf the login role acts, if the application has set it. Any user may set it, also in the
/// startup packet, whose encoding PostgreSQL does not verify.
pub fn actor() -> Result<Option<String>, Refusal> {
    let Some(actor) = ACTOR.get().filter(|actor| !actor.is_empty()) else { return Ok(None) };
    if actor.count_bytes() > free_text::INPUT_LIMIT.octets {
        return Err(free_text::INPUT_LIMIT.otherwise.into());
    }
    let actor =
        actor.into_string().map_err(|_| Refusal::NotUtf8 { argument: "customer_db.actor" })?;
    free_text::check(&actor)?;
    Ok(Some(actor))
}

impl Notify {
    /// As the setting's value is written.
    pub fn name(self) -> &'static str {
        match self {
            Self::Transaction => "transaction",
            Self::Worker => "worker",
            Self::Off => "off",
        }
    }
}

/// The databases that have a notification worker.
pub fn databases() -> Vec<String> {
    let names = DATABASES.get().unwrap_or_default();
    let names = names.to_string_lossy();
    let names = names.split(',').map(str::trim).filter(|name| !name.is_empty());
    names.map(str::to_owned).collect::<BTreeSet<_>>().into_iter().collect()
}

pub fn define() {
    GucRegistry::define_enum_guc(
        c"customer_db.notify",
        c"How changes are announced on the channel \"customers\".",
        c"\"transaction\" sends a NOTIFY in the writing transaction. \"worker\" leaves them to the notification worker, which sends them right after the commit, so that writers do not wait for each other; where none runs for the database (see customer_db.databases), \"transaction\" applies. \"off\" sends none, and lets a writing transaction be prepared for two-phase commit.",
        &NOTIFY,
        GucContext::Suset,
        GucFlags::default(),
    );
    GucRegistry::define_int_guc(
        c"customer_db.notify_limit",
        c"How many events of one transaction are announced one by one.",
        c"Where a transaction records more, one notification of type \"customers-changed\" stands for the rest.",
        &NOTIFY_LIMIT,
        0,
        i32::MAX,
        GucContext::Suset,
        GucFlags::default(),
    );
    // A setting of context postmaster can only be defined while the server starts.
    // SAFETY: a variable of this process, which has one thread.
    let starting = unsafe { pg_sys::process_shared_preload_libraries_in_progress };
    GucRegistry::define_string_guc(
        c"customer_db.databases",
        c"The databases that have a notification worker, separated by commas.",
        c"Read when the server starts, with customer_db in shared_preload_libraries. A database need not be there yet.",
        &DATABASES,
        if starting { GucContext::Postmaster } else { GucContext::Sighup },
        GucFlags::default(),
    );
    GucRegistry::define_string_guc(
        c"customer_db.actor",
        c"Who is acting on behalf of the login role.",
        c"Recorded with each event beside the login role. On a pooled connection use SET LOCAL, or the next client inherits it.",
        &ACTOR,
        GucContext::Userset,
        GucFlags::default(),
    );
    // SAFETY: the name ends in NUL, and PostgreSQL copies it.
    unsafe { pg_sys::MarkGUCPrefixReserved(c"customer_db".as_ptr()) }
}
