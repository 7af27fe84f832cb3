//! Text as PostgreSQL hands it over: a database in UTF8 does not make every text valid UTF-8.
//!
//! PostgreSQL checks what clients send as values, and does not check settings of the start packet, what
//! sessions of other databases show in pg_stat_activity, or role names that were made in another encoding.
//! So this is the one way from a datum to a `&str`.

use super::argument::datum_argument;
use crate::refusal::Refusal;
use crate::rules::InputLimit;
use pgrx::{pg_sys, varlena};
use std::borrow::Cow;
use std::marker::PhantomData;

/// A text argument or column value: not detoasted, not checked.
#[derive(Clone, Copy)]
pub struct Text<'a>(pg_sys::Datum, PhantomData<&'a [u8]>);

impl<'a> Text<'a> {
    /// # Safety
    /// The datum is a text that is valid and does not change for `'a`.
    pub unsafe fn new(datum: pg_sys::Datum) -> Self {
        Self(datum, PhantomData)
    }

    pub fn datum(self) -> pg_sys::Datum {
        self.0
    }

    /// The length in octets, found out without detoasting.
    pub fn octets(self) -> usize {
        let value = self.0.cast_mut_ptr::<pg_sys::varlena>();
        // SAFETY: a text is a varlena; toast_raw_datum_size of detoast.c knows every form that one can have.
        unsafe {
            if varlena::varatt_is_1b(value) && !varlena::varatt_is_1b_e(value) {
                varlena::varsize_1b(value) - pg_sys::VARHDRSZ_SHORT
            } else {
                pg_sys::toast_raw_datum_size(self.0) - pg_sys::VARHDRSZ
            }
        }
    }

    /// The octets, detoasted in the memory context at hand.
    pub fn bytes(self) -> &'a [u8] {
        let value = self.0.cast_mut_ptr::<pg_sys::varlena>();
        // SAFETY: a text is a varlena, and lives for 'a; a detoasted copy lives as long as the memory context
        // at hand, which is that of the call or of the row.
        unsafe {
            let is_toasted = varlena::varatt_is_4b_c(value) || varlena::varatt_is_1b_e(value);
            let plain = if is_toasted { pg_sys::pg_detoast_datum_packed(value) } else { value };
            std::slice::from_raw_parts(
                varlena::vardata_any(plain).cast(),
                varlena::varsize_any_exhdr(plain),
            )
        }
    }

    /// The text, refused where it is longer than `limit` allows or not valid UTF-8.
    pub fn read(self, argument: &'static str, limit: InputLimit) -> Result<&'a str, Refusal> {
        if self.octets() > limit.octets {
            return Err(limit.otherwise.into());
        }
        self.utf8(argument)
    }

    /// The text, refused where it is not valid UTF-8. For one whose length is known to be small.
    pub fn utf8(self, argument: &'static str) -> Result<&'a str, Refusal> {
        utf8(self.bytes(), argument)
    }

    /// The text with U+FFFD in place of what is not valid UTF-8.
    pub fn lossy(self) -> Cow<'a, str> {
        String::from_utf8_lossy(self.bytes())
    }
}

/// The octets as text, refused where they are not valid UTF-8.
pub fn utf8<'a>(octets: &'a [u8], argument: &'static str) -> Result<&'a str, Refusal> {
    std::str::from_utf8(octets).map_err(|_| Refusal::NotUtf8 { argument })
}

datum_argument!(Text, "text");
