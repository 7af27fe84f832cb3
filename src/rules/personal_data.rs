//! Detects a person's addresses and names in a text, whatever their spelling.

use super::text;
use std::collections::BTreeSet;

/// A person's addresses and names, normalised for comparison.
#[derive(Clone, Default)]
pub struct PersonalData(BTreeSet<String>);

impl PersonalData {
    pub const fn new() -> Self {
        Self(BTreeSet::new())
    }

    pub fn add_email(&mut self, email: &str) {
        self.0.insert(text::comparable(email));
        // As people write it: ann@bücher.example for the stored xn--bcher-kva.example.
        if let Some((local, domain)) = email.split_once('@') {
            let (domain, _) = idna::domain_to_unicode(domain);
            self.0.insert(text::comparable(&format!("{local}@{domain}")));
        }
    }

    pub fn add_name(&mut self, name: &str) {
        self.0.insert(text::comparable(name));
    }

    /// Also true if a short name is only part of another word: removing too much is preferred to removing
    /// too little.
    pub fn appears_in(&self, text: &str) -> bool {
        let text = text::comparable(text);
        self.0.iter().any(|known| !known.is_empty() && text.contains(known))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ann() -> PersonalData {
        let mut ann = PersonalData::new();
        ann.add_email("ann@xn--bcher-kva.example");
        ann.add_name("Zoë Ann");
        ann
    }

    #[test]
    fn an_address_or_a_name_is_found_in_any_spelling() {
        for text in [
            "wrote from ann@xn--bcher-kva.example",
            "ANN@XN--BCHER-KVA.EXAMPLE!",
            "Ann@Bücher.example",
            "Ann@Bu\u{308}cher.example",
            "ａｎｎ@bücher.example",
            "zoë ann called",
            "ZOE\u{308} ANN",
            "zoë\n  ann",
            "Zo\u{200B}ë A\u{AD}nn",
        ] {
            assert!(ann().appears_in(text), "{text:?}");
        }
    }

    #[test]
    fn a_name_that_ends_in_sigma_is_found_whatever_follows() {
        let mut nikos = PersonalData::new();
        nikos.add_name("Νίκος");
        for text in ["Νίκος", "ΝΊΚΟΣ!", "Νίκος's order", "Νίκος.gr", "the order ofνίκοσ"]
        {
            assert!(nikos.appears_in(text), "{text:?}");
        }
    }

    #[test]
    fn a_name_with_a_sharp_s_is_found_in_small_and_in_capital_letters() {
        for name in ["Weiß", "WEIẞ", "WEISS"] {
            let mut weiss = PersonalData::new();
            weiss.add_name(name);
            for text in ["Weiß", "WEIẞ", "Weiss", "WEISS"] {
                assert!(weiss.appears_in(text), "{name} in {text}");
            }
        }
    }

    #[test]
    fn others_are_not_found() {
        for text in ["", "chargeback", "bob@example.com", "Ann", "ann@example.com"] {
            assert!(!ann().appears_in(text), "{text:?}");
        }
    }
}
