//! A timestamptz as PostgreSQL writes it in JSON: ISO 8601, in the session's time zone.

use super::ffi;
use pgrx::pg_sys;
use serde::{Serialize, Serializer};
use std::ffi::CStr;

/// Microseconds since 2000, UTC.
#[derive(Clone, Copy)]
pub struct Timestamp(pub pg_sys::TimestampTz);

impl Serialize for Timestamp {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut buffer = [0; pg_sys::MAXDATELEN as usize + 1];
        // SAFETY: JsonEncodeDateTime writes at most MAXDATELEN octets and a NUL, all ASCII.
        let text = unsafe {
            ffi::with_error_boundary(|| {
                ffi::JsonEncodeDateTime(
                    buffer.as_mut_ptr(),
                    self.0.into(),
                    pg_sys::TIMESTAMPTZOID,
                    std::ptr::null(),
                )
            });
            CStr::from_ptr(buffer.as_ptr())
        };
        serializer.serialize_str(text.to_str().expect("ASCII"))
    }
}
