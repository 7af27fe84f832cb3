//! The rule for a customer's name.

use super::text::{self, Category};
use std::borrow::Cow;
use thiserror::Error;

/// The longest name, in code points of its canonical form.
pub const MAX_CODE_POINTS: usize = 200;

/// Format characters that names are really written with: ZWNJ, ZWJ, LRM, RLM, ALM.
const ALLOWED_FORMATS: [char; 5] = ['\u{200C}', '\u{200D}', '\u{200E}', '\u{200F}', '\u{061C}'];

/// Looks like a space although Unicode counts it among the symbols.
const BRAILLE_BLANK: char = '\u{2800}';

#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum NameError {
    #[error("name is empty")]
    Empty,
    #[error("name is longer than 200 characters")]
    TooLong,
    #[error("name holds a character that no name may hold")]
    ForbiddenCharacter,
    #[error("name holds nothing visible")]
    NothingVisible,
}

/// The name as it is stored: white space at the ends cut, NFC.
pub fn canonical(input: &str) -> Result<Cow<'_, str>, NameError> {
    let name = text::nfc(input.trim());
    if name.is_empty() {
        return Err(NameError::Empty);
    }
    // No code point is shorter than a byte, so most names need no count.
    if name.len() > MAX_CODE_POINTS && name.chars().count() > MAX_CODE_POINTS {
        return Err(NameError::TooLong);
    }
    let mut visible = false;
    for c in name.chars() {
        if is_forbidden(c) {
            return Err(NameError::ForbiddenCharacter);
        }
        visible = visible || is_visible(c);
    }
    if visible { Ok(name) } else { Err(NameError::NothingVisible) }
}

fn is_forbidden(c: char) -> bool {
    if c.is_ascii() {
        return c.is_ascii_control();
    }
    match text::category(c) {
        Category::Control | Category::LineSeparator | Category::ParagraphSeparator => true,
        Category::Format => !ALLOWED_FORMATS.contains(&c),
        _ => c == text::REPLACEMENT_CHARACTER || text::is_noncharacter(c),
    }
}

fn is_visible(c: char) -> bool {
    !(c.is_whitespace()
        || c == BRAILLE_BLANK
        || ALLOWED_FORMATS.contains(&c)
        || text::is_default_ignorable(c))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn accepts(input: &str, stored: &str) {
        assert_eq!(canonical(input).as_deref(), Ok(stored), "{input:?}");
    }

    fn refuses(input: &str, why: NameError) {
        assert_eq!(canonical(input), Err(why), "{input:?}");
    }

    #[test]
    fn white_space_at_the_ends_is_cut_and_inside_is_kept() {
        accepts("\u{3000} Ann\u{A0}Example \t\u{2003}", "Ann\u{A0}Example");
    }

    #[test]
    fn a_name_is_stored_in_nfc() {
        accepts("Zoe\u{308}", "Zoë");
    }

    #[test]
    fn a_name_has_one_to_200_code_points() {
        refuses("", NameError::Empty);
        refuses(" \u{3000}", NameError::Empty);
        accepts(&"é".repeat(200), &"é".repeat(200));
        accepts(&"e\u{301}".repeat(200), &"é".repeat(200));
        refuses(&"é".repeat(201), NameError::TooLong);
    }

    #[test]
    fn a_name_shows_something() {
        for input in ["\u{200D}", "\u{3164}", "\u{115F}\u{FE0F}", "\u{2800}"] {
            refuses(input, NameError::NothingVisible);
        }
    }

    #[test]
    fn format_characters_that_names_need_stay() {
        for input in ["ک\u{200C}ی", "क\u{94D}\u{200D}ष", "a\u{200E}b", "葛\u{E0100}城", "\u{E000}"]
        {
            accepts(input, input);
        }
    }

    #[test]
    fn characters_that_deceive_or_break_lines_are_refused() {
        for c in [
            '\0',
            '\n',
            '\u{1B}',
            '\u{7F}',
            '\u{85}',
            '\u{2028}',
            '\u{2029}',
            '\u{202E}',
            '\u{2066}',
            '\u{200B}',
            '\u{FEFF}',
            '\u{AD}',
            '\u{FFFD}',
            '\u{FFFE}',
            '\u{1FFFF}',
            '\u{FDD0}',
            '\u{E0041}',
        ] {
            refuses(&format!("A{c}B"), NameError::ForbiddenCharacter);
        }
    }

    proptest! {
        #[test]
        fn what_is_accepted_is_canonical_and_within_the_limits(input in "\\PC{0,220}|[ -~]{0,220}|.{0,20}") {
            if let Ok(stored) = canonical(&input) {
                prop_assert_eq!(canonical(&stored), Ok(stored.clone()));
                prop_assert!((1..=MAX_CODE_POINTS).contains(&stored.chars().count()));
            }
        }

        #[test]
        fn no_bytes_make_it_panic(input in proptest::collection::vec(any::<u8>(), 0..400)) {
            let _ = canonical(&String::from_utf8_lossy(&input));
        }
    }
}
