//! Writes jsonb objects in the format of PostgreSQL's utils/jsonb.h. For the small objects of this extension
//! pushJsonbValue and JsonbValueToJsonb, which write any jsonb, take several times the instructions, and took a third of
//! those of reading the feed.

use super::Jsonb;
use crate::postgres::ffi;
use pgrx::{pg_sys, varlena};
use std::ops::Range;

const ALIGNMENT: usize = 4;

/// A value that was written: its JENTRY_IS… type, and its octets in the writer's buffer.
pub struct Written {
    r#type: u32,
    octets: Range<usize>,
}

pub const NULL: Written = Written { r#type: pg_sys::JENTRY_ISNULL, octets: 0..0 };

/// Holds the values of one document until the object that contains them is written behind them.
pub struct Writer(Vec<u8>);

impl Writer {
    pub fn new() -> Self {
        Self(Vec::with_capacity(1024))
    }

    pub fn text(&mut self, text: &str) -> Written {
        self.append(pg_sys::JENTRY_ISSTRING, text.as_bytes())
    }

    pub fn number(&mut self, number: i64) -> Written {
        // SAFETY: int64_to_numeric returns a palloc'ed varlena with a header of four octets, which says how many there are.
        let numeric = unsafe {
            let numeric = ffi::with_error_boundary(|| ffi::int64_to_numeric(number));
            std::slice::from_raw_parts(numeric.cast::<u8>(), varlena::varsize_4b(numeric.cast()))
        };
        self.append(pg_sys::JENTRY_ISNUMERIC, numeric)
    }

    /// An object of values that this writer has written. Each key stands once.
    pub fn object(&mut self, mut fields: Vec<(&'static str, Written)>) -> Written {
        fields.sort_unstable_by_key(|(key, _)| (key.len(), *key));
        self.align();
        let begin = self.0.len();
        self.append_word(fields.len() as u32 | pg_sys::JB_FOBJECT);
        let mut entry = self.0.len();
        let data = entry + 2 * fields.len() * size_of::<u32>();
        self.0.resize(data, 0);
        for (key, _) in &fields {
            let from = self.0.len();
            self.0.extend_from_slice(key.as_bytes());
            self.set_entry(&mut entry, begin, data, pg_sys::JENTRY_ISSTRING, from);
        }
        for (_, Written { r#type, octets }) in fields {
            let from = self.0.len();
            if matches!(r#type, pg_sys::JENTRY_ISNUMERIC | pg_sys::JENTRY_ISCONTAINER) {
                self.align();
            }
            self.0.extend_from_within(octets);
            self.set_entry(&mut entry, begin, data, r#type, from);
        }
        Written { r#type: pg_sys::JENTRY_ISCONTAINER, octets: begin..self.0.len() }
    }

    /// The entry of a key or a value that was appended to an object's data: its type and its length with the padding before
    /// it, or, for every JB_OFFSET_STRIDE-th, where it ends.
    fn set_entry(&mut self, at: &mut usize, begin: usize, data: usize, r#type: u32, from: usize) {
        let end = self.0.len() - data;
        assert!(end <= pg_sys::JENTRY_OFFLENMASK as usize, "jsonb holds no object of that length");
        let index = (*at - begin) / size_of::<u32>() - 1;
        let entry = if index.is_multiple_of(pg_sys::JB_OFFSET_STRIDE as usize) {
            r#type | end as u32 | pg_sys::JENTRY_HAS_OFF
        } else {
            r#type | (self.0.len() - from) as u32
        };
        let next = *at + size_of::<u32>();
        self.0[*at..next].copy_from_slice(&entry.to_ne_bytes());
        *at = next;
    }

    fn append(&mut self, r#type: u32, octets: &[u8]) -> Written {
        let begin = self.0.len();
        self.0.extend_from_slice(octets);
        Written { r#type, octets: begin..self.0.len() }
    }

    fn append_word(&mut self, word: u32) {
        self.0.extend_from_slice(&word.to_ne_bytes());
    }

    fn align(&mut self) {
        self.0.resize(self.0.len().next_multiple_of(ALIGNMENT), 0);
    }

    /// The document whose root is this object, in the current memory context.
    pub fn finish(self, root: Written) -> Jsonb<'static> {
        assert!(root.r#type == pg_sys::JENTRY_ISCONTAINER, "the root is an object");
        let root = &self.0[root.octets];
        let octets = root.len() + pg_sys::VARHDRSZ;
        // SAFETY: palloc returns `octets` octets, aligned for a varlena, whose header says how many they are; object() has
        // written the rest as a jsonb container.
        unsafe {
            let jsonb = pg_sys::palloc(octets).cast::<pg_sys::varlena>();
            varlena::set_varsize_4b(jsonb, octets as i32);
            let data = jsonb.cast::<u8>().add(pg_sys::VARHDRSZ);
            data.copy_from_nonoverlapping(root.as_ptr(), root.len());
            Jsonb::new(jsonb.into())
        }
    }
}

#[cfg(any(test, feature = "pg_test"))]
#[pgrx::pg_schema]
mod tests {
    use super::*;
    use pgrx::prelude::*;

    /// The octets of a jsonb, and of what PostgreSQL makes of its text.
    fn ours_and_theirs(ours: Jsonb) -> [Vec<u8>; 2] {
        // SAFETY: jsonb_out takes a jsonb and returns a text that ends in NUL, which jsonb_in takes; both jsonbs are not
        // toasted.
        unsafe {
            let text =
                pgrx::direct_function_call_as_datum(pg_sys::jsonb_out, &[Some(ours.datum())]);
            let theirs = pgrx::direct_function_call_as_datum(pg_sys::jsonb_in, &[text]).unwrap();
            [ours.datum(), theirs].map(|jsonb| {
                let jsonb = jsonb.cast_mut_ptr::<pg_sys::varlena>();
                std::slice::from_raw_parts(jsonb.cast::<u8>(), varlena::varsize_any(jsonb)).to_vec()
            })
        }
    }

    #[pg_test]
    fn an_object_has_the_octets_that_postgresql_gives_it() {
        // Every alignment of what stands before and after a number, a null and an object within.
        for length in 0..9 {
            for number in [0, 1, -3, 9_999, 10_000, i64::MAX, i64::MIN] {
                let mut writer = Writer::new();
                let text = "äxyzäxyzäxyz".chars().take(length).collect::<String>();
                let (a, b, c) = (writer.text(&text), writer.number(number), writer.text(&text));
                let within = writer.object(vec![("number", b), ("of", NULL), ("at", c)]);
                let (d, e) = (writer.text(&text), writer.number(number));
                let empty = writer.object(Vec::new());
                let root = vec![
                    ("within", within),
                    ("b", d),
                    ("text", a),
                    ("a", NULL),
                    ("empty", empty),
                    ("e", e),
                ];
                let root = writer.object(root);
                let [ours, theirs] = ours_and_theirs(writer.finish(root));
                assert_eq!(ours, theirs, "{text:?} {number}");
            }
        }
    }

    #[pg_test]
    fn an_object_of_more_fields_than_a_stride_has_the_octets_that_postgresql_gives_it() {
        const KEYS: &str = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ";
        let mut writer = Writer::new();
        let fields = (0..KEYS.len()).map(|i| (&KEYS[i..=i], writer.text(&KEYS[..i]))).collect();
        let root = writer.object(fields);
        let [ours, theirs] = ours_and_theirs(writer.finish(root));
        assert_eq!(ours, theirs);
    }
}
