//! jsonb, read and built in place. By way of text it would take longer, and JSON libraries refuse some
//! numbers that jsonb holds.

mod deserialize;
mod serialize;
mod writer;

pub use deserialize::present;
pub use serialize::to_jsonb;

use deserialize::DocumentError;
use writer::Writer;

use super::argument::datum_argument;
use super::ffi;
use super::transaction::check_for_interrupts;
use pg_sys::JsonbIteratorToken::{WJB_BEGIN_ARRAY, WJB_ELEM, WJB_KEY};
use pgrx::callconv::{BoxRet, FcInfo};
use pgrx::datum::Datum;
use pgrx::pg_sys;
use std::marker::PhantomData;

/// A jsonb argument, column value or result; not detoasted yet.
#[derive(Clone, Copy)]
pub struct Jsonb<'a>(pg_sys::Datum, PhantomData<&'a [u8]>);

datum_argument!(Jsonb, "jsonb");

// SAFETY: the result is declared as jsonb in SQL, and the datum is one.
unsafe impl BoxRet for Jsonb<'_> {
    unsafe fn box_into<'fcx>(self, fcinfo: &mut FcInfo<'fcx>) -> Datum<'fcx> {
        // SAFETY: as above.
        unsafe { fcinfo.return_raw_datum(self.0) }
    }
}

impl<'a> Jsonb<'a> {
    /// # Safety
    /// The datum is a jsonb that is valid and does not change for `'a`.
    pub unsafe fn new(datum: pg_sys::Datum) -> Self {
        Self(datum, PhantomData)
    }

    pub fn datum(self) -> pg_sys::Datum {
        self.0
    }

    /// A copy in a memory context.
    ///
    /// # Safety
    /// The context lives for `'copy`.
    pub unsafe fn copy_into<'copy>(self, context: pg_sys::MemoryContext) -> Jsonb<'copy> {
        // SAFETY: a jsonb is a varlena, which datumCopy copies with typlen -1. The caller guarantees that the
        // copy lives for 'copy.
        unsafe {
            let caller = pg_sys::MemoryContextSwitchTo(context);
            let copy = pg_sys::datumCopy(self.0, false, -1);
            pg_sys::MemoryContextSwitchTo(caller);
            Jsonb::new(copy)
        }
    }

    /// The uncompressed length in octets, determined without detoasting.
    pub fn octets(self) -> usize {
        // SAFETY: a jsonb is a varlena, in any of whose forms toast_raw_datum_size finds the length.
        unsafe { pg_sys::toast_raw_datum_size(self.0) }
    }

    /// The document's root, detoasted in the current memory context.
    pub fn root(self) -> Container<'a> {
        // SAFETY: a jsonb is a varlena; a detoasted copy lives in the current memory context, which is that
        // of the call.
        unsafe {
            let jsonb: *mut pg_sys::Jsonb = pg_sys::pg_detoast_datum(self.0.cast_mut_ptr()).cast();
            Container(&raw mut (*jsonb).root, PhantomData)
        }
    }
}

/// An object or an array; a scalar document is stored as an array of one element.
#[derive(Clone, Copy)]
pub struct Container<'a>(*mut pg_sys::JsonbContainer, PhantomData<&'a [u8]>);

/// The value of a field. Numbers, booleans, arrays and objects are all `Other`: the documents of this
/// extension hold only texts and nulls.
#[derive(Clone, Copy)]
pub enum Value<'a> {
    Null,
    /// Octets that are not yet checked to be UTF-8.
    String(&'a [u8]),
    Other,
}

/// The fields of an object; jsonb keeps each name once.
pub type Fields<'a> = Vec<(&'a [u8], Value<'a>)>;

impl<'a> Container<'a> {
    fn header(self) -> u32 {
        // SAFETY: the pointer is to a container of a live jsonb, whose first member is its header.
        unsafe { (*self.0).header }
    }

    pub fn is_object(self) -> bool {
        self.header() & pg_sys::JB_FOBJECT != 0
    }

    /// Whether the document is a string.
    pub fn is_string(self) -> bool {
        let mut value = pg_sys::JsonbValue::default();
        // SAFETY: JB_FSCALAR says that the container is the root of a scalar document, as
        // JsonbExtractScalar requires.
        self.header() & pg_sys::JB_FSCALAR != 0
            && unsafe { pg_sys::JsonbExtractScalar(self.0, &mut value) }
            && value.type_ == pg_sys::jbvType::jbvString
    }

    /// How many elements an array has, or fields an object.
    fn len(self) -> usize {
        (self.header() & pg_sys::JB_CMASK) as usize
    }

    /// How many elements an array has; None where it is none.
    pub fn array_len(self) -> Option<usize> {
        let is_array =
            self.header() & (pg_sys::JB_FARRAY | pg_sys::JB_FSCALAR) == pg_sys::JB_FARRAY;
        is_array.then(|| self.len())
    }

    /// The fields of an object; None if this is none.
    pub fn fields(self) -> Option<Fields<'a>> {
        if !self.is_object() {
            return None;
        }
        let count = self.len();
        let mut fields = Vec::with_capacity(count);
        let mut value = pg_sys::JsonbValue::default();
        // SAFETY: `skipNested` is true, so the iterator returns key and value in turn until the end of the
        // object; both point into the jsonb, which lives for 'a. `fields` has room for as many as the object
        // says it has, so that it does not grow inside the boundary.
        unsafe {
            ffi::with_error_boundary(|| {
                let mut iterator = ffi::JsonbIteratorInit(self.0);
                ffi::JsonbIteratorNext(&mut iterator, &mut value, true);
                for _ in 0..count {
                    if ffi::JsonbIteratorNext(&mut iterator, &mut value, true) != WJB_KEY {
                        break;
                    }
                    let key = string_of(&value);
                    ffi::JsonbIteratorNext(&mut iterator, &mut value, true);
                    let value = match value.type_ {
                        pg_sys::jbvType::jbvNull => Value::Null,
                        pg_sys::jbvType::jbvString => Value::String(string_of(&value)),
                        _ => Value::Other,
                    };
                    fields.push((key, value));
                }
            });
        }
        Some(fields)
    }

    /// Calls `each` for every element of an array: with a container, or with None for a scalar.
    pub fn for_each_element(self, mut each: impl FnMut(Option<Container<'a>>)) {
        let mut value = pg_sys::JsonbValue::default();
        // SAFETY: `skipNested` is true, so the iterator returns one element after another until the end of
        // the array; a jbvBinary element points to a container inside the jsonb, which lives for 'a.
        unsafe {
            let mut iterator = pg_sys::JsonbIteratorInit(self.0);
            let begin = pg_sys::JsonbIteratorNext(&mut iterator, &mut value, true);
            if begin != WJB_BEGIN_ARRAY {
                return;
            }
            while pg_sys::JsonbIteratorNext(&mut iterator, &mut value, true) == WJB_ELEM {
                check_for_interrupts();
                let is_container = value.type_ == pg_sys::jbvType::jbvBinary;
                each(is_container.then_some(Container(value.val.binary.data, PhantomData)));
            }
        }
    }
}

/// # Safety
/// The value is a string inside a jsonb that lives for `'a`.
unsafe fn string_of<'a>(value: &pg_sys::JsonbValue) -> &'a [u8] {
    // SAFETY: the caller guarantees a jbvString, whose pointer and length are set and valid for 'a.
    unsafe {
        let string = value.val.string;
        std::slice::from_raw_parts(string.val.cast(), string.len as usize)
    }
}

/// Builds an object of texts and nulls in the current memory context.
pub fn object<'a>(fields: impl Iterator<Item = (&'static str, Option<&'a str>)>) -> Jsonb<'static> {
    let mut writer = Writer::new();
    let fields = fields
        .map(|(key, value)| (key, value.map_or(writer::NULL, |text| writer.text(text))))
        .collect();
    let root = writer.object(fields);
    writer.finish(root)
}
