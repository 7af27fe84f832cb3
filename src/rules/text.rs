//! What the Unicode character database says about one code point.
//!
//! Every table is ICU4X's, compiled in and pinned by `Cargo.lock`: the database's locale, its provider
//! and the operating system have no say.

use icu_normalizer::ComposingNormalizerBorrowed;
use icu_properties::props::{DefaultIgnorableCodePoint, GeneralCategory, NoncharacterCodePoint};
use icu_properties::{CodePointMapData, CodePointSetData};
use std::borrow::Cow;

pub use icu_properties::props::GeneralCategory as Category;

pub const REPLACEMENT_CHARACTER: char = '\u{FFFD}';

pub fn nfc(text: &str) -> Cow<'_, str> {
    const { ComposingNormalizerBorrowed::new_nfc() }.normalize(text)
}

/// For comparing what people have typed: without case, width, the ways to write an accent, the full stops that a
/// domain may be written with, runs of white space and characters that cannot be seen.
pub fn loose(text: &str) -> String {
    let nfkc = const { ComposingNormalizerBorrowed::new_nfkc() };
    // By way of capitals, for ß is SS in them.
    let folded = nfkc.normalize(text).to_uppercase().to_lowercase().replace('\u{3002}', ".");
    let seen: String = nfkc.normalize(&folded).chars().filter(|c| !is_invisible(*c)).collect();
    seen.split_whitespace().collect::<Vec<_>>().join(" ")
}

fn is_invisible(c: char) -> bool {
    is_default_ignorable(c) || category(c) == Category::Format
}

pub fn category(c: char) -> Category {
    const { CodePointMapData::<GeneralCategory>::new() }.get(c)
}

/// Drawn as nothing at all: zero-width characters, joiners, soft hyphen, variation selectors, fillers.
pub fn is_default_ignorable(c: char) -> bool {
    const { CodePointSetData::new::<DefaultIgnorableCodePoint>() }.contains(c)
}

pub fn is_noncharacter(c: char) -> bool {
    const { CodePointSetData::new::<NoncharacterCodePoint>() }.contains(c)
}
