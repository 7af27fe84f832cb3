//! The canonical form of an address or a name: for look-ups, for hashing before a call, for correcting rows.

use super::read;
use crate::postgres::error::{OrRaise, entry_point};
use crate::postgres::text::Text;
use crate::rules::{email, name};
use pgrx::prelude::*;

#[pg_extern(sql = false)]
fn canonical_email(email: Option<Text<'_>>) -> Option<String> {
    entry_point(|| {
        let email = read("email", email, email::INPUT_LIMIT).or_raise();
        email.map(|email| email::canonical(email).or_raise())
    })
}

#[pg_extern(sql = false)]
fn canonical_name(name: Option<Text<'_>>) -> Option<String> {
    entry_point(|| {
        let name = read("name", name, name::INPUT_LIMIT).or_raise();
        name.map(|name| name::canonical(name).or_raise().into_owned())
    })
}
