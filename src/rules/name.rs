//! The rule for a customer's name.

use super::text::{self, Category};
use super::{BrokenRule, InputLimit};
use std::borrow::Cow;

/// The longest name, in code points of its canonical form.
pub const MAX_CODE_POINTS: usize = 200;

/// Format characters that the spelling of names requires: ZWNJ, ZWJ, LRM, RLM, ALM.
const ALLOWED_FORMATS: [char; 5] = ['\u{200C}', '\u{200D}', '\u{200E}', '\u{200F}', '\u{061C}'];

/// Looks like a space, although its Unicode category is symbol.
const BRAILLE_BLANK: char = '\u{2800}';

pub const EMPTY: BrokenRule =
    BrokenRule { message: "name is empty", hint: "Give a name, or NULL when it is not known." };
pub const TOO_LONG: BrokenRule = BrokenRule {
    message: "name is longer than 200 characters",
    hint: "Shorten the name to 200 characters.",
};
pub const FORBIDDEN_CHARACTER: BrokenRule = BrokenRule {
    message: "name holds a character that no name may hold",
    hint: "Remove control characters, line breaks, bidirectional controls and zero-width characters.",
};
pub const NOTHING_VISIBLE: BrokenRule =
    BrokenRule { message: "name holds nothing visible", hint: "Give a name that can be seen." };

pub const INPUT_LIMIT: InputLimit =
    InputLimit { octets: super::MAX_INPUT_OCTETS, otherwise: TOO_LONG };

/// The form in which a name is stored: trimmed, in NFC.
pub fn canonical(input: &str) -> Result<Cow<'_, str>, BrokenRule> {
    INPUT_LIMIT.check(input)?;
    let name = text::nfc(input.trim());
    if name.is_empty() {
        return Err(EMPTY);
    }
    // A code point has at least one octet, so most names need not be counted.
    if name.len() > MAX_CODE_POINTS && name.chars().count() > MAX_CODE_POINTS {
        return Err(TOO_LONG);
    }
    let mut visible = false;
    for c in name.chars() {
        if is_forbidden(c) {
            return Err(FORBIDDEN_CHARACTER);
        }
        visible = visible || is_visible(c);
    }
    if visible { Ok(name) } else { Err(NOTHING_VISIBLE) }
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

    fn refuses(input: &str, why: BrokenRule) {
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
        refuses("", EMPTY);
        refuses(" \u{3000}", EMPTY);
        accepts(&"é".repeat(200), &"é".repeat(200));
        accepts(&"e\u{301}".repeat(200), &"é".repeat(200));
        refuses(&"é".repeat(201), TOO_LONG);
    }

    #[test]
    fn a_name_shows_something() {
        for input in ["\u{200D}", "\u{3164}", "\u{115F}\u{FE0F}", "\u{2800}"] {
            refuses(input, NOTHING_VISIBLE);
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
            refuses(&format!("A{c}B"), FORBIDDEN_CHARACTER);
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
