//! The rule for the free texts of a change: its reason, and the actor on whose behalf it is made.

use super::{BrokenRule, InputLimit};

/// The longest free text, in code points.
pub const MAX_CODE_POINTS: usize = 1000;

pub const TOO_LONG: BrokenRule = BrokenRule {
    message: "a reason or an actor is longer than 1000 characters",
    hint: "Shorten it, and keep the whole story elsewhere.",
};
pub const CONTROL_CHARACTER: BrokenRule = BrokenRule {
    message: "a reason or an actor holds a control character",
    hint: "Remove control characters other than line breaks and tabs.",
};

/// A code point has at most four octets.
pub const INPUT_LIMIT: InputLimit = InputLimit { octets: MAX_CODE_POINTS * 4, otherwise: TOO_LONG };

/// Refuses a text that may not be stored.
pub fn check(text: &str) -> Result<(), BrokenRule> {
    INPUT_LIMIT.check(text)?;
    if text.len() > MAX_CODE_POINTS && text.chars().count() > MAX_CODE_POINTS {
        return Err(TOO_LONG);
    }
    if text.chars().any(|c| c.is_control() && !matches!(c, '\n' | '\r' | '\t')) {
        return Err(CONTROL_CHARACTER);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_free_text_has_at_most_1000_code_points() {
        for c in ["a", "é", "😀"] {
            assert_eq!(check(&c.repeat(MAX_CODE_POINTS)), Ok(()));
            assert!(c.repeat(MAX_CODE_POINTS).len() <= INPUT_LIMIT.octets);
            assert_eq!(check(&c.repeat(MAX_CODE_POINTS + 1)), Err(TOO_LONG));
        }
    }

    #[test]
    fn lines_and_tabs_are_the_only_control_characters() {
        assert_eq!(check("called twice,\r\n\twrote once"), Ok(()));
        for c in ['\0', '\u{8}', '\u{B}', '\u{1B}', '\u{7F}', '\u{85}'] {
            assert_eq!(check(&format!("a{c}b")), Err(CONTROL_CHARACTER), "{c:?}");
        }
    }
}
