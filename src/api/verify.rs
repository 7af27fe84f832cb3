//! verify(): whether this installation keeps its promises. Each check is a query in `sql/verify/` that returns what it
//! found: whether that is in order, and what to type.

use super::{access, attach};
use crate::customer::data_owner::as_extension_owner;
use crate::customer::schema::{CUSTOMERS, POSITION_SEQUENCE, broken_customer};
use crate::feed;
use crate::postgres::result_set::ResultSet;
use crate::postgres::statement::{Statement, connected, sql};
use crate::postgres::transaction::{sleep, with_latest_snapshot};
use crate::postgres::typed_datum::TypedDatum;
use crate::settings::{NOTIFY, Notify};
use pgrx::pg_sys::BuiltinOid::{BOOLOID, INT8OID, OIDOID, TEXTOID};
use pgrx::prelude::*;
use std::time::Duration;

/// What a check has found: whether it is in order, and what to type where not.
struct Finding {
    ok: bool,
    detail: String,
}

impl Finding {
    fn problem(detail: String) -> Self {
        Self { ok: false, detail }
    }
}

/// A statement whose rows are findings.
macro_rules! findings {
    ($file:literal, $types:expr, $params:expr) => {{
        static FINDINGS: Statement = Statement::new(sql!(include_str!($file)), $types);
        read_findings(&FINDINGS, $params)
    }};
    ($file:literal) => {
        findings!($file, &[], &[])
    };
}

#[pg_extern(sql = false)]
fn verify<'call>(result: ResultSet<'call>) -> ResultSet<'call> {
    as_extension_owner(|| {
        let mut rows = Vec::new();
        let mut check = |name: &'static str, findings: Vec<Finding>| {
            rows.push((name, findings));
        };
        check("version", version());
        // What attach() refuses is said before what attach() mends.
        let inheritance = findings!("../../sql/verify/inheritance.sql");
        let inherits = !inheritance.is_empty();
        check("inheritance", inheritance);
        check("unlogged", findings!("../../sql/verify/unlogged.sql"));
        check(
            "strangers",
            findings!(
                "../../sql/verify/strangers.sql",
                &[OIDOID],
                &[access::extension_owner().into()]
            ),
        );
        let (objects, are_readable) = objects();
        let are_readable = are_readable && !inherits;
        check("objects", objects);
        check("disabled_triggers", findings!("../../sql/verify/disabled_triggers.sql"));
        check("trigger_order", findings!("../../sql/verify/trigger_order.sql"));
        check("indexes", findings!("../../sql/verify/indexes.sql"));
        check(
            "privileges",
            findings!(
                "../../sql/verify/privileges.sql",
                &[OIDOID],
                &[access::extension_owner().into()]
            ),
        );
        let duties = access::incomplete_duties().into_iter();
        check("duties", duties.map(Finding::problem).collect());
        check("credentials", findings!("../../sql/verify/credentials.sql"));
        check("notify_queue", findings!("../../sql/verify/notify_queue.sql"));
        check("held_back", held_back());
        check("worker", worker());
        for (name, findings) in CHECKS_OF_DATA {
            // A query of tables that are not there would raise.
            let unknown = || vec![Finding::problem(NOT_READABLE.to_owned())];
            check(
                name,
                if are_readable { CUSTOMERS.as_restricted_owner(findings) } else { unknown() },
            );
        }
        let rows = rows.into_iter().map(|(name, findings)| {
            let ok = findings.iter().all(|finding| finding.ok);
            let mut details: Vec<_> = findings.into_iter().collect();
            details.sort_by_key(|finding| finding.ok);
            let details: Vec<_> = details.into_iter().map(|finding| finding.detail).collect();
            let detail = (!details.is_empty()).then(|| details.join("\n"));
            [name.into(), ok.into(), detail.into()]
        });
        result.fill_with([TEXTOID, BOOLOID, TEXTOID], rows)
    })
}

type Check = fn() -> Vec<Finding>;

/// The checks that read the tables, with the data owner's rights.
const CHECKS_OF_DATA: [(&str, Check); 6] = [
    ("sequence", || findings!("../../sql/verify/sequence.sql")),
    ("epochs", epochs),
    ("consumers", consumers),
    ("erasures", erasures),
    ("rows_keep_rules", rows_keep_rules),
    ("rows_match_events", rows_match_events),
];

const NOT_READABLE: &str =
    "cannot be checked before what objects, inheritance or strangers says is mended";

/// What is missing, and whether the data owner can read the tables.
fn objects() -> (Vec<Finding>, bool) {
    static MAY_READ: Statement = Statement::new(
        c"SELECT NOT EXISTS (SELECT FROM pg_class AS relation
                              WHERE relnamespace = to_regnamespace('customers')
                                AND relname IN ('customers', 'events', 'consumers', 'erasures', 'feed_epochs',
                                                'events_position_seq', 'feed_read_seq')
                                AND NOT CASE relkind WHEN 'S' THEN has_sequence_privilege(owner.relowner, relation.oid, 'SELECT')
                                                     ELSE has_table_privilege(owner.relowner, relation.oid, 'SELECT') END)
            FROM pg_class AS owner WHERE owner.oid = $1",
        &[OIDOID],
    );
    let mut findings = Vec::new();
    let columns = attach::ensure_columns();
    if let Err(refusal) = &columns {
        findings.extend(refusal.facts().detail.map(Finding::problem));
    }
    let missing = attach::missing();
    let are_readable = columns.is_ok()
        && !missing.iter().any(|missing| missing.is_needed())
        && MAY_READ.read_value(&[CUSTOMERS.find().into()]) == Some(true);
    findings.extend(missing.into_iter().map(|missing| {
        let mut detail = on_one_line(&missing.problem);
        // Some must be mended first, and say how.
        if !detail.ends_with(';') {
            detail.push_str(": SELECT customers.attach();");
        }
        Finding::problem(detail)
    }));
    (findings, are_readable)
}

fn read_findings(statement: &Statement, params: &[TypedDatum]) -> Vec<Finding> {
    let mut findings = Vec::new();
    connected(|_| {
        statement.read(params, |row| {
            let detail = row.get::<String>(2).unwrap_or_default();
            findings.push(Finding { ok: row.get(1) == Some(true), detail: on_one_line(&detail) });
        });
    });
    findings
}

/// A name may contain a line break, after which a finding of its own would seem to begin.
fn on_one_line(detail: &str) -> String {
    detail.replace(char::is_control, "\u{FFFD}")
}

fn version() -> Vec<Finding> {
    static INSTALLED: Statement = Statement::new(
        c"SELECT extversion FROM pg_catalog.pg_extension WHERE extname = 'customer_db'",
        &[],
    );
    const LIBRARY: &str = env!("CARGO_PKG_VERSION");
    let installed: String = INSTALLED.read_value(&[]).unwrap_or_default();
    if installed == LIBRARY {
        return Vec::new();
    }
    vec![Finding::problem(format!(
        "the extension has version {installed}, the library that this session has loaded {LIBRARY}: \
         ALTER EXTENSION customer_db UPDATE; or, if the library is the older one, connect again, and restart a server \
         that preloads it"
    ))]
}

/// Looks again after a moment if anybody holds it: a transaction that is about to end is nobody's concern.
fn held_back() -> Vec<Finding> {
    const MOMENT: Duration = Duration::from_millis(200);
    static HOLDERS: Statement = Statement::new(
        sql!(
            "WITH holder AS (",
            include_str!("../../sql/metrics/holders.sql"),
            ") ",
            include_str!("../../sql/verify/held_back.sql")
        ),
        &[INT8OID],
    );
    let look = || {
        // Otherwise pg_stat_activity shows what it showed before in this transaction.
        // SAFETY: has no precondition.
        unsafe { pg_sys::pgstat_clear_snapshot() };
        read_findings(&HOLDERS, &[i64::from(feed::POSITION_LOCKS).into()])
    };
    if look().is_empty() {
        return Vec::new();
    }
    sleep(MOMENT);
    // Whoever has only begun is not named: whoever reads it would end a transaction that is as it should be.
    let mut holders = look();
    holders.retain(|holder| !holder.ok);
    holders
}

/// Looks again until a worker that runs has had the time to notice that the tables were created.
fn worker() -> Vec<Finding> {
    const PAUSE: Duration = Duration::from_millis(50);
    const PAUSES: u32 = 30;
    static RUNS: Statement = Statement::new(
        c"SELECT EXISTS (SELECT FROM pg_stat_activity
                          WHERE backend_type = 'customer_db notifications' AND datname = current_database())",
        &[],
    );
    let serves = || POSITION_SEQUENCE.find().is_some_and(feed::has_worker);
    let is_wanted = NOTIFY.get() == Notify::Worker && POSITION_SEQUENCE.find().is_some();
    let mut has_worker = serves();
    if is_wanted && !has_worker && RUNS.read_value(&[]) == Some(true) {
        has_worker = (0..PAUSES).any(|_| {
            sleep(PAUSE);
            serves()
        });
    }
    let notify = NOTIFY.get().name();
    findings!(
        "../../sql/verify/worker.sql",
        &[TEXTOID, BOOLOID],
        &[notify.into(), has_worker.into()]
    )
}

/// What `look` finds; if anything is wrong, what it finds a moment later: a transaction may have begun or ended between two
/// of its questions.
fn looked_at_again(look: impl Fn() -> Vec<Finding>) -> Vec<Finding> {
    let findings = look();
    if findings.iter().all(|finding| finding.ok) {
        return findings;
    }
    sleep(Duration::from_millis(100));
    look()
}

fn epochs() -> Vec<Finding> {
    looked_at_again(|| {
        let is_beginning = feed::epoch_is_beginning();
        with_latest_snapshot(|| {
            findings!(
                "../../sql/verify/epochs.sql",
                &[TEXTOID, BOOLOID],
                &[feed::history_here().into(), is_beginning.into()]
            )
        })
    })
}

fn consumers() -> Vec<Finding> {
    static BACKLOG: Statement = Statement::new(
        sql!(
            "WITH backlog AS (",
            include_str!("../../sql/metrics/backlog.sql"),
            ") ",
            include_str!("../../sql/verify/consumers.sql")
        ),
        &[INT8OID, INT8OID],
    );
    // A writer that is taking its lock can move the end of the feed back behind what was read, for a moment.
    looked_at_again(|| {
        read_findings(&BACKLOG, &[feed::complete_to().into(), feed::last_readable().into()])
    })
}

fn erasures() -> Vec<Finding> {
    static BACK: Statement = Statement::new(
        sql!("SELECT count(*) FROM (", include_str!("../../sql/verify/erasures.sql"), ") AS back"),
        &[],
    );
    match BACK.read_value::<i64>(&[]) {
        Some(back @ 1..) => vec![Finding::problem(format!(
            "{back} erased customers were brought back, by a restore: SELECT customers.reapply_erasures();"
        ))],
        _ => Vec::new(),
    }
}

fn rows_keep_rules() -> Vec<Finding> {
    static BROKEN: Statement = Statement::new(
        sql!(
            "SELECT count(*), count(*) FILTER (WHERE customers.broken_rule(email, name, status) LIKE '%not in canonical form')
               FROM customers.customers WHERE ",
            broken_customer!()
        ),
        &[],
    );
    let (mut rows, mut not_canonical) = (0, 0);
    connected(|_| {
        BROKEN.read(&[], |row| {
            rows = row.get(1).unwrap_or(0_i64);
            not_canonical = row.get(2).unwrap_or(0_i64);
        });
    });
    if rows == 0 {
        return Vec::new();
    }
    let list = format!("{rows} customers break a rule: SELECT * FROM customers.offenders();");
    let mend = "those that are only not in canonical form: UPDATE customers.customers \
                SET email = customers.canonical_email(email), name = customers.canonical_name(name) \
                WHERE customers.broken_rule(email, name, status) LIKE '%not in canonical form';";
    let details = if not_canonical > 0 { vec![mend.to_owned(), list] } else { vec![list] };
    details.into_iter().map(Finding::problem).collect()
}

fn rows_match_events() -> Vec<Finding> {
    static UNRECORDED: Statement = Statement::new(
        sql!(
            "SELECT count(*) FILTER (WHERE NOT is_unknown), count(*) FILTER (WHERE is_unknown) FROM (
               WITH candidate AS (SELECT * FROM customers.customers), event AS (SELECT * FROM customers.events), ",
            include_str!("../../sql/verify/unrecorded_customers.sql"),
            ") AS unrecorded"
        ),
        &[],
    );
    static GONE: Statement = Statement::new(
        c"SELECT count(DISTINCT customer_id) FROM customers.events
           WHERE NOT EXISTS (SELECT FROM customers.customers WHERE customers.customer_id = events.customer_id)",
        &[],
    );
    let mut findings = Vec::new();
    if let Some(gone @ 1..) = GONE.read_value::<i64>(&[]) {
        findings.push(Finding::problem(format!(
            "{gone} customers have events and no row: they were deleted past the triggers. Which: SELECT DISTINCT \
             customer_id FROM customers.events AS event WHERE NOT EXISTS (SELECT FROM customers.customers WHERE \
             customer_id = event.customer_id); how to bring them back: Deleted rows in doc/operations.md"
        )));
    }
    connected(|_| {
        UNRECORDED.read(&[], |row| {
            if let Some(differing @ 1..) = row.get::<i64>(1) {
                findings.push(Finding::problem(format!(
                    "{differing} customers are not as their events say: SELECT customers.record_missing_events();"
                )));
            }
            if let Some(unknown @ 1..) = row.get::<i64>(2) {
                let detail = format!(
                    "{unknown} customers have no event, as after attach() of an existing table, so consumers do not \
                     know them: SELECT customers.record_missing_events();"
                );
                findings.push(Finding { ok: true, detail });
            }
        });
    });
    findings
}
