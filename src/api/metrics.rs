//! metrics(): measures of the installation under Prometheus names, cheap enough for every few seconds.

use crate::customer::data_owner::as_extension_owner;
use crate::customer::schema::{CUSTOMERS, POSITION_SEQUENCE};
use crate::feed;
use crate::postgres::result_set::{ResultSet, RowWriter};
use crate::postgres::statement::{Statement, connected, sql};
use crate::postgres::typed_datum::TypedDatum;
use pgrx::pg_sys::BuiltinOid::{self, BOOLOID, FLOAT8OID, INT8OID, JSONBOID, TEXTOID};
use pgrx::prelude::*;

const COLUMNS: [BuiltinOid; 3] = [TEXTOID, JSONBOID, FLOAT8OID];

#[pg_extern(sql = false)]
fn metrics<'call>(result: ResultSet<'call>) -> ResultSet<'call> {
    static SERVER: Statement = Statement::new(
        sql!(
            "WITH holder AS (",
            include_str!("../../sql/metrics/holders.sql"),
            ") ",
            include_str!("../../sql/metrics/server.sql")
        ),
        &[INT8OID, TEXTOID, BOOLOID],
    );
    static TABLES: Statement = Statement::new(
        sql!(
            "WITH backlog AS (",
            include_str!("../../sql/metrics/backlog.sql"),
            "), ",
            include_str!("../../sql/metrics/tables.sql")
        ),
        &[INT8OID, INT8OID],
    );
    as_extension_owner(|| {
        let mut writer = result.writer(COLUMNS);
        let sequence = POSITION_SEQUENCE.oid();
        let server = [
            i64::from(feed::POSITION_LOCKS).into(),
            env!("CARGO_PKG_VERSION").into(),
            feed::has_worker(sequence).into(),
        ];
        write(&mut writer, &SERVER, &server);
        CUSTOMERS.as_restricted_owner(|| {
            let tables = [feed::complete_to().into(), feed::sent_by_worker(sequence).into()];
            write(&mut writer, &TABLES, &tables);
        });
        result
    })
}

fn write(writer: &mut RowWriter<3>, statement: &Statement, params: &[TypedDatum]) {
    connected(|_| statement.read(params, |row| writer.put(row.values(COLUMNS))));
}
