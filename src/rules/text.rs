//! Unicode properties and normalisation.
//!
//! All tables are ICU4X's, compiled in and pinned by `Cargo.lock`: the result depends neither on the
//! database's locale and provider nor on the operating system.

use icu_normalizer::ComposingNormalizerBorrowed;
use icu_properties::props::{DefaultIgnorableCodePoint, GeneralCategory, NoncharacterCodePoint};
use icu_properties::{CodePointMapData, CodePointSetData};
use std::borrow::Cow;

pub use icu_properties::props::GeneralCategory as Category;

pub const REPLACEMENT_CHARACTER: char = '\u{FFFD}';

pub fn nfc(text: &str) -> Cow<'_, str> {
    const { ComposingNormalizerBorrowed::new_nfc() }.normalize(text)
}

/// Normalises what people have typed for comparison: without case, width, different encodings of an accent,
/// the alternative full stops of a domain, runs of white space, and invisible characters.
pub fn comparable(text: &str) -> String {
    let nfkc = const { ComposingNormalizerBorrowed::new_nfkc() };
    // Through lower case for ẞ, then through upper case, in which ß becomes SS. Lower case has two sigmas: which, depends
    // on what follows.
    let folded = nfkc.normalize(text).to_lowercase().to_uppercase().to_lowercase();
    let folded = folded.replace('ς', "σ").replace('\u{3002}', ".");
    let seen: String = nfkc.normalize(&folded).chars().filter(|c| !is_invisible(*c)).collect();
    seen.split_whitespace().collect::<Vec<_>>().join(" ")
}

fn is_invisible(c: char) -> bool {
    is_default_ignorable(c) || category(c) == Category::Format
}

pub fn category(c: char) -> Category {
    const { CodePointMapData::<GeneralCategory>::new() }.get(c)
}

/// Not rendered: zero-width characters, joiners, soft hyphen, variation selectors, fillers.
pub fn is_default_ignorable(c: char) -> bool {
    const { CodePointSetData::new::<DefaultIgnorableCodePoint>() }.contains(c)
}

pub fn is_noncharacter(c: char) -> bool {
    const { CodePointSetData::new::<NoncharacterCodePoint>() }.contains(c)
}
