//! Text received from PostgreSQL: even in a UTF8 database it is not always valid UTF-8.
//!
//! PostgreSQL verifies values that clients send. It does not verify settings in the startup packet, texts
//! of sessions of other databases in pg_stat_activity, or names of roles created in a database of another
//! encoding. So [`Text`] is the only way from a datum to a `&str`.

use super::argument::datum_argument;
use crate::refusal::Refusal;
use crate::rules::InputLimit;
use pgrx::{pg_sys, varlena};
use std::borrow::Cow;
use std::marker::PhantomData;

/// A text argument or column value; neither detoasted nor checked yet.
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

    /// The uncompressed length in octets, determined without detoasting.
    pub fn octets(self) -> usize {
        let value = self.0.cast_mut_ptr::<pg_sys::varlena>();
        // SAFETY: a text is a varlena; toast_raw_datum_size of detoast.c handles all of its forms.
        unsafe {
            if varlena::varatt_is_1b(value) && !varlena::varatt_is_1b_e(value) {
                varlena::varsize_1b(value) - pg_sys::VARHDRSZ_SHORT
            } else {
                pg_sys::toast_raw_datum_size(self.0) - pg_sys::VARHDRSZ
            }
        }
    }

    /// The octets, detoasted in the current memory context.
    pub fn bytes(self) -> &'a [u8] {
        let value = self.0.cast_mut_ptr::<pg_sys::varlena>();
        // SAFETY: a text is a varlena that lives for 'a; a detoasted copy lives as long as the current
        // memory context, which is that of the call or of the row.
        unsafe {
            let is_toasted = varlena::varatt_is_4b_c(value) || varlena::varatt_is_1b_e(value);
            let plain = if is_toasted { pg_sys::pg_detoast_datum_packed(value) } else { value };
            std::slice::from_raw_parts(
                varlena::vardata_any(plain).cast(),
                varlena::varsize_any_exhdr(plain),
            )
        }
    }

    /// The text; refused if it is longer than `limit` or not valid UTF-8.
    pub fn read(self, argument: &'static str, limit: InputLimit) -> Result<&'a str, Refusal> {
        if self.octets() > limit.octets {
            return Err(limit.otherwise.into());
        }
        self.utf8(argument)
    }

    /// The text, of a length that is known to be small; refused if it is not valid UTF-8.
    pub fn utf8(self, argument: &'static str) -> Result<&'a str, Refusal> {
        utf8(self.bytes(), argument)
    }

    /// The text, with U+FFFD in place of invalid UTF-8.
    pub fn lossy(self) -> Cow<'a, str> {
        lossy(self.bytes())
    }
}

/// The octets as text, with U+FFFD in place of invalid UTF-8.
pub fn lossy(octets: &[u8]) -> Cow<'_, str> {
    // Faster than from_utf8_lossy alone for what is valid, as almost all is.
    std::str::from_utf8(octets).map_or_else(|_| String::from_utf8_lossy(octets), Cow::Borrowed)
}

/// The octets as text; refused if they are not valid UTF-8.
pub fn utf8<'a>(octets: &'a [u8], argument: &'static str) -> Result<&'a str, Refusal> {
    std::str::from_utf8(octets).map_err(|_| Refusal::NotUtf8 { argument })
}

datum_argument!(Text, "text");
