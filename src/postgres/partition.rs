//! Tables partitioned by ranges.

use super::catalog_cache::CatalogCache;
use super::statement::Statement;
use pgrx::pg_sys::BuiltinOid::{OIDOID, TEXTOID};
use pgrx::pg_sys::{self, Oid};
use std::ffi::c_char;

/// The lower bound of the first partition of a table that is partitioned by ranges of this bigint column; None if it
/// is not, or if that partition has no lower bound. A default partition has none and does not count.
pub fn first_lower_bound(table: Oid, column: &str) -> Option<i64> {
    static LOWEST: Statement = Statement::new(
        c"SELECT min(CASE WHEN bound LIKE 'FOR VALUES FROM (MINVALUE)%' THEN -9223372036854775808
                          ELSE substring(bound FROM '^FOR VALUES FROM [(]''?(-?[0-9]+)''?[)]')::bigint END)
            FROM (SELECT pg_get_expr(child.relpartbound, child.oid) AS bound
                    FROM pg_inherits
                    JOIN pg_class AS child ON child.oid = inhrelid
                    JOIN pg_partitioned_table ON partrelid = inhparent
                    JOIN pg_attribute ON attrelid = inhparent AND partattrs::text = attnum::text
                   WHERE inhparent = $1 AND partstrat = 'r' AND attname = $2 AND atttypid = 'bigint'::regtype
                 ) AS partition",
        &[OIDOID, TEXTOID],
    );
    thread_local! {
        static KNOWN: CatalogCache<Oid, Option<i64>> = const { CatalogCache::new() };
    }
    let look_up = || {
        // SAFETY: a look-up in pg_class.
        let kind = unsafe { pg_sys::get_rel_relkind(table) };
        let is_partitioned = kind == pg_sys::RELKIND_PARTITIONED_TABLE as c_char;
        is_partitioned.then(|| LOWEST.catalog_value(&[table.into(), column.into()])).flatten()
    };
    KNOWN.with(|known| known.get_of_any(table, look_up)).filter(|bound| *bound > i64::MIN)
}
