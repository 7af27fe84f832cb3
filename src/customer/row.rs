//! A row of customers.customers, as the triggers and the fast path process it.

use super::schema::CUSTOMER_COLUMNS;
use crate::postgres::error::OrRaise;
use crate::postgres::statement::Param;
use crate::postgres::text::Text;
use crate::postgres::trigger::Values;
use crate::refusal::Refusal;
use crate::rules::{InputLimit, email, name, status};
use pgrx::{FromDatum, IntoDatum, Uuid, pg_sys};

/// The number of a customer's columns.
pub const COUNT: usize = CUSTOMER_COLUMNS.len();

/// The columns of a customer, by their place in [`CUSTOMER_COLUMNS`].
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
    values: Values<'row, COUNT>,
    written: [bool; COUNT],
}

impl<'row> CustomerRow<'row> {
    /// The values of [`CUSTOMER_COLUMNS`], in that order.
    pub fn new(values: Values<'row, COUNT>) -> Self {
        Self { values, written: [false; COUNT] }
    }

    /// A customer to be registered, whose other values the guard sets.
    pub fn registering(
        customer_id: Uuid,
        email: Option<Text<'row>>,
        name: Option<Text<'row>>,
        status: &str,
    ) -> Self {
        let text = |text: Option<Text>| text.map(Text::datum);
        Self::new(Values::of([
            customer_id.into_datum(),
            text(email),
            text(name),
            status.into_datum(),
            None,
            None,
            None,
        ]))
    }

    pub fn values(&self) -> [Param; COUNT] {
        self.values.values
    }

    /// The values that were set, each with its column's place.
    pub fn written(&self) -> impl Iterator<Item = (usize, pg_sys::Datum)> {
        let set = (0..COUNT).filter(|i| self.written[*i]);
        set.filter_map(|i| Some((i, self.values.values[i]?)))
    }

    fn value(&self, column: Column) -> Param {
        self.values.values[column as usize]
    }

    /// The customer's id. Refuses NULL, which only a table that has lost its primary key can hold.
    pub fn id(&self) -> Uuid {
        self.given_id().ok_or(Refusal::Missing { argument: "customer_id" }).or_raise()
    }

    pub fn given_id(&self) -> Option<Uuid> {
        // SAFETY: column_numbers() has verified that the column is of type uuid.
        self.value(Column::CustomerId).and_then(|value| unsafe { Uuid::from_datum(value, false) })
    }

    fn text(&self, field: Field) -> Option<Text<'_>> {
        // SAFETY: column_numbers() has verified that the three columns are of type text; the datum lives as
        // long as the row.
        self.value(field.column()).map(|value| unsafe { Text::new(value) })
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
        self.value(Column::Name).is_some()
    }

    /// In microseconds since 2000.
    pub fn registered_at(&self) -> Option<i64> {
        self.integer(Column::RegisteredAt)
    }

    /// In microseconds since 2000.
    pub fn updated_at(&self) -> Option<i64> {
        self.integer(Column::UpdatedAt)
    }

    pub fn version(&self) -> Option<i64> {
        self.integer(Column::Version)
    }

    fn integer(&self, column: Column) -> Option<i64> {
        self.value(column).map(|value| value.value() as i64)
    }

    pub fn set_id(&mut self, customer_id: Uuid) {
        self.set(Column::CustomerId, customer_id.into_datum());
    }

    pub fn set_text(&mut self, field: Field, text: &str) {
        if self.text(field).map(Text::bytes) != Some(text.as_bytes()) {
            self.set(field.column(), text.into_datum());
        }
    }

    pub fn set_registered_at(&mut self, moment: i64) {
        self.set_integer(Column::RegisteredAt, moment);
    }

    pub fn set_updated_at(&mut self, moment: i64) {
        self.set_integer(Column::UpdatedAt, moment);
    }

    pub fn set_version(&mut self, version: i64) {
        self.set_integer(Column::Version, version);
    }

    fn set_integer(&mut self, column: Column, value: i64) {
        if self.integer(column) != Some(value) {
            self.set(column, value.into_datum());
        }
    }

    fn set(&mut self, column: Column, value: Param) {
        self.values.values[column as usize] = value;
        self.written[column as usize] = true;
    }

    /// The places of the columns that are NULL and have a default.
    pub fn missing_defaults(&self) -> impl Iterator<Item = usize> {
        let columns = [Column::CustomerId, Column::Status, Column::RegisteredAt];
        let missing = columns.map(|column| self.value(column).is_none().then_some(column as usize));
        missing.into_iter().flatten()
    }

    /// Sets the value of a column by its place.
    pub fn set_default(&mut self, place: usize, value: Param) {
        self.values.values[place] = value;
        self.written[place] = value.is_some();
    }

    /// The columns that an event copies: id, version and time of the change.
    pub fn event_values(&self) -> [Param; 3] {
        [self.value(Column::CustomerId), self.value(Column::Version), self.value(Column::UpdatedAt)]
    }
}
