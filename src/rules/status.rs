//! The account status.

use super::{BrokenRule, InputLimit};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Status {
    /// Not restricted.
    Active,
    /// Temporarily blocked.
    Suspended,
    /// Permanently deactivated: only erasure may follow.
    Closed,
}

pub const UNKNOWN: BrokenRule = BrokenRule {
    message: "status must be ACTIVE, SUSPENDED or CLOSED",
    hint: "Write the status in capital letters.",
};

/// Longer than any status.
pub const INPUT_LIMIT: InputLimit = InputLimit { octets: 64, otherwise: UNKNOWN };

impl Status {
    pub fn parse(text: &str) -> Result<Self, BrokenRule> {
        match text {
            "ACTIVE" => Ok(Self::Active),
            "SUSPENDED" => Ok(Self::Suspended),
            "CLOSED" => Ok(Self::Closed),
            _ => Err(UNKNOWN),
        }
    }

    /// As stored.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Active => "ACTIVE",
            Self::Suspended => "SUSPENDED",
            Self::Closed => "CLOSED",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_status_is_one_of_three_words_and_nothing_like_them() {
        assert_eq!(Status::parse("ACTIVE"), Ok(Status::Active));
        assert_eq!(Status::parse("SUSPENDED"), Ok(Status::Suspended));
        assert_eq!(Status::parse("CLOSED"), Ok(Status::Closed));
        for text in ["", "active", " ACTIVE", "ACTIVE ", "DELETED", "ACTIVE\0"] {
            assert_eq!(Status::parse(text), Err(UNKNOWN), "{text:?}");
        }
    }
}
