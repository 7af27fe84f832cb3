//! A row of customers.customers, as the triggers and the fast path process it.

use super::schema::CUSTOMER_COLUMNS;
use crate::postgres::error::OrRaise;
use crate::postgres::text::Text;
use crate::postgres::timestamp::Timestamp;
use crate::postgres::typed_datum::TypedDatum;
use crate::refusal::Refusal;
use crate::rules::{InputLimit, email, name, status};
use pgrx::Uuid;
use pgrx::pg_sys::BuiltinOid::{INT8OID, TIMESTAMPTZOID};

/// The number of a customer's columns.
pub const COUNT: usize = CUSTOMER_COLUMNS.len();

/// The columns of a customer, by their index in [`CUSTOMER_COLUMNS`].
#[derive(Clone, Copy, PartialEq, Eq)]
enum Column {
    CustomerId,
    Email,
    Name,
    Status,
    RegisteredAt,
    UpdatedAt,
    Version,
}

/// The columns whose changes increment the version and are recorded.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Field {
    Email,
    Name,
    Status,
}

impl Field {
    pub const ALL: [Self; 3] = [Self::Email, Self::Name, Self::Status];

    /// The name in documents and messages.
    pub fn name(self) -> &'static str {
        match self {
            Self::Email => "email",
            Self::Name => "name",
            Self::Status => "status",
        }
    }

    fn column(self) -> Column {
        match self {
            Self::Email => Column::Email,
            Self::Name => Column::Name,
            Self::Status => Column::Status,
        }
    }

    fn limit(self) -> InputLimit {
        match self {
            Self::Email => email::INPUT_LIMIT,
            Self::Name => name::INPUT_LIMIT,
            Self::Status => status::INPUT_LIMIT,
        }
    }
}

/// The values of one row; valid as long as the row they were read from.
pub struct CustomerRow<'row> {
    values: [TypedDatum<'row>; COUNT],
    written: [bool; COUNT],
}

impl<'row> CustomerRow<'row> {
    /// The index of customer_id in [`CUSTOMER_COLUMNS`].
    pub const ID: usize = Column::CustomerId as usize;

    /// The values of [`CUSTOMER_COLUMNS`], in that order.
    pub fn new(values: [TypedDatum<'row>; COUNT]) -> Self {
        Self { values, written: [false; COUNT] }
    }

    /// A customer to be registered, whose other values the guard sets.
    pub fn registering(
        customer_id: Uuid,
        email: Option<Text<'row>>,
        name: Option<Text<'row>>,
        status: &str,
    ) -> Self {
        Self::new([
            customer_id.into(),
            TypedDatum::received(email),
            TypedDatum::received(name),
            status.into(),
            TypedDatum::null(TIMESTAMPTZOID),
            TypedDatum::null(TIMESTAMPTZOID),
            TypedDatum::null(INT8OID),
        ])
    }

    pub fn values(&self) -> [TypedDatum<'row>; COUNT] {
        self.values
    }

    /// The values that were set, each with its column's index.
    pub fn written(&self) -> impl Iterator<Item = (usize, TypedDatum<'row>)> {
        (0..COUNT).filter(|i| self.written[*i]).map(|i| (i, self.values[i]))
    }

    fn value(&self, column: Column) -> TypedDatum<'row> {
        self.values[column as usize]
    }

    /// The customer's id. Refuses NULL, which only a table that has lost its primary key can hold.
    pub fn id(&self) -> Uuid {
        self.given_id().ok_or(Refusal::Missing { argument: "customer_id" }).or_raise()
    }

    pub fn given_id(&self) -> Option<Uuid> {
        self.value(Column::CustomerId).get()
    }

    fn text(&self, field: Field) -> Option<Text<'row>> {
        self.value(field.column()).get()
    }

    /// The text of a field; refused if it is longer than the rules allow or not valid UTF-8.
    pub fn read(&self, field: Field) -> Result<Option<&str>, Refusal> {
        self.text(field).map(|text| text.read(field.name(), field.limit())).transpose()
    }

    /// Whether a field differs from that of `other`, byte by byte: stored values need not be valid.
    pub fn differs(&self, other: &CustomerRow, field: Field) -> bool {
        let (mine, theirs) = (self.text(field), other.text(field));
        mine.map(Text::octets) != theirs.map(Text::octets)
            || mine.map(Text::bytes) != theirs.map(Text::bytes)
    }

    pub fn has_name(&self) -> bool {
        !self.value(Column::Name).is_null()
    }

    /// In microseconds since 2000.
    pub fn registered_at(&self) -> Option<i64> {
        self.moment(Column::RegisteredAt)
    }

    /// In microseconds since 2000.
    pub fn updated_at(&self) -> Option<i64> {
        self.moment(Column::UpdatedAt)
    }

    pub fn version(&self) -> Option<i64> {
        self.value(Column::Version).get()
    }

    fn moment(&self, column: Column) -> Option<i64> {
        self.value(column).get().map(|Timestamp(moment)| moment)
    }

    pub fn set_id(&mut self, customer_id: Uuid) {
        self.set(Column::CustomerId, customer_id.into());
    }

    pub fn set_text(&mut self, field: Field, text: &str) {
        if self.text(field).map(Text::bytes) != Some(text.as_bytes()) {
            self.set(field.column(), text.into());
        }
    }

    pub fn set_registered_at(&mut self, moment: i64) {
        self.set_moment(Column::RegisteredAt, moment);
    }

    pub fn set_updated_at(&mut self, moment: i64) {
        self.set_moment(Column::UpdatedAt, moment);
    }

    pub fn set_version(&mut self, version: i64) {
        if self.version() != Some(version) {
            self.set(Column::Version, version.into());
        }
    }

    fn set_moment(&mut self, column: Column, moment: i64) {
        if self.moment(column) != Some(moment) {
            self.set(column, Timestamp(moment).into());
        }
    }

    fn set(&mut self, column: Column, value: TypedDatum<'row>) {
        self.values[column as usize] = value;
        self.written[column as usize] = true;
    }

    /// The indexes of the columns that are NULL and have a default.
    pub fn missing_defaults(&self) -> impl Iterator<Item = usize> {
        let columns = [Column::CustomerId, Column::Status, Column::RegisteredAt];
        let missing = columns.map(|column| self.value(column).is_null().then_some(column as usize));
        missing.into_iter().flatten()
    }

    /// Sets the value of a column by its index.
    pub fn set_default(&mut self, index: usize, value: TypedDatum<'row>) {
        self.values[index] = value;
        self.written[index] = !value.is_null();
    }

    /// The columns that an event copies: id, version and time of the change.
    pub fn event_values(&self) -> [TypedDatum<'row>; 3] {
        [self.value(Column::CustomerId), self.value(Column::Version), self.value(Column::UpdatedAt)]
    }
}
