//! The rules: nothing makes them panic, and what they accept has the promised form.

use super::texts::{email, text};
use super::{Fuzzer, Verdict, accepted, one};
use customer_db::rules;
use customer_db::rules::personal_data::PersonalData;
use customer_db::rules::status::Status;
use icu_normalizer::{ComposingNormalizerBorrowed, DecomposingNormalizerBorrowed};
use proptest::prelude::*;
use proptest::sample::select;

pub fn run(fuzzer: &mut Fuzzer) {
    fuzzer.run("address", (4_000_000, one), email, || is_one_address);
    fuzzer.run("prefix of an address", (1_000_000, one), || text(15), || is_one_prefix);
    fuzzer.run("name", (4_000_000, one), || text(15), || is_one_name);
    fuzzer.run("free text", (1_000_000, one), || text(15), || is_free_text);
    fuzzer.run("status", (500_000, one), status, || is_status);
    fuzzer.run("moment of RFC 3339", (1_000_000, one), moment, || is_its_moment);
    fuzzer.run("moment of any form", (1_000_000, one), bent_moment, || is_moment);
    fuzzer.run("name in a free text", (500_000, one), mention, || is_found);
}

fn nfd(text: &str) -> String {
    DecomposingNormalizerBorrowed::new_nfd().normalize(text).into_owned()
}

fn is_nfc(text: &str) -> bool {
    ComposingNormalizerBorrowed::new_nfc().is_normalized(text)
}

/// Other spellings of a text have the same canonical form, and one that is too long is refused.
fn spelled_otherwise(
    input: &str,
    limit: rules::InputLimit,
    canonical: impl Fn(&str) -> Option<String>,
) -> Verdict {
    let expected = canonical(input);
    prop_assert!(expected.is_none() || input.len() <= limit.octets);
    if let Some(stored) = &expected {
        prop_assert_eq!(canonical(stored), expected.clone(), "not its own canonical form");
    }
    for other in [nfd(input), format!("\t{input} \n")] {
        if other.len() <= limit.octets {
            prop_assert_eq!(canonical(&other), expected.clone(), "spelled {:?}", other);
        }
    }
    Ok(())
}

fn is_one_address(input: String) -> Verdict {
    let canonical = |input: &str| rules::email::canonical(input).ok();
    spelled_otherwise(&input, rules::email::INPUT_LIMIT, canonical)?;
    prop_assert_eq!(canonical(&input.to_ascii_uppercase()), canonical(&input));
    let Some(stored) = canonical(&input) else { return Ok(()) };
    accepted(1);
    let parts: Vec<&str> = stored.split('@').collect();
    let [local, domain] = parts[..] else { panic!("one @: {stored:?}") };
    prop_assert!((1..=64).contains(&local.len()) && stored.len() <= 254, "{:?}", stored);
    prop_assert!(local.split('.').all(|atom| !atom.is_empty()), "{:?}", stored);
    prop_assert!(is_nfc(local) && !local.contains(char::is_whitespace), "{:?}", stored);
    let is_label = |label: &str| {
        (1..=63).contains(&label.len())
            && !label.starts_with('-')
            && !label.ends_with('-')
            && label.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
    };
    prop_assert!(domain.split('.').all(is_label) && domain.contains('.'), "{:?}", stored);
    prop_assert_eq!(rules::email::canonical_prefix(&input), Ok(stored));
    Ok(())
}

fn is_one_prefix(input: String) -> Verdict {
    if let Ok(prefix) = rules::email::canonical_prefix(&input) {
        accepted(1);
        prop_assert!(is_nfc(&prefix) && !prefix.is_empty(), "{:?}", prefix);
        // Some letters have more octets in lower case.
        if prefix.len() <= rules::email::INPUT_LIMIT.octets {
            prop_assert_eq!(rules::email::canonical_prefix(&prefix), Ok(prefix));
        }
    }
    Ok(())
}

fn is_one_name(input: String) -> Verdict {
    let canonical = |input: &str| rules::name::canonical(input).ok().map(|name| name.into_owned());
    spelled_otherwise(&input, rules::name::INPUT_LIMIT, canonical)?;
    if let Some(stored) = canonical(&input) {
        accepted(1);
        prop_assert!((1..=200).contains(&stored.chars().count()));
        prop_assert!(is_nfc(&stored) && stored.trim() == stored, "{:?}", stored);
        let deceives = stored.contains(['\u{202E}', '\u{2028}', '\u{FFFD}', '\u{200B}']);
        prop_assert!(!deceives, "{:?}", stored);
        prop_assert!(!stored.contains(char::is_control), "{:?}", stored);
    }
    Ok(())
}

fn is_free_text(input: String) -> Verdict {
    let controls = input.chars().filter(|c| c.is_control() && !"\n\r\t".contains(*c)).count();
    let expected = controls == 0 && input.chars().count() <= 1000;
    accepted(usize::from(expected));
    prop_assert_eq!(rules::free_text::check(&input).is_ok(), expected);
    Ok(())
}

fn status() -> impl Strategy<Value = String> {
    let words =
        vec!["ACTIVE", "SUSPENDED", "CLOSED", "active", "CLOSE", "ACTIVE\0", "ＡＣＴＩＶＥ"];
    prop_oneof![select(words).prop_map(String::from), text(10)]
}

fn is_status(input: String) -> Verdict {
    let known = ["ACTIVE", "SUSPENDED", "CLOSED"].contains(&input.as_str());
    accepted(usize::from(known));
    prop_assert_eq!(Status::parse(&input).map(Status::as_str).ok(), known.then_some(&*input));
    Ok(())
}

/// A moment as RFC 3339 writes it, and its microseconds since 1970.
fn moment() -> impl Strategy<Value = (String, i64)> {
    let date = (1..9999i64, 1..=12i64, 1..=31i64);
    let time = (0..24i64, 0..60i64, 0..60i64, "[0-9]{0,12}");
    let offset = (select(&["Z", "z", "+", "-"][..]), 0..24i64, 0..60i64);
    (date, time, offset).prop_filter_map("a day of the month", |((y, m, d), time, offset)| {
        let leap = y % 4 == 0 && y % 100 != 0 || y % 400 == 0;
        let last = [31, 28 + i64::from(leap), 31, 30, 31, 30, 31, 31, 30, 31, 30, 31];
        (d <= last[m as usize - 1]).then_some(())?;
        let years = y - 1;
        let days = years * 365 + years / 4 - years / 100
            + years / 400
            + last[..m as usize - 1].iter().sum::<i64>()
            + d
            - 1
            - 719_162;
        let (hour, minute, second, fraction) = time;
        let (sign, hours, minutes) = offset;
        let east = match sign {
            "+" => hours * 60 + minutes,
            "-" => -(hours * 60 + minutes),
            _ => 0,
        };
        let seconds = (days * 24 + hour) * 3600 + (minute - east) * 60 + second;
        let written = if fraction.is_empty() { String::new() } else { format!(".{fraction}") };
        let zone = match east {
            _ if sign.eq_ignore_ascii_case("z") => sign.to_owned(),
            _ => format!("{sign}{hours:02}:{minutes:02}"),
        };
        let text = format!("{y:04}-{m:02}-{d:02}T{hour:02}:{minute:02}:{second:02}{written}{zone}");
        // Before 1970 jiff's microseconds are truncated towards zero.
        let nanos: i64 = format!("{fraction:0<9}")[..9].parse().expect("digits");
        let moment = i128::from(seconds) * 1_000_000_000 + i128::from(nanos);
        Some((text, (moment / 1000) as i64))
    })
}

fn is_its_moment((text, expected): (String, i64)) -> Verdict {
    accepted(1);
    prop_assert_eq!(rules::moment::parse(&text), Some(expected));
    Ok(())
}

/// A moment with another text inserted somewhere.
fn bent_moment() -> impl Strategy<Value = String> {
    (moment(), "[-+.:TZ0-9\\[\\]/ ]{0,4}|é", any::<prop::sample::Index>(), 0..3usize).prop_map(
        |((mut text, _), insert, at, removed)| {
            let at = at.index(text.len() + 1);
            text.replace_range(at..(at + removed).min(text.len()), &insert);
            text
        },
    )
}

fn is_moment(input: String) -> Verdict {
    if rules::moment::parse(&input).is_some() {
        accepted(1);
        let octets = input.as_bytes();
        prop_assert!(input.len() <= 64 && input.is_ascii());
        for (at, expected) in [(4, b'-'), (7, b'-'), (10, b'T'), (13, b':'), (16, b':')] {
            prop_assert_eq!(octets[at].to_ascii_uppercase(), expected);
        }
        let zone = input.trim_end_matches(['Z', 'z']).len() < input.len()
            || input.len() > 24 && [b'+', b'-'].contains(&octets[input.len() - 6]);
        prop_assert!(zone, "no offset");
    }
    Ok(())
}

/// A name, and a text that mentions it in some spelling.
fn mention() -> impl Strategy<Value = (String, String)> {
    let before = select(&["", " ", "(", "said ", "\n"][..]);
    let after = select(&["", " ", ")", ".", "'s", ".then", ":x", " called", "β"][..]);
    (text(8), before, after, 0..5usize).prop_filter_map(
        "a name",
        |(name, before, after, spelling)| {
            let name = rules::name::canonical(&name).ok()?.into_owned();
            // In upper case a letter, behind which marks come in another order than behind a mark.
            (!name.contains('\u{345}')).then_some(())?;
            let spelled = match spelling {
                0 => name.clone(),
                1 => nfd(&name),
                2 => name.to_uppercase(),
                3 => name.to_lowercase(),
                _ => name.replace(' ', "\n  "),
            };
            Some((name, format!("{before}{spelled}{after}")))
        },
    )
}

fn is_found((name, text): (String, String)) -> Verdict {
    accepted(1);
    let mut person = PersonalData::new();
    person.add_name(&name);
    prop_assert!(person.appears_in(&text));
    Ok(())
}
