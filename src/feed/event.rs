//! One event: what it says, and how its parts are made.

use crate::customer::{Column, CustomerRow};
use crate::jsonb;
use crate::raw;
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

    pub fn parse(name: &str) -> Option<Self> {
        [Self::Registered, Self::Updated, Self::Erased]
            .into_iter()
            .find(|r#type| r#type.name() == name)
    }
}

/// What a notification tells of an event.
pub struct Event {
    pub position: i64,
    pub event_id: Uuid,
    pub r#type: Type,
    pub customer_id: Uuid,
    pub version: i64,
    pub changed: Changed,
}

/// Which fields an event sets.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Changed {
    pub email: bool,
    pub name: bool,
    pub status: bool,
}

impl Changed {
    /// An erasure sets nothing that would be told.
    pub const NOTHING: Self = Self { email: false, name: false, status: false };

    /// A registration sets what the customer has.
    pub fn registered(new: &CustomerRow) -> Self {
        Self { email: true, name: new.value(Column::Name).is_some(), status: true }
    }

    pub fn updated(old: &CustomerRow, new: &CustomerRow) -> Self {
        let differs = |column| old.text(column) != new.text(column);
        Self {
            email: differs(Column::Email),
            name: differs(Column::Name),
            status: differs(Column::Status),
        }
    }

    pub fn any(self) -> bool {
        self.email || self.name || self.status
    }

    fn columns(self) -> impl Iterator<Item = (Column, &'static str)> {
        [
            (self.email, Column::Email, "email"),
            (self.name, Column::Name, "name"),
            (self.status, Column::Status, "status"),
        ]
        .into_iter()
        .filter_map(|(changed, column, field)| changed.then_some((column, field)))
    }

    pub fn fields(self) -> impl Iterator<Item = &'static str> {
        self.columns().map(|(_, field)| field)
    }

    /// The new values as a jsonb object, in the memory context at hand.
    pub fn to_jsonb(self, new: &CustomerRow) -> pg_sys::Datum {
        jsonb::object(self.columns().map(|(column, field)| (field, new.text(column))))
    }
}

/// The login role of the session.
pub fn session_user() -> &'static CStr {
    // SAFETY: the name is palloc'ed in the context at hand, and used before that goes.
    unsafe { CStr::from_ptr(pg_sys::GetUserNameFromId(raw::GetSessionUserId(), false)) }
}

#[cfg(any(test, feature = "pg_test"))]
#[pgrx::pg_schema]
mod tests {
    use pgrx::prelude::*;

    #[pg_test]
    fn the_session_user_is_the_login_role() {
        let name = Spi::get_one::<String>("SELECT session_user::text").unwrap();
        assert_eq!(name.as_deref(), super::session_user().to_str().ok());
    }
}
