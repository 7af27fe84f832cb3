//! An event and its parts.

use crate::customer::row::{CustomerRow, Field};
use crate::postgres::ffi;
use crate::postgres::jsonb::{self, Jsonb};
use crate::refusal::Refusal;
use pgrx::{Uuid, pg_sys};
use std::ffi::CStr;

#[derive(Clone, Copy)]
pub enum Type {
    Registered,
    Updated,
    Erased,
}

impl Type {
    pub fn name(self) -> &'static str {
        match self {
            Self::Registered => "customer-registered",
            Self::Updated => "customer-updated",
            Self::Erased => "customer-erased",
        }
    }

    pub fn parse(name: &[u8]) -> Option<Self> {
        [Self::Registered, Self::Updated, Self::Erased]
            .into_iter()
            .find(|r#type| r#type.name().as_bytes() == name)
    }
}

/// The part of an event that its notification needs.
pub struct Event {
    pub position: i64,
    pub event_id: Uuid,
    pub r#type: Type,
    pub customer_id: Uuid,
    pub version: i64,
    pub changed: Changed,
}

/// The fields that an event sets.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Changed {
    pub email: bool,
    pub name: bool,
    pub status: bool,
}

impl Changed {
    /// An erasure publishes no new value.
    pub const NOTHING: Self = Self { email: false, name: false, status: false };

    /// A registration sets all fields that have a value.
    pub const EVERYTHING: Self = Self { email: true, name: true, status: true };

    pub fn registered(new: &CustomerRow) -> Self {
        Self { email: true, name: new.has_name(), status: true }
    }

    pub fn updated(old: &CustomerRow, new: &CustomerRow) -> Self {
        Self {
            email: new.differs(old, Field::Email),
            name: new.differs(old, Field::Name),
            status: new.differs(old, Field::Status),
        }
    }

    pub fn any(self) -> bool {
        self.email || self.name || self.status
    }

    pub fn fields(self) -> impl Iterator<Item = Field> {
        [(self.email, Field::Email), (self.name, Field::Name), (self.status, Field::Status)]
            .into_iter()
            .filter_map(|(changed, field)| changed.then_some(field))
    }

    /// The names of the fields, and their number.
    pub fn names(self) -> ([&'static str; 3], usize) {
        let mut names = [""; 3];
        let count = names.iter_mut().zip(self.fields()).map(|(name, field)| *name = field.name());
        let count = count.count();
        (names, count)
    }

    /// The new values as a jsonb object, in the current memory context. Refuses invalid UTF-8: a trigger
    /// that fires after the guard can write it.
    pub fn to_jsonb(self, new: &CustomerRow) -> Result<Jsonb<'static>, Refusal> {
        let mut values = [None; 3];
        for (value, field) in values.iter_mut().zip(self.fields()) {
            *value = new.read(field)?;
        }
        Ok(jsonb::object(self.fields().map(Field::name).zip(values)))
    }
}

/// The same UUID as a type that serde writes with hyphens.
pub fn hyphenated(uuid: &Uuid) -> uuid::Uuid {
    uuid::Uuid::from_bytes(*uuid.as_bytes())
}

/// The login role of the session, with U+FFFD in place of invalid UTF-8: role names are shared by the
/// cluster, and may come from a database of another encoding.
pub fn session_user() -> String {
    // SAFETY: GetUserNameFromId returns a palloc'ed text that ends in NUL, and is copied here.
    let name = unsafe { CStr::from_ptr(pg_sys::GetUserNameFromId(ffi::GetSessionUserId(), false)) };
    name.to_string_lossy().into_owned()
}

#[cfg(any(test, feature = "pg_test"))]
#[pgrx::pg_schema]
mod tests {
    use pgrx::prelude::*;

    #[pg_test]
    fn the_session_user_is_the_login_role() {
        let name = Spi::get_one::<String>("SELECT session_user::text").unwrap();
        assert_eq!(name, Some(super::session_user()));
    }
}
