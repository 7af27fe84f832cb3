//! A row of customers.customers, as triggers and the fast path see it.

use crate::postgres::error::OrRaise;
use crate::postgres::statement::Param;
use crate::postgres::text::Text;
use crate::postgres::trigger::Values;
use crate::refusal::Refusal;
use crate::rules::{InputLimit, email, name, status};
use pgrx::{FromDatum, IntoDatum, Uuid, pg_sys};

/// The columns of a customer, by their place in [`CUSTOMER_COLUMNS`](super::schema::CUSTOMER_COLUMNS).
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

/// The columns whose changes are counted and recorded.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Field {
    Email,
    Name,
    Status,
}

impl Field {
    pub const ALL: [Self; 3] = [Self::Email, Self::Name, Self::Status];

    /// As documents and messages spell it.
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

/// The values of one row; valid as long as what they were read from.
pub struct CustomerRow<'row> {
    values: Values<'row, 7>,
    written: [bool; 7],
}

impl<'row> CustomerRow<'row> {
    /// The values are those of the columns of [`CUSTOMER_COLUMNS`](super::schema::CUSTOMER_COLUMNS), by
    /// number.
    pub fn new(values: Values<'row, 7>) -> Self {
        Self { values, written: [false; 7] }
    }

    /// A customer in the making, whose other values are the guard's to set.
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

    pub fn values(&self) -> [Param; 7] {
        self.values.values
    }

    /// Which values have been set, with their columns' places.
    pub fn written(&self) -> impl Iterator<Item = (usize, pg_sys::Datum)> {
        let set = (0..7).filter(|i| self.written[*i]);
        set.filter_map(|i| Some((i, self.values.values[i]?)))
    }

    fn value(&self, column: Column) -> Param {
        self.values.values[column as usize]
    }

    /// The customer's id, which only a table without its key lacks.
    pub fn id(&self) -> Uuid {
        self.given_id().ok_or(Refusal::Missing { argument: "customer_id" }).or_raise()
    }

    pub fn given_id(&self) -> Option<Uuid> {
        // SAFETY: the column is of type uuid.
        self.value(Column::CustomerId).and_then(|value| unsafe { Uuid::from_datum(value, false) })
    }

    fn text(&self, field: Field) -> Option<Text<'_>> {
        // SAFETY: the three fields are of type text, and live as long as the row.
        self.value(field.column()).map(|value| unsafe { Text::new(value) })
    }

    /// The text of a field, refused where it is longer than any that could pass or not valid UTF-8.
    pub fn read(&self, field: Field) -> Result<Option<&str>, Refusal> {
        self.text(field).map(|text| text.read(field.name(), field.limit())).transpose()
    }

    /// Whether a field has another value than in `other`, byte by byte: what is stored need not be valid.
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

    /// The places of the columns whose NULL means their default, and which are NULL.
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

    /// The values of an event: id, version and moment of the change.
    pub fn event_values(&self) -> [Param; 3] {
        [self.value(Column::CustomerId), self.value(Column::Version), self.value(Column::UpdatedAt)]
    }
}
