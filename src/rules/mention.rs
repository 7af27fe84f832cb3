//! Whether a free text tells somebody's address or name, in whatever spelling.

use super::text;
use std::collections::BTreeSet;

/// What is known of a person, for comparison.
#[derive(Default)]
pub struct Person(BTreeSet<String>);

impl Person {
    pub fn has_email(&mut self, email: &str) {
        self.0.insert(text::loose(email));
        // As people write it: ann@bücher.example, where xn--bcher-kva.example is stored.
        if let Some((local, domain)) = email.split_once('@') {
            let (domain, _) = idna::domain_to_unicode(domain);
            self.0.insert(text::loose(&format!("{local}@{domain}")));
        }
    }

    pub fn has_name(&mut self, name: &str) {
        self.0.insert(text::loose(name));
    }

    /// Errs on the side of yes: a short name may be part of another word.
    pub fn is_told_by(&self, text: &str) -> bool {
        let text = text::loose(text);
        self.0.iter().any(|known| text.contains(known))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ann() -> Person {
        let mut ann = Person::default();
        ann.has_email("ann@xn--bcher-kva.example");
        ann.has_name("Zoë Ann");
        ann
    }

    #[test]
    fn a_person_is_told_in_any_spelling() {
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
            assert!(ann().is_told_by(text), "{text:?}");
        }
    }

    #[test]
    fn others_are_not() {
        for text in ["", "chargeback", "bob@example.com", "Ann", "ann@example.com"] {
            assert!(!ann().is_told_by(text), "{text:?}");
        }
    }
}
