//! A point in time in the format of RFC 3339, and in no other.

/// Longer than any moment that is finer than it need be.
const MAX_OCTETS: usize = 64;

/// Microseconds since 1970.
///
/// jiff accepts more than RFC 3339: the basic format, offsets with seconds or of more than a day, time zone
/// names. So the format is checked here, and jiff evaluates the digits.
pub fn parse(text: &str) -> Option<i64> {
    const FORM: &str = "0000-00-00T00:00:00";
    if text.len() > MAX_OCTETS {
        return None;
    }
    let text = text.to_ascii_uppercase();
    let (date_time, rest) = text.split_at_checked(FORM.len())?;
    if !has_form(date_time, FORM) {
        return None;
    }
    let (fraction, offset) = match rest.strip_prefix('.') {
        Some(rest) => rest.split_at(rest.find(|c: char| !c.is_ascii_digit())?),
        None => ("0", rest),
    };
    if fraction.is_empty()
        || !(offset == "Z" || has_form(offset, "+00:00") || has_form(offset, "-00:00"))
    {
        return None;
    }
    if offset != "Z" && (&offset[1..3] > "23" || &offset[4..] > "59") {
        return None;
    }
    // Digits beyond the nanosecond are truncated.
    let fraction = &fraction[..fraction.len().min(9)];
    let moment: jiff::Timestamp = format!("{date_time}.{fraction}{offset}").parse().ok()?;
    Some(moment.as_microsecond())
}

/// Whether a text has a digit wherever `form` has a zero, and equals it elsewhere.
fn has_form(text: &str, form: &str) -> bool {
    text.len() == form.len()
        && text
            .bytes()
            .zip(form.bytes())
            .all(|(c, f)| if f == b'0' { c.is_ascii_digit() } else { c == f })
}

#[cfg(test)]
mod tests {
    use super::parse;

    #[test]
    fn a_moment_of_rfc_3339_is_taken() {
        let noon = Some(1_551_441_600_000_000);
        for text in [
            "2019-03-01T12:00:00Z",
            "2019-03-01t12:00:00z",
            "2019-03-01T12:00:00.000Z",
            "2019-03-01T12:00:00.0000000000009Z",
            "2019-03-01T17:30:00+05:30",
            "2019-03-01T12:00:00-00:00",
        ] {
            assert_eq!(parse(text), noon, "{text}");
        }
        assert_eq!(parse("2019-03-01T12:00:00.5Z"), noon.map(|noon| noon + 500_000));
        assert!(parse("0001-01-01T00:00:00Z").is_some());
        assert!(parse("2016-12-31T23:59:60Z").is_some());
    }

    #[test]
    fn anything_else_is_not() {
        for text in [
            "",
            "2019-03-01",
            "2019-03-01T12:00:00",
            "2019-03-01 12:00:00Z",
            "2019-03-01T12:00Z",
            "2019-03-01T12:00:00.Z",
            "2019-03-01T12:00:00,5Z",
            "2019-03-01T12:00:00+25:00",
            "2019-03-01T12:00:00+05:60",
            "2019-03-01T12:00:00+00:19:32",
            "2019-03-01T12:00:00+01",
            "2019-03-01T12:00:00Z[Europe/Berlin]",
            "2019-03-01T12:00:00+01:00[Europe/Berlin]",
            "20190301T120000Z",
            "2019-02-30T12:00:00Z",
            "2019-03-01T24:00:00Z",
            "+002019-03-01T12:00:00Z",
            "2019-03-01T12:00:00é",
            "ééééééééé2019-03-01",
        ] {
            assert_eq!(parse(text), None, "{text}");
        }
    }
}
