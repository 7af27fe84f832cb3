//! The AFTER triggers that write the events of a whole statement at once.

use super::{notify, watermark};
use crate::settings;
use crate::statement::{Statement, connected, sql};
use crate::trigger::{Fired, Trigger};
use pgrx::IntoDatum;
use pgrx::pg_sys::BuiltinOid::{INT8OID, TEXTOID};
use pgrx::prelude::*;
use std::cell::RefCell;

/// What both statements end in. LIMIT bounds what comes back, never what is recorded: a CTE that
/// writes runs to its end.
macro_rules! announced {
    () => {
        "RETURNING position, event_id, type, customer_id, version, changes)
         SELECT position, event_id, type, customer_id, version,
                changes ? 'email', changes ? 'name', changes ? 'status'
           FROM recorded
          LIMIT $3"
    };
}

#[pg_extern(sql = false)]
fn record_registered(fcinfo: pg_sys::FunctionCallInfo) -> Fired {
    static RECORD: Statement = Statement::new(
        sql!(
            "WITH recorded AS (
             INSERT INTO customers.events
                    (type, customer_id, version, occurred_at, changes, recorded_by, actor, reason)
             SELECT 'customer-registered', customer_id, version, updated_at,
                    CASE WHEN name IS NULL
                         THEN jsonb_build_object('email', email, 'status', status)
                         ELSE jsonb_build_object('email', email, 'name', name, 'status', status)
                    END,
                    session_user, $1, $2
               FROM registered ",
            announced!()
        ),
        &[TEXTOID, TEXTOID, INT8OID],
    );
    // SAFETY: this is the call at hand.
    record(&RECORD, unsafe { Trigger::from_call(fcinfo) })
}

#[pg_extern(sql = false)]
fn record_updated(fcinfo: pg_sys::FunctionCallInfo) -> Fired {
    // FULL JOIN, though neither side is ever alone: the plan is kept from a first statement of any size,
    // and a full join is never a nested loop.
    static RECORD: Statement = Statement::new(
        sql!(
            "WITH recorded AS (
             INSERT INTO customers.events
                    (type, customer_id, version, occurred_at, changes, recorded_by, actor, reason)
             SELECT 'customer-updated', after.customer_id, after.version, after.updated_at,
                    CASE WHEN after.email = before.email THEN '{}'
                         ELSE jsonb_build_object('email', after.email) END
                 || CASE WHEN after.name IS NOT DISTINCT FROM before.name THEN '{}'
                         ELSE jsonb_build_object('name', after.name) END
                 || CASE WHEN after.status = before.status THEN '{}'
                         ELSE jsonb_build_object('status', after.status) END,
                    session_user, $1, $2
               FROM before FULL JOIN after ON after.customer_id = before.customer_id
              WHERE after.version IS DISTINCT FROM before.version ",
            announced!()
        ),
        &[TEXTOID, TEXTOID, INT8OID],
    );
    // SAFETY: this is the call at hand.
    record(&RECORD, unsafe { Trigger::from_call(fcinfo) })
}

fn record(statement: &Statement, trigger: Trigger) -> Fired {
    watermark::hold();
    let wanted = notify::wanted();
    let actor = settings::actor().and_then(|actor| actor.into_string().ok().into_datum());
    let reason = REASON.with_borrow(|reason| reason.as_deref().into_datum());
    connected(|_| {
        // SAFETY: the trigger data are those of the call at hand; the transition tables that they name
        // are seen by what runs on this connection.
        let code = unsafe {
            pg_sys::SPI_register_trigger_data(std::ptr::from_ref(trigger.data()).cast_mut())
        };
        assert!(code >= 0, "SPI_register_trigger_data returned {code}");
        statement.run(&[actor, reason, wanted.into_datum()], notify::announce);
    });
    Fired::after_statement()
}

thread_local! {
    static REASON: RefCell<Option<String>> = const { RefCell::new(None) };
}

/// Has the events that `write` causes recorded with a reason.
pub fn with_reason<T>(reason: Option<&str>, write: impl FnOnce() -> T) -> T {
    struct Forget;
    impl Drop for Forget {
        fn drop(&mut self) {
            REASON.set(None);
        }
    }
    REASON.set(reason.map(str::to_owned));
    let _forget = Forget;
    write()
}
