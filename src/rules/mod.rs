//! What a customer profile may hold. Pure Rust, without pgrx: the same result in every database.

pub mod email;
pub mod free_text;
pub mod moment;
pub mod name;
pub mod personal_data;
pub mod status;
mod text;

/// Why a value is refused, and how to correct it. Contains no value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BrokenRule {
    pub message: &'static str,
    pub hint: &'static str,
}

/// The longest input that a rule examines.
///
/// A longer one could not be valid. It is refused for its length alone, so that time and memory of a
/// refusal do not grow with its input.
#[derive(Clone, Copy, Debug)]
pub struct InputLimit {
    pub octets: usize,
    pub otherwise: BrokenRule,
}

impl InputLimit {
    pub fn check(self, input: &str) -> Result<(), BrokenRule> {
        if input.len() > self.octets { Err(self.otherwise) } else { Ok(()) }
    }
}

/// Enough for every spelling of the longest address and the longest name: no code point of a canonical form
/// has a spelling of more than 12 octets, and neither form has more than 254 code points. White space at
/// the ends counts.
const MAX_INPUT_OCTETS: usize = 4096;
