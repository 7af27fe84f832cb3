//! Every refusal: its SQLSTATE, its message and what to do about it. None holds an address or a name.

use crate::rules::email::EmailError;
use crate::rules::name::NameError;
use crate::rules::status::UnknownStatus;
use pgrx::pg_sys;
use pgrx::pg_sys::panic::CaughtError;
use pgrx::prelude::*;
use std::ffi::{CStr, CString, c_char, c_int};
use std::panic::{AssertUnwindSafe, Location};
use thiserror::Error;

/// What no row of customers.customers may be.
macro_rules! broken_customer {
    () => {
        "customers.broken_rule(email, name, status) IS NOT NULL OR customer_id IS NULL \
         OR registered_at IS NULL OR registered_at > now() OR updated_at IS NULL \
         OR version IS NULL OR version < 1"
    };
}
pub(crate) use broken_customer;

#[derive(Debug, Error)]
pub enum Refusal {
    #[error(transparent)]
    Email(#[from] EmailError),
    #[error(transparent)]
    Name(#[from] NameError),
    #[error(transparent)]
    Status(#[from] UnknownStatus),
    #[error("{0} is required")]
    Missing(&'static str),
    #[error("page_size must be 1 to {max}")]
    PageSize { max: i32 },
    #[error("batch_size must be 1 to {max}")]
    BatchSize { max: i32 },
    #[error("the position is not in the feed")]
    BeyondFeed,
    #[error("older_than must not be negative")]
    Age,
    #[error("consumer must have 1 to {max} octets")]
    ConsumerName { max: usize },
    #[error("duties are the owner's to grant")]
    NotTheOwner,
    #[error("no such duty")]
    UnknownDuty,
    #[error("no such role")]
    UnknownRole,
    #[error("the feed can only be read in a READ COMMITTED transaction")]
    Isolation,
    #[error("the feed cannot be read on a standby")]
    Standby,
    #[error("no such consumer")]
    NoConsumer,
    #[error("registered_at must be a moment that has passed")]
    RegisteredInFuture,
    #[error("the e-mail address is already registered")]
    EmailTaken,
    #[error("the customer_id belongs to another customer")]
    IdTaken,
    #[error("a constraint or trigger of the table's owner keeps the customer out")]
    KeptOut,
    #[error("customers must be a JSON array")]
    NotAnArray,
    #[error("a customer must be a JSON object")]
    NotAnObject,
    #[error("customerId is not a UUID")]
    NotAUuid,
    #[error("registeredAt is not a moment")]
    NotAMoment,
    #[error("patch must be a JSON object with at least one field")]
    EmptyPatch,
    #[error("{} is not part of a customer profile", .0.as_deref().unwrap_or("a field that was given"))]
    UnknownField(Option<String>),
    #[error("{0} must be JSON text")]
    NotText(&'static str),
    #[error("{0} cannot be cleared")]
    NotClearable(&'static str),
    #[error("the account is closed")]
    Closed,
    #[error("{0} of a customer never changes")]
    Immutable(&'static str),
    #[error("this is a trigger function, for the triggers that attach() creates")]
    OnlyAsTrigger,
    #[error("the feed's sequence gives positions that were drawn before")]
    PositionsRepeat,
    #[error("customers are never deleted")]
    CustomersStay,
    #[error("events are never changed or deleted")]
    EventsStay,
    #[error("no such customer")]
    NoCustomer,
    #[error("the customer has another version")]
    VersionConflict { expected: i64, current: i64 },
    #[error("customers.{table} is not the table that customer_db works with")]
    OtherTable { table: String, lacks: String },
    #[error("a column of the schema customers has another type than it was made with")]
    OtherColumn,
    #[error("customers.profile is not the type that customer_db was installed with")]
    OtherType,
    #[error("the rules are not in force in this database")]
    NotAttached,
    #[error("a trigger has kept the customer from being written")]
    NotWritten,
    #[error("a trigger has kept the event from being recorded")]
    NotRecorded,
    #[error("customers.customers has rows that break a rule")]
    BrokenRules { rows: i64 },
    #[error("customers.customers has addresses or ids that stand more than once")]
    Shared { values: i64 },
}

impl Refusal {
    /// Names the field, unless it could be somebody's name or address.
    pub fn unknown_field(field: &str) -> Self {
        let like_an_identifier = field.len() <= 32
            && field.starts_with(|c: char| c.is_ascii_lowercase())
            && field.chars().all(|c| c.is_ascii_alphanumeric() || c == '_');
        Self::UnknownField(like_an_identifier.then(|| field.to_owned()))
    }

    pub fn sqlstate(&self) -> &'static str {
        match self {
            Self::Email(_)
            | Self::Name(_)
            | Self::Status(_)
            | Self::Missing(_)
            | Self::PageSize { .. }
            | Self::BatchSize { .. }
            | Self::BeyondFeed
            | Self::Age
            | Self::ConsumerName { .. }
            | Self::UnknownDuty
            | Self::UnknownRole
            | Self::RegisteredInFuture
            | Self::NotAnArray
            | Self::NotAnObject
            | Self::NotAUuid
            | Self::NotAMoment
            | Self::EmptyPatch
            | Self::UnknownField(_)
            | Self::NotText(_)
            | Self::NotClearable(_) => "22023",
            Self::Closed | Self::Immutable(_) | Self::CustomersStay | Self::EventsStay => "23514",
            Self::EmailTaken | Self::IdTaken | Self::KeptOut => "23505",
            Self::NotTheOwner => "42501",
            Self::OnlyAsTrigger => "39P01",
            Self::Isolation => "25001",
            Self::Standby => "25006",
            Self::NoCustomer | Self::NoConsumer => "PT404",
            Self::VersionConflict { .. } => "PT409",
            Self::OtherTable { .. }
            | Self::OtherColumn
            | Self::OtherType
            | Self::NotAttached
            | Self::NotWritten
            | Self::NotRecorded
            | Self::PositionsRepeat
            | Self::BrokenRules { .. }
            | Self::Shared { .. } => "55000",
        }
    }

    fn detail(&self) -> Option<String> {
        match self {
            Self::VersionConflict { expected, current } => {
                Some(format!("Expected version {expected}, the current version is {current}."))
            }
            Self::OtherTable { lacks, .. } => Some(format!("It lacks {lacks}.")),
            Self::BrokenRules { rows } => Some(format!("There are {rows} of them.")),
            Self::Shared { values } => Some(format!("There are {values} of them.")),
            _ => None,
        }
    }

    fn hint(&self) -> &'static str {
        match self {
            Self::Email(EmailError::Empty | EmailError::AtSign) => {
                "Give an address like name@example.com."
            }
            Self::Email(EmailError::ForbiddenCharacter) => {
                "Remove white space, control characters and characters that cannot be seen."
            }
            Self::Email(EmailError::LocalPart) => {
                "Use letters, digits and !#$%&'*+-/=?^_`{|}~ with single dots between them; \
                 quoted local parts and comments are not accepted."
            }
            Self::Email(EmailError::Domain) => {
                "Give a domain name of at least two labels, without a dot at its end; \
                 address literals are not accepted."
            }
            Self::Email(EmailError::TooLong) => "Check the address: no mail system delivers to it.",
            Self::Email(EmailError::Reserved) => "Register the customer's own address.",
            Self::Name(NameError::Empty) => "Give a name, or NULL when it is not known.",
            Self::Name(NameError::TooLong) => "Shorten the name to 200 characters.",
            Self::Name(NameError::ForbiddenCharacter) => {
                "Remove control characters, line breaks, bidirectional controls and \
                 zero-width characters."
            }
            Self::Name(NameError::NothingVisible) => "Give a name that can be seen.",
            Self::Status(_) => "Write the status in capital letters.",
            Self::Missing(_) => "Give a value that is not NULL.",
            Self::PageSize { .. } => "Ask for more than one page.",
            Self::BatchSize { .. } => "Read on from the last position of each batch.",
            Self::BeyondFeed => {
                "Give 0 or a position that was read here; after a restore or a failover that \
                 rewound the feed, copy everything again."
            }
            Self::Age => "Give an interval like '90 days'.",
            Self::ConsumerName { .. } => {
                "Name it after the service that reads, like 'search-index'."
            }
            Self::NotTheOwner => "Ask a superuser or the owner of the extension.",
            Self::UnknownDuty => {
                "Duties are writer, reader, support, consumer, auditor, privacy and operator."
            }
            Self::UnknownRole => {
                "Create it with CREATE ROLE. Duties are writer, reader, support, consumer, auditor, \
                 privacy and operator."
            }
            Self::Isolation => {
                "Read it in a transaction of its own: an older snapshot misses events."
            }
            Self::Standby => "Connect to the primary: commits arrive there in the feed's order.",
            Self::NoConsumer => "Call subscribe() first.",
            Self::RegisteredInFuture => "Leave it out for a customer who registers now.",
            Self::EmailTaken => "Find its customer with find_customer(), or give another address.",
            Self::IdTaken => {
                "Leave customer_id out, or retry with the e-mail and name it was registered with."
            }
            Self::KeptOut => "See the unique indexes and triggers of customers.customers.",
            Self::NotAnArray => "Give an array of objects, one for each customer.",
            Self::NotAnObject => "Give an object with email and what else is known.",
            Self::NotAUuid => "Give a UUID like 0b5e58a5-3c39-4f4c-9d49-0f0d8a0a1c11.",
            Self::NotAMoment => "Give date, time and offset, like 2020-02-02T20:20:02Z.",
            Self::EmptyPatch => "Give one or more of email, name and status.",
            Self::UnknownField(_) => {
                "A patch changes email, name and status; passwords belong to the identity provider."
            }
            Self::NotText(_) => "Give a JSON string.",
            Self::NotClearable(_) => {
                "Leave the field out to keep its value; null clears the name only."
            }
            Self::Closed => "A closed account can only be erased: see erase_customer().",
            Self::Immutable(_) => "Leave the column out of the UPDATE.",
            Self::CustomersStay => {
                "Close the account with set_status(), or forget the person with erase_customer()."
            }
            Self::EventsStay => {
                "Remove old events with prune_events(), personal data with erase_customer()."
            }
            Self::NoCustomer => "Check the customer_id.",
            Self::VersionConflict { .. } => {
                "Read the customer again, decide again, and give the version you have read."
            }
            Self::OtherTable { .. } => {
                "Rename it, or give it the columns that the reference lists."
            }
            Self::OtherColumn => "Give it back the type that the reference lists.",
            Self::OtherType => "Restore it: DROP EXTENSION customer_db CASCADE keeps the data.",
            Self::NotAttached => {
                "The owner of the extension calls customers.attach(), which creates tables and \
                 triggers that are missing and enables them."
            }
            Self::OnlyAsTrigger => "Call attach() to have the triggers created.",
            Self::PositionsRepeat => {
                "Set it right: ALTER SEQUENCE customers.events_position_seq CACHE 1 NO CYCLE, and \
                 setval() to the highest position."
            }
            Self::NotRecorded => "See the triggers of customers.events.",
            Self::NotWritten => "See the triggers of customers.customers.",
            Self::BrokenRules { .. } => {
                concat!(
                    "Mend them first: SELECT customer_id, customers.broken_rule(email, name, status) \
                     FROM customers.customers WHERE ",
                    broken_customer!()
                )
            }
            Self::Shared { .. } => {
                "Mend them first: SELECT customer_id, email FROM customers.customers AS customer \
                 WHERE EXISTS (SELECT FROM customers.customers AS other \
                 WHERE other.ctid <> customer.ctid \
                 AND (other.email = customer.email OR other.customer_id = customer.customer_id))"
            }
        }
    }

    /// Raises the refusal as an ERROR that leaves neither STATEMENT nor CONTEXT in the log: the one
    /// may hold the call's literals, the other the row that COPY was reading.
    #[track_caller]
    pub fn raise(self) -> ! {
        let at = Location::caller();
        report(
            self.sqlstate(),
            &c_string(self.to_string()),
            self.detail().map(c_string).as_deref(),
            &c_string(self.hint()),
            at.file_as_c_str(),
            at.line(),
        )
    }
}

pub trait OrRefuse<T> {
    /// The value, or the refusal as an ERROR.
    fn or_refuse(self) -> T;
}

impl<T, E: Into<Refusal>> OrRefuse<T> for Result<T, E> {
    #[track_caller]
    fn or_refuse(self) -> T {
        match self {
            Ok(value) => value,
            Err(why) => why.into().raise(),
        }
    }
}

fn c_string(text: impl Into<Vec<u8>>) -> CString {
    CString::new(text).expect("our own texts hold no NUL")
}

fn report(
    sqlstate: &str,
    message: &CStr,
    detail: Option<&CStr>,
    hint: &CStr,
    file: &'static CStr,
    line: u32,
) -> ! {
    // pgrx keeps these to itself, and its own reports know neither PT404 nor errhidestmt.
    unsafe extern "C-unwind" {
        fn errstart(elevel: c_int, domain: *const c_char) -> bool;
        fn errcode(sqlerrcode: c_int) -> c_int;
        fn errmsg_internal(fmt: *const c_char, ...) -> c_int;
        fn errdetail_internal(fmt: *const c_char, ...) -> c_int;
        fn errhint(fmt: *const c_char, ...) -> c_int;
        fn errhidestmt(hide: bool) -> c_int;
        fn errhidecontext(hide: bool) -> c_int;
        fn errfinish(file: *const c_char, line: c_int, function: *const c_char);
    }
    // SAFETY: the boundary catches the jump that errfinish makes, so nothing with a destructor is
    // jumped over; it also restores error_context_stack, which is emptied so that no callback can
    // add the row or the parameters at hand to the CONTEXT. PostgreSQL copies all texts but the
    // file's name, which is static.
    unsafe {
        pg_sys::ffi::pg_guard_ffi_boundary(|| {
            pg_sys::error_context_stack = std::ptr::null_mut();
            errstart(pg_sys::PGERROR as c_int, std::ptr::null());
            errcode(make_sqlstate(sqlstate));
            errmsg_internal(c"%s".as_ptr(), message.as_ptr());
            if let Some(detail) = detail {
                errdetail_internal(c"%s".as_ptr(), detail.as_ptr());
            }
            errhint(c"%s".as_ptr(), hint.as_ptr());
            errhidestmt(true);
            errhidecontext(true);
            errfinish(file.as_ptr(), line as c_int, std::ptr::null());
        })
    }
    unreachable!("errfinish returns only below ERROR")
}

/// MAKE_SQLSTATE of elog.h: six bits a character.
const fn make_sqlstate(code: &str) -> c_int {
    let code = code.as_bytes();
    assert!(code.len() == 5);
    let mut packed = 0;
    let mut i = 5;
    while i > 0 {
        i -= 1;
        packed = packed << 6 | ((code[i] - b'0') & 0x3F) as c_int;
    }
    packed
}

/// # Safety
/// `text` is null or ends in NUL, and outlives its use.
unsafe fn text<'a>(text: *const c_char) -> &'a [u8] {
    // SAFETY: promised by the caller.
    if text.is_null() { b"" } else { unsafe { CStr::from_ptr(text) }.to_bytes() }
}

const CLASS_OF_INTEGRITY: c_int = make_sqlstate("23000");
const UNIQUE_VIOLATION: c_int = make_sqlstate("23505");
/// ERRCODE_TO_CATEGORY of elog.h: the first two characters.
const CLASS_MASK: c_int = (1 << 12) - 1;

/// Runs a write. An error of PostgreSQL's that ends it keeps its SQLSTATE and its names, and loses the row
/// and the parameters that it would print.
pub fn without_values<T>(write: impl FnOnce() -> T) -> T {
    PgTryBuilder::new(AssertUnwindSafe(write))
        .catch_others(|cause| match cause {
            CaughtError::PostgresError(_) => rethrow_without_values(),
            other => other.rethrow(),
        })
        .execute()
}

fn rethrow_without_values() -> ! {
    // SAFETY: called from a catch handler, where PostgreSQL's error stack still holds the error and
    // CurrentMemoryContext is the caller's, as CopyErrorData wants. The copy is ours to change; the
    // strings put into it live until ReThrowError has copied them all.
    let (message, hint);
    unsafe {
        let error = &mut *pg_sys::CopyErrorData();
        pg_sys::FlushErrorState();
        let ours = error.hide_stmt;
        if !ours && error.sqlerrcode & CLASS_MASK == CLASS_OF_INTEGRITY {
            error.detail = std::ptr::null_mut();
            error.detail_log = std::ptr::null_mut();
            if error.sqlerrcode == UNIQUE_VIOLATION {
                let ours = match (text(error.schema_name), text(error.constraint_name)) {
                    (b"customers", b"customers_email_key") => Some(Refusal::EmailTaken),
                    (b"customers", b"customers_pkey") => Some(Refusal::IdTaken),
                    _ => None,
                };
                error.hint = c"See the constraint that is named.".as_ptr().cast_mut();
                if let Some(refusal) = ours {
                    message = c_string(refusal.to_string());
                    hint = c_string(refusal.hint());
                    error.message = message.as_ptr().cast_mut();
                    error.hint = hint.as_ptr().cast_mut();
                }
            }
        }
        // The one may hold the call's literals, the other its parameters.
        error.hide_stmt = true;
        error.hide_ctx = true;
        error.context = std::ptr::null_mut();
        pg_sys::ReThrowError(error);
    }
    // The bindings of PostgreSQL 18 do not say that it never returns; those of 15 to 17 do.
    #[allow(unreachable_code)]
    {
        unreachable!("ReThrowError jumps")
    }
}
