//! Texts that rules find hard.

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::select;

/// Characters and pieces that are trimmed, mapped, composed, counted or refused.
const HARD: [&str; 60] = [
    "",
    " ",
    "\t",
    "\n",
    "\r",
    "\u{B}",
    "\0",
    "\u{7F}",
    "\u{85}",
    "\u{A0}",
    "\u{AD}",
    "\u{2028}",
    "\u{3000}",
    "\u{200B}",
    "\u{200C}",
    "\u{200D}",
    "\u{200E}",
    "\u{202E}",
    "\u{2066}",
    "\u{FEFF}",
    "\u{FFFD}",
    "\u{FFFE}",
    "\u{10FFFF}",
    "\u{E000}",
    "\u{378}",
    "\u{115F}",
    "\u{2800}",
    "\u{E0041}",
    "\u{E0100}",
    "@",
    "@@",
    ".",
    "..",
    "-",
    "--",
    "xn--",
    "xn--bcher-kva",
    "XN--",
    "。",
    "．",
    "＠",
    "ß",
    "ẞ",
    "İ",
    "ı",
    "Σ",
    "ς",
    "ǰ",
    "J\u{30C}",
    "ŉ",
    "\u{301}",
    "\u{307}",
    "\u{345}",
    "\u{1E69}",
    "\u{1112}\u{1161}\u{11AB}",
    "Å",
    "ﬁ",
    "㎏",
    "葛",
    "erased.invalid",
];

/// Code points of which some compose, some are mapped, and some are marks.
fn character() -> impl Strategy<Value = String> {
    prop_oneof![
        4 => prop::char::range(' ', '~'),
        2 => prop::char::range('\u{80}', '\u{24F}'),
        2 => prop::char::range('\u{300}', '\u{3FF}'),
        1 => prop::char::range('\u{590}', '\u{DFF}'),
        1 => prop::char::range('\u{1E00}', '\u{2FFF}'),
        1 => prop::char::range('\u{F900}', '\u{FFFF}'),
        1 => any::<char>(),
    ]
    .prop_map(String::from)
}

pub fn text(pieces: usize) -> impl Strategy<Value = String> {
    let piece = prop_oneof![3 => select(&HARD[..]).prop_map(str::to_owned), 5 => character()];
    let pieces = vec(piece, 0..pieces).prop_map(|pieces| pieces.concat());
    // Around a limit in octets or code points, and beyond that of any input.
    let repeated = (text_of_one(), 60..260usize).prop_map(|(piece, count)| piece.repeat(count));
    prop_oneof![60 => pieces, 2 => repeated, 1 => (text_of_one(), 900..5000usize).prop_map(|(piece, count)| piece.repeat(count))]
}

fn text_of_one() -> impl Strategy<Value = String> {
    prop_oneof![select(&HARD[..]).prop_map(str::to_owned), character()]
}

/// What is often nearly an address.
pub fn email() -> impl Strategy<Value = String> {
    let plain = "[a-z0-9+]{1,8}(\\.[A-Z]{1,3})?";
    let local = prop_oneof![3 => plain.prop_map(String::from), 3 => text(8)];
    let label = prop_oneof![3 => "[A-Za-z0-9]{1,10}".prop_map(String::from), 2 => text(5)];
    let end = select(&[".com", ".example", "。jp", ".рф", ".1", "", ".", ".erased.invalid"][..]);
    prop_oneof![
        8 => (local, label, end).prop_map(|(local, label, end)| format!("{local}@{label}{end}")),
        1 => text(20),
    ]
}
