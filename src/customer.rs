//! A row of customers.customers, as triggers and look-ups see it.

use crate::errors::{OrRefuse, Refusal};
use crate::table::{ColumnSpec, Name, Table, has_types};
use pgrx::pg_sys::BuiltinOid::{INT8OID, TEXTOID, TIMESTAMPTZOID, UUIDOID};
use pgrx::{FromDatum, IntoDatum, PgTupleDesc, Uuid, pg_sys, varlena};
use std::ffi::c_char;

/// The columns of a customer, in the order of `customers.profile`.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Column {
    CustomerId,
    Email,
    Name,
    Status,
    RegisteredAt,
    UpdatedAt,
    Version,
}

pub const COLUMNS: [Column; 7] = [
    Column::CustomerId,
    Column::Email,
    Column::Name,
    Column::Status,
    Column::RegisteredAt,
    Column::UpdatedAt,
    Column::Version,
];

impl Column {
    pub const fn spec(self) -> ColumnSpec {
        match self {
            Self::CustomerId => ColumnSpec::new(c"customer_id", UUIDOID),
            Self::Email => ColumnSpec::new(c"email", TEXTOID),
            Self::Name => ColumnSpec::new(c"name", TEXTOID),
            Self::Status => ColumnSpec::new(c"status", TEXTOID),
            Self::RegisteredAt => ColumnSpec::new(c"registered_at", TIMESTAMPTZOID),
            Self::UpdatedAt => ColumnSpec::new(c"updated_at", TIMESTAMPTZOID),
            Self::Version => ColumnSpec::new(c"version", INT8OID),
        }
    }
}

/// Whether rows so described are customers, column for column.
pub fn describes_customers(desc: &PgTupleDesc) -> bool {
    has_types(desc, COLUMNS.into_iter().map(|column| column.spec().r#type))
}

/// Where the columns stand. A table that was adopted may have them in another order, among columns of
/// its owner's.
#[derive(Clone, Copy)]
pub struct Layout([i32; 7]);

impl Layout {
    /// # Safety
    /// `table` is open.
    pub unsafe fn of(table: pg_sys::Relation) -> Self {
        Self(COLUMNS.map(|column| {
            // SAFETY: promised by the caller.
            let number = unsafe { column.spec().number((*table).rd_att, column as usize) };
            number.unwrap_or_else(|| column.spec().refuse_to_miss(c"customers"))
        }))
    }

    pub fn number(&self, column: Column) -> i32 {
        self.0[column as usize]
    }
}

/// The values of one row; valid as long as what it was read from.
pub struct CustomerRow {
    values: [Option<pg_sys::Datum>; 7],
    written: [bool; 7],
}

impl CustomerRow {
    /// A customer in the making.
    pub fn new(values: [Option<pg_sys::Datum>; 7]) -> Self {
        Self { values, written: [false; 7] }
    }

    pub fn values(&self) -> [Option<pg_sys::Datum>; 7] {
        self.values
    }

    /// # Safety
    /// `slot` holds a row of the table whose layout this is.
    pub unsafe fn from_slot(slot: *mut pg_sys::TupleTableSlot, layout: &Layout) -> Self {
        // SAFETY: promised by the caller; slot_getallattrs of tuptable.h.
        unsafe {
            let count = (*(*slot).tts_tupleDescriptor).natts;
            if i32::from((*slot).tts_nvalid) < count {
                pg_sys::slot_getsomeattrs_int(slot, count);
            }
            let values = layout.0.map(|number| {
                let i = number as usize - 1;
                (!*(*slot).tts_isnull.add(i)).then(|| *(*slot).tts_values.add(i))
            });
            Self { values, written: [false; 7] }
        }
    }

    /// # Safety
    /// `tuple` is a row of the table whose descriptor and layout these are.
    pub unsafe fn from_tuple(
        tuple: pg_sys::HeapTuple,
        desc: pg_sys::TupleDesc,
        layout: &Layout,
    ) -> Self {
        // SAFETY: promised by the caller; there is room for all columns.
        unsafe {
            let count = (*desc).natts as usize;
            let mut values = vec![pg_sys::Datum::null(); count];
            let mut nulls = vec![true; count];
            pg_sys::heap_deform_tuple(tuple, desc, values.as_mut_ptr(), nulls.as_mut_ptr());
            Self::new(layout.0.map(|number| {
                let i = number as usize - 1;
                (!nulls[i]).then(|| values[i])
            }))
        }
    }

    pub fn value(&self, column: Column) -> Option<pg_sys::Datum> {
        self.values[column as usize]
    }

    pub fn is_written(&self, column: Column) -> bool {
        self.written[column as usize]
    }

    pub fn text(&self, column: Column) -> Option<&str> {
        let value = self.value(column)?.cast_mut_ptr();
        // SAFETY: the caller names a column of type text, which in a database whose encoding is UTF8 is UTF-8.
        unsafe {
            let is_packed = varlena::varatt_is_4b_c(value) || varlena::varatt_is_1b_e(value);
            let plain = if is_packed { pg_sys::pg_detoast_datum_packed(value) } else { value };
            Some(varlena::text_to_rust_str_unchecked(plain))
        }
    }

    /// A bigint, or a timestamptz in microseconds since 2000.
    pub fn integer(&self, column: Column) -> Option<i64> {
        self.value(column).map(|value| value.value() as i64)
    }

    pub fn uuid(&self, column: Column) -> Option<Uuid> {
        // SAFETY: the caller names a column of type uuid.
        self.value(column).and_then(|value| unsafe { FromDatum::from_datum(value, false) })
    }

    /// The customer's id, which only a table without its key lacks.
    pub fn id(&self) -> Uuid {
        self.uuid(Column::CustomerId).ok_or(Refusal::Missing("customer_id")).or_refuse()
    }

    pub fn set_text(&mut self, column: Column, text: &str) {
        if self.text(column) != Some(text) {
            self.set(column, text.into_datum());
        }
    }

    pub fn set_integer(&mut self, column: Column, value: i64) {
        if self.integer(column) != Some(value) {
            self.set(column, value.into_datum());
        }
    }

    fn set(&mut self, column: Column, value: Option<pg_sys::Datum>) {
        self.values[column as usize] = value;
        self.written[column as usize] = true;
    }
}

/// Gives the customer with this id, where there is one, to `found`, with the caller's snapshot. Says whether
/// it could: not in a table of another kind, or one whose owner has made something else its primary key.
pub fn find(customer_id: Uuid, found: impl FnOnce(&CustomerRow)) -> bool {
    const UUID_EQ: u32 = 2956;
    let customers = Table::open(Name::Customers, pg_sys::AccessShareLock);
    let relation = customers.relation();
    // SAFETY: the key compares the table's own uuid column with a uuid, and is the index's one column. The row
    // is pinned until systable_endscan.
    unsafe {
        let layout = Layout::of(relation);
        let key_columns = pg_sys::RelationGetIndexAttrBitmap(
            relation,
            pg_sys::IndexAttrBitmapKind::INDEX_ATTR_BITMAP_PRIMARY_KEY,
        );
        let class = &*(*relation).rd_rel;
        let mut key_column = 0;
        if class.relkind != pg_sys::RELKIND_RELATION as c_char
            || class.relhassubclass
            || !pg_sys::bms_get_singleton_member(key_columns, &mut key_column)
            || key_column + pg_sys::FirstLowInvalidHeapAttributeNumber
                != layout.number(Column::CustomerId)
        {
            customers.close();
            return false;
        }
        let mut key = pg_sys::ScanKeyData::default();
        pg_sys::ScanKeyInit(
            &mut key,
            layout.number(Column::CustomerId) as i16,
            pg_sys::BTEqualStrategyNumber as u16,
            UUID_EQ.into(),
            customer_id.into_datum().expect("a uuid is never NULL"),
        );
        #[cfg(not(feature = "pg18"))]
        let index = pg_sys::RelationGetPrimaryKeyIndex(relation);
        #[cfg(feature = "pg18")]
        let index = pg_sys::RelationGetPrimaryKeyIndex(relation, false);
        if index == pg_sys::InvalidOid {
            customers.close();
            return false;
        }
        let scan = pg_sys::systable_beginscan(
            relation,
            index,
            true,
            pg_sys::GetActiveSnapshot(),
            1,
            &mut key,
        );
        let tuple = pg_sys::systable_getnext(scan);
        if !tuple.is_null() {
            found(&CustomerRow::from_tuple(tuple, (*relation).rd_att, &layout));
        }
        pg_sys::systable_endscan(scan);
    }
    customers.close();
    true
}
