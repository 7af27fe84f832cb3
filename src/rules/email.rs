//! The rule for an e-mail address.

use super::text::{self, Category};
use super::{BrokenRule, InputLimit};
use idna::AsciiDenyList;
use idna::uts46::{DnsLength, Hyphens, Uts46};
use std::borrow::Cow;

/// The longest local part, in octets of its canonical form (RFC 5321, 4.5.3.1.1).
pub const MAX_LOCAL_OCTETS: usize = 64;
/// The longest address, in octets of its canonical form (RFC 5321, erratum 1690).
pub const MAX_OCTETS: usize = 254;
/// The domain of the addresses given to erased customers.
pub const ERASED_DOMAIN: &str = "erased.invalid";

pub const EMPTY: BrokenRule = BrokenRule {
    message: "e-mail address is empty",
    hint: "Give an address like name@example.com.",
};
pub const FORBIDDEN_CHARACTER: BrokenRule = BrokenRule {
    message: "e-mail address holds a character that no address may hold",
    hint: "Remove white space, control characters and characters that cannot be seen.",
};
pub const AT_SIGN: BrokenRule = BrokenRule {
    message: "e-mail address needs exactly one @",
    hint: "Give an address like name@example.com.",
};
pub const LOCAL_PART: BrokenRule = BrokenRule {
    message: "the part of the e-mail address before the @ is not valid",
    hint: "Use letters, digits and !#$%&'*+-/=?^_`{|}~ with single dots between them; \
           quoted local parts and comments are not accepted.",
};
pub const DOMAIN: BrokenRule = BrokenRule {
    message: "the domain of the e-mail address is not valid",
    hint: "Give a domain name of at least two labels, without a dot at its end; \
           address literals are not accepted.",
};
pub const TOO_LONG: BrokenRule = BrokenRule {
    message: "e-mail address is longer than 254 octets, or 64 before the @",
    hint: "Check the address: no mail system delivers to it.",
};
pub const RESERVED: BrokenRule = BrokenRule {
    message: "addresses at erased.invalid are reserved for erased customers",
    hint: "Register the customer's own address. A dump is loaded with --disable-triggers.",
};

/// For addresses and for their prefixes.
pub const INPUT_LIMIT: InputLimit =
    InputLimit { octets: super::MAX_INPUT_OCTETS, otherwise: TOO_LONG };

/// The form in which an address is stored and compared: the same for every spelling of it.
pub fn canonical(input: &str) -> Result<String, BrokenRule> {
    INPUT_LIMIT.check(input)?;
    let input = trim(input);
    if input.is_empty() {
        return Err(EMPTY);
    }
    if input.chars().any(is_forbidden) {
        return Err(FORBIDDEN_CHARACTER);
    }
    let (local, domain) = input.split_once('@').ok_or(AT_SIGN)?;
    if domain.contains('@') {
        return Err(AT_SIGN);
    }
    let local = canonical_local(local)?;
    // UTS 46 maps before it orders marks: without this, two orders of the same marks would be two domains.
    let domain = text::nfc(domain);
    let domain = canonical_domain(&domain)?;
    if local.len() + 1 + domain.len() > MAX_OCTETS {
        return Err(TOO_LONG);
    }
    if domain == ERASED_DOMAIN {
        return Err(RESERVED);
    }
    Ok(format!("{local}@{domain}"))
}

/// The prefix of an address, spelled like stored addresses.
///
/// An incomplete domain has no canonical form, so only a prefix that is itself a valid address gets one;
/// any other is normalised and lower-cased.
pub fn canonical_prefix(input: &str) -> Result<String, BrokenRule> {
    INPUT_LIMIT.check(input)?;
    let prefix = trim(input);
    if prefix.is_empty() {
        return Err(EMPTY);
    }
    if prefix.chars().any(is_forbidden) {
        return Err(FORBIDDEN_CHARACTER);
    }
    Ok(canonical(prefix).unwrap_or_else(|_| fold(prefix).into_owned()))
}

fn trim(input: &str) -> &str {
    input.trim_matches(|c: char| c.is_ascii_whitespace() || c == '\u{B}')
}

/// NFC and lower case. Lower-casing can produce text that is not in NFC, hence the second normalisation.
fn fold(text: &str) -> Cow<'_, str> {
    if text.bytes().all(|b| b.is_ascii() && !b.is_ascii_uppercase()) {
        return Cow::Borrowed(text);
    }
    Cow::Owned(text::nfc(&text::nfc(text).to_lowercase()).into_owned())
}

fn canonical_local(local: &str) -> Result<Cow<'_, str>, BrokenRule> {
    let local = fold(local);
    if local.len() > MAX_LOCAL_OCTETS {
        return Err(TOO_LONG);
    }
    if local.split('.').all(is_atom) { Ok(local) } else { Err(LOCAL_PART) }
}

/// atext of RFC 5322, and by RFC 6531 letters, marks and numbers of any script.
fn is_atom(atom: &str) -> bool {
    let mut chars = atom.chars();
    chars.next().is_some_and(|c| is_atext(c) && !is_mark(c)) && chars.all(is_atext)
}

fn is_atext(c: char) -> bool {
    if c.is_ascii() {
        return c.is_ascii_alphanumeric() || "!#$%&'*+-/=?^_`{|}~".contains(c);
    }
    is_mark(c)
        || matches!(
            text::category(c),
            Category::UppercaseLetter
                | Category::LowercaseLetter
                | Category::TitlecaseLetter
                | Category::ModifierLetter
                | Category::OtherLetter
                | Category::DecimalNumber
                | Category::LetterNumber
                | Category::OtherNumber
        )
}

fn is_mark(c: char) -> bool {
    matches!(
        text::category(c),
        Category::NonspacingMark | Category::SpacingMark | Category::EnclosingMark
    )
}

fn canonical_domain(domain: &str) -> Result<Cow<'_, str>, BrokenRule> {
    let ascii = Uts46::new()
        .to_ascii(domain.as_bytes(), AsciiDenyList::STD3, Hyphens::Check, DnsLength::Verify)
        .map_err(|_| DOMAIN)?;
    let (_, top) = ascii.rsplit_once('.').ok_or(DOMAIN)?;
    if top.bytes().all(|b| b.is_ascii_digit()) {
        return Err(DOMAIN);
    }
    Ok(ascii)
}

fn is_forbidden(c: char) -> bool {
    if c.is_ascii() {
        return c.is_ascii_control() || c == ' ';
    }
    c.is_whitespace()
        || c == text::REPLACEMENT_CHARACTER
        || text::is_default_ignorable(c)
        || matches!(
            text::category(c),
            Category::Control | Category::Format | Category::PrivateUse | Category::Unassigned
        )
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
    fn marks_of_a_domain_mean_the_same_in_any_order() {
        let stored = canonical("ann@x\u{300}\u{345}.com");
        assert!(stored.is_ok());
        assert_eq!(canonical("ann@x\u{345}\u{300}.com"), stored);
    }

    #[test]
    fn every_spelling_of_one_address_is_stored_as_one() {
        for input in ["ann@example.com", " ANN@Example.COM\t\n", "Ann@ｅｘａｍｐｌｅ。com"]
        {
            accepts(input, "ann@example.com");
        }
        accepts("JOSE\u{301}@Bu\u{308}cher.example", "josé@xn--bcher-kva.example");
    }

    #[test]
    fn one_at_sign() {
        refuses("", EMPTY);
        refuses(" \t", EMPTY);
        refuses("ann.example.com", AT_SIGN);
        refuses("ann@bob@example.com", AT_SIGN);
    }

    #[test]
    fn the_local_part_is_made_of_dot_atoms() {
        accepts("o'neil+tag.x_y@example.com", "o'neil+tag.x_y@example.com");
        for input in [
            "@example.com",
            ".a@example.com",
            "a.@example.com",
            "a..b@example.com",
            "\"a b\"@example.com".replace(' ', "_").as_str(),
            "a(b)@example.com",
            "a\\b@example.com",
            "\u{301}a@example.com",
            "a.\u{301}b@example.com",
            "a→b@example.com",
        ] {
            refuses(input, LOCAL_PART);
        }
    }

    #[test]
    fn the_domain_is_a_name_in_the_domain_name_system() {
        for input in [
            "a@localhost",
            "a@example.com.",
            "a@.com",
            "a@-a.com",
            "a@a-.com",
            "a@ab--c.com",
            "a@exa_mple.com",
            "a@[127.0.0.1]",
            "a@127.0.0.1",
            "a@example.123",
            "a@xn--a.com",
        ] {
            refuses(input, DOMAIN);
        }
    }

    #[test]
    fn octets_are_counted_in_the_canonical_form() {
        let local = "a".repeat(64);
        refuses(&format!("a{local}@example.com"), TOO_LONG);
        refuses(&format!("{}@example.com", "é".repeat(33)), TOO_LONG);
        let long = ["d".repeat(63), "e".repeat(63), "f".repeat(59)].join(".");
        accepts(&format!("{local}@{long}.c"), &format!("{local}@{long}.c"));
        refuses(&format!("{local}@{long}x.c"), TOO_LONG);
    }

    #[test]
    fn what_cannot_be_seen_is_refused_not_dropped() {
        for c in [
            '\0', '\u{7F}', ' ', '\u{A0}', '\u{AD}', '\u{200B}', '\u{200D}', '\u{FE0F}',
            '\u{202E}', '\u{FFFD}', '\u{E000}', '\u{FFFE}', '\u{378}',
        ] {
            refuses(&format!("a{c}b@example.com"), FORBIDDEN_CHARACTER);
            refuses(&format!("ab@exa{c}mple.com"), FORBIDDEN_CHARACTER);
        }
    }

    #[test]
    fn the_addresses_of_the_erased_are_reserved() {
        refuses("a@Erased.Invalid", RESERVED);
        accepts("a@not.erased.invalid", "a@not.erased.invalid");
    }

    #[test]
    fn a_prefix_is_spelled_like_the_addresses_it_begins() {
        assert_eq!(canonical_prefix(" ANN@Ex").as_deref(), Ok("ann@ex"));
        assert_eq!(canonical_prefix("ann@b\u{FC}cher.de").as_deref(), Ok("ann@xn--bcher-kva.de"));
        assert_eq!(canonical_prefix(" "), Err(EMPTY));
        assert_eq!(canonical_prefix("a\nb"), Err(FORBIDDEN_CHARACTER));
    }

    proptest! {
        #[test]
        fn what_is_accepted_is_canonical_and_within_the_limits(
            input in "[\\p{L}\\p{M}\\p{N}.+-]{1,20}@[\\p{L}\\p{M}\\p{N}-]{1,20}\\.[\\p{L}]{1,10}|[ -~]{1,30}@[a-zA-Z0-9.-]{1,30}|.{0,20}@.{0,20}"
        ) {
            if let Ok(stored) = canonical(&input) {
                prop_assert_eq!(canonical(&stored), Ok(stored.clone()));
                prop_assert!(stored.len() <= MAX_OCTETS);
                prop_assert!(stored.find('@').unwrap() <= MAX_LOCAL_OCTETS);
            }
        }

        #[test]
        fn no_bytes_make_it_panic(input in proptest::collection::vec(any::<u8>(), 0..400)) {
            let input = String::from_utf8_lossy(&input);
            let _ = canonical(&input);
            let _ = canonical_prefix(&input);
        }
    }
}
