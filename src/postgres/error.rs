//! Errors: how a refusal is raised, and what an error may disclose when it leaves a function of this extension.

use super::{allocation, catalog_cache, ffi};
use crate::refusal::{Facts, PostgresError, Refusal};
use crate::rules::personal_data::PersonalData;
use pgrx::pg_sys;
use pgrx::pg_sys::panic::CaughtError;
use std::any::Any;
use std::cell::{Cell, RefCell};
use std::ffi::{CStr, CString, c_char, c_int, c_void};
use std::panic::{AssertUnwindSafe, Location, catch_unwind};
use std::ptr;

/// Distinguishes the errors that this module reports from all others.
const DOMAIN: &CStr = c"customer_db";

pub trait OrRaise<T> {
    /// The value, or the refusal raised as an ERROR.
    fn or_raise(self) -> T;
}

impl<T, E: Into<Refusal>> OrRaise<T> for Result<T, E> {
    #[track_caller]
    fn or_raise(self) -> T {
        match self {
            Ok(value) => value,
            Err(why) => why.into().raise(),
        }
    }
}

impl Refusal {
    /// Raises the refusal as an ERROR.
    #[track_caller]
    pub fn raise(self) -> ! {
        report(pg_sys::PGERROR as c_int, &self.facts());
        unreachable!("an ERROR does not return")
    }
}

/// Writes a WARNING, to the client and to the server log.
#[track_caller]
pub fn warn(sqlstate: &'static str, message: &str, hint: &str) {
    let facts =
        Facts { sqlstate, message: message.to_owned(), detail: None, hint: hint.to_owned() };
    report(pg_sys::WARNING as c_int, &facts);
}

/// Ends the session with FATAL as PostgreSQL does when it cannot allocate memory. Allocates nothing in Rust.
pub fn out_of_memory() -> ! {
    // SAFETY: FATAL exits through proc_exit() without a longjmp over Rust frames; the texts are static.
    unsafe {
        ffi::errstart(pg_sys::FATAL as c_int, DOMAIN.as_ptr());
        ffi::errcode(encode_sqlstate("53200"));
        ffi::errmsg_internal(c"out of memory".as_ptr());
        ffi::errhidestmt(true);
        ffi::errhidecontext(true);
        ffi::errfinish(c"allocation.rs".as_ptr(), 0, ptr::null());
    }
    unreachable!("FATAL does not return")
}

#[track_caller]
fn report(level: c_int, facts: &Facts) {
    let c_string = |text: &str| CString::new(text).expect("our own texts hold no NUL");
    let (message, hint) = (c_string(&facts.message), c_string(&facts.hint));
    let detail = facts.detail.as_deref().map(c_string);
    let at = Location::caller();
    // SAFETY: the boundary catches errfinish's longjmp, so no value with a destructor is jumped over. It
    // also restores error_context_stack, which is emptied so that no callback can add the row or the
    // parameters to the CONTEXT. PostgreSQL copies all texts but the domain and the file's name, which are
    // static.
    unsafe {
        ffi::with_error_boundary(|| {
            pg_sys::error_context_stack = ptr::null_mut();
            if !ffi::errstart(level, DOMAIN.as_ptr()) {
                return;
            }
            ffi::errcode(encode_sqlstate(facts.sqlstate));
            ffi::errmsg_internal(c"%s".as_ptr(), message.as_ptr());
            if let Some(detail) = &detail {
                ffi::errdetail_internal(c"%s".as_ptr(), detail.as_ptr());
            }
            ffi::errhint(c"%s".as_ptr(), hint.as_ptr());
            ffi::errhidestmt(true);
            ffi::errhidecontext(true);
            ffi::errfinish(at.file_as_c_str().as_ptr(), at.line() as c_int, ptr::null());
        });
    }
}

/// Runs the body of a function that PostgreSQL calls.
///
/// An error that leaves it, of whatever class, carries no STATEMENT, no CONTEXT and no DETAIL for the log
/// alone: these may hold the call's literals, its parameters, the row, or another session's statement. It
/// keeps its SQLSTATE and the names of schema, table and constraint, and its message where that cannot hold
/// a value. A panic becomes one fixed message.
pub fn entry_point<T>(body: impl FnOnce() -> T) -> T {
    // Called for every report while the body runs, FATAL included. `previous` is null, so the callbacks of
    // outer calls are not called: they would add what must not be disclosed.
    unsafe extern "C-unwind" fn hide(_argument: *mut c_void) {
        allocation::release_reserve();
        // SAFETY: PostgreSQL calls the callback between errstart and errfinish, where these functions are valid.
        unsafe {
            ffi::errhidestmt(true);
            ffi::errhidecontext(true);
        }
    }
    let mut callback = pg_sys::ErrorContextCallback {
        previous: ptr::null_mut(),
        callback: Some(hide),
        arg: ptr::null_mut(),
    };
    allocation::keep_reserve();
    let definitions = catalog_cache::any_generation();
    // SAFETY: the callback outlives its place on the stack, which is given back below whatever happens; a
    // FATAL never returns here.
    let (outer, context) = unsafe {
        let outer = pg_sys::error_context_stack;
        pg_sys::error_context_stack = &mut callback;
        (outer, pg_sys::CurrentMemoryContext)
    };
    let result = catch_unwind(AssertUnwindSafe(body));
    // SAFETY: `outer` was the head of the stack when the callback was linked, and its frame is still live.
    unsafe { pg_sys::error_context_stack = outer };
    result.unwrap_or_else(|panic| {
        // SAFETY: `context` was current when the function was called, so it outlives the call.
        unsafe { pg_sys::CurrentMemoryContext = context };
        rethrow(panic, definitions != catalog_cache::any_generation())
    })
}

/// Raises the error that ended an entry point again, without what must not be disclosed.
fn rethrow(panic: Box<dyn Any + Send>, definitions_changed: bool) -> ! {
    if !matches!(panic.downcast_ref(), Some(CaughtError::PostgresError(_))) {
        Refusal::Bug.raise();
    }
    drop(panic);
    // SAFETY: the error is still on PostgreSQL's error stack, and CurrentMemoryContext is not ErrorContext,
    // as CopyErrorData requires. The copy belongs to this function, which may change it.
    unsafe {
        let error = &mut *pg_sys::CopyErrorData();
        pg_sys::FlushErrorState();
        if !is_ours(error) {
            let sqlstate = decode_sqlstate(error.sqlerrcode);
            let facts = PostgresError {
                sqlstate: &sqlstate,
                message: &text(error.message),
                schema: &text(error.schema_name),
                constraint: &text(error.constraint_name),
            };
            // "could not open relation with OID", "cache lookup failed": an object was dropped during the call.
            let was_dropped = definitions_changed && sqlstate == "XX000";
            let refusal =
                Refusal::in_place_of(&facts).or(was_dropped.then_some(Refusal::DefinitionsChanged));
            match refusal.map(|refusal| refusal.facts()) {
                Some(facts) => {
                    error.sqlerrcode = encode_sqlstate(facts.sqlstate);
                    replace(error, &facts);
                }
                None => without_values(error, &sqlstate),
            }
        }
        error.detail_log = ptr::null_mut();
        error.context = ptr::null_mut();
        error.internalquery = ptr::null_mut();
        error.internalpos = 0;
        error.hide_stmt = true;
        error.hide_ctx = true;
        pg_sys::ReThrowError(error);
    }
    // The bindings of PostgreSQL 18 do not say that it never returns; those of 15 to 17 do.
    #[allow(unreachable_code)]
    {
        unreachable!("ReThrowError jumps")
    }
}

fn is_ours(error: &pg_sys::ErrorData) -> bool {
    // SAFETY: errstart sets the domain of every error to a static text, never null.
    unsafe { CStr::from_ptr(error.domain) == DOMAIN }
}

/// Removes from a foreign error whatever may hold a value.
fn without_values(error: &mut pg_sys::ErrorData, sqlstate: &str) {
    // Messages of class 22, data exceptions, quote values: an index expression with a cast names what it
    // could not cast.
    let names_values = sqlstate.starts_with("22");
    // RAISE can set each of these names to any text.
    for name in [
        &mut error.schema_name,
        &mut error.table_name,
        &mut error.column_name,
        &mut error.datatype_name,
        &mut error.constraint_name,
    ] {
        if holds_protected(&text(*name)) {
            *name = ptr::null_mut();
        }
    }
    let may_hold_others = MESSAGES_HOLD_OTHERS.get() && !is_postgresqls_own(sqlstate);
    let tells = may_hold_others
        || [error.message, error.detail, error.hint]
            .iter()
            .any(|part| holds_protected(&text(*part)));
    if names_values || tells {
        replace(
            error,
            &Facts {
                sqlstate: "",
                message: "a trigger, constraint or expression of the table's owner has failed".to_owned(),
                detail: None,
                hint: "See what the owner has added to the tables of schema customers; its own message could \
                       hold a customer's data."
                    .to_owned(),
            },
        );
    } else if sqlstate.starts_with("23") {
        // "Key (email)=(…) already exists", "Failing row contains (…)".
        error.detail = ptr::null_mut();
        if error.hint.is_null() {
            error.hint = palloced("See the constraint that is named.");
        }
    }
}

fn replace(error: &mut pg_sys::ErrorData, facts: &Facts) {
    error.message = palloced(&facts.message);
    error.detail = facts.detail.as_deref().map_or(ptr::null_mut(), palloced);
    error.hint = palloced(&facts.hint);
}

/// A copy in the current memory context.
fn palloced(text: &str) -> *mut c_char {
    let text = CString::new(text).expect("our own texts hold no NUL");
    // SAFETY: the text ends in NUL, and pstrdup copies it.
    unsafe { pg_sys::pstrdup(text.as_ptr()) }
}

fn text<'a>(text: *const c_char) -> std::borrow::Cow<'a, str> {
    if text.is_null() {
        return "".into();
    }
    // SAFETY: a text of an ErrorData is null, which was excluded, or ends in NUL and lives as long as the
    // ErrorData.
    unsafe { CStr::from_ptr(text) }.to_string_lossy()
}

/// MAKE_SQLSTATE of elog.h: six bits a character.
const fn encode_sqlstate(code: &str) -> c_int {
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

/// unpack_sql_state() of elog.c.
fn decode_sqlstate(packed: c_int) -> String {
    (0..5).map(|i| char::from((packed >> (6 * i) & 0x3F) as u8 + b'0')).collect()
}

/// The two kinds of texts that [`protect`] keeps.
#[derive(Clone, Copy)]
pub enum Protected {
    /// The arguments of the call.
    Call,
    /// The row that was written last, in its new and its old version.
    Row,
}

/// The number of texts of each kind.
const SLOTS: usize = 4;

thread_local! {
    /// The texts that no message may contain. Not normalised: they are compared only when an error occurs.
    static PROTECTED: RefCell<[String; 2 * SLOTS]> =
        const { RefCell::new([const { String::new() }; 2 * SLOTS]) };
}

/// Remembers addresses and names, so that an error whose texts contain one is recognised. They replace the
/// texts of the same kind.
pub fn protect(kind: Protected, texts: [Option<&str>; SLOTS]) {
    PROTECTED.with_borrow_mut(|kept| {
        for (kept, text) in kept[kind as usize * SLOTS..].iter_mut().zip(texts) {
            kept.clear();
            kept.push_str(text.unwrap_or_default());
        }
    });
}

thread_local! {
    /// Whether the call is about so many customers that a message may hold another's data than that of the row
    /// that was written last.
    static MESSAGES_HOLD_OTHERS: Cell<bool> = const { Cell::new(false) };
}

/// Replaces the messages of triggers and constraints, whatever they say, until the end of [`protecting`].
pub fn protect_all() {
    MESSAGES_HOLD_OTHERS.set(true);
}

/// Runs the entry point of a call that protects what it is about. A call within another, from a trigger, leaves the
/// protection of the outer one as it was.
pub fn protecting<T>(call: impl FnOnce() -> T) -> T {
    struct Restore(bool);
    impl Drop for Restore {
        fn drop(&mut self) {
            MESSAGES_HOLD_OTHERS.set(self.0);
        }
    }
    let _restore = Restore(MESSAGES_HOLD_OTHERS.replace(false));
    call()
}

/// Whether PostgreSQL alone writes messages of this class, of names and numbers: integrity, transaction state,
/// rollback, resources, prerequisites, intervention, system, internal.
fn is_postgresqls_own(sqlstate: &str) -> bool {
    matches!(&sqlstate[..2], "23" | "25" | "40" | "53" | "55" | "57" | "58" | "XX")
}

fn holds_protected(message: &str) -> bool {
    if message.is_empty() {
        return false;
    }
    let mut data = PersonalData::new();
    PROTECTED.with_borrow(|kept| {
        kept.iter().filter(|text| !text.is_empty()).for_each(|text| data.add_email(text));
    });
    data.appears_in(message)
}

#[cfg(any(test, feature = "pg_test"))]
#[pgrx::pg_schema]
mod tests {
    use super::*;
    use pgrx::prelude::*;

    #[pg_extern]
    fn panics(value: &str) -> i32 {
        entry_point(|| panic!("cannot deal with {value}"))
    }

    #[pg_test(error = "customer_db has failed; nothing was changed")]
    fn a_panic_becomes_one_fixed_message() {
        Spi::run("SELECT tests.panics('zyxw')").unwrap();
    }

    #[pg_extern]
    fn divides_by_zero() -> i32 {
        entry_point(|| Spi::get_one("SELECT 1 / 0").unwrap().unwrap())
    }

    #[pg_test(error = "a trigger, constraint or expression of the table's owner has failed")]
    fn a_data_exception_of_anybody_s_loses_its_message() {
        Spi::run("SELECT tests.divides_by_zero()").unwrap();
    }

    #[pg_test]
    fn a_sqlstate_is_packed_as_postgresql_packs_it() {
        for code in ["00000", "22023", "PT404", "ZZZZZ"] {
            assert_eq!(decode_sqlstate(encode_sqlstate(code)), code);
        }
        assert_eq!(
            encode_sqlstate("XX000"),
            pg_sys::errcodes::PgSqlErrorCode::ERRCODE_INTERNAL_ERROR as c_int
        );
    }
}
