//! Promise: the same input gives the same address in every database, whatever its locale and provider.

use crate::kit::{Database, Server, all, home, major, project, skipped};
use std::fs;
use std::path::Path;

/// Spellings whose lower case, order or normal form depends on a locale, or did so in some version.
const SPELLINGS: &[&str] = &[
    "plain@example.com",
    " MIXED.Case+Tag@EXAMPLE.Com\t",
    "TITLE@INFO.EXAMPLE",
    "IRI@IRI.EXAMPLE",
    "iri2@iri.example",
    "İstanbul@example.com",
    "ISTANBUL@İSTANBUL.EXAMPLE",
    "ılık@example.com",
    "ILIK@ILIK.EXAMPLE",
    "I\u{307}zmir@example.com",
    "i\u{307}zmir2@example.com",
    "DİYARBAKIR@diyarbakır.example",
    "straße@example.com",
    "STRASSE@example.com",
    "STRAẞE1@example.com",
    "ann@straße.example",
    "ann@STRASSE.example",
    "ΟΔΥΣΣΕΥΣ@example.com",
    "οδυσσευς1@example.com",
    "ΣΑΣ@ΣΑΣ.example",
    "σίσυφος@example.com",
    "Σ@example.com",
    "ΑΣ.ΣΑ@example.com",
    "JOSE\u{301}@example.com",
    "jos\u{e9}1@example.com",
    "Bu\u{308}cher@Bu\u{308}cher.example",
    "b\u{fc}cher1@BÜCHER.example",
    "A\u{30A}ngstro\u{308}m@example.com",
    "\u{212B}ngström1@example.com",
    "\u{212A}elvin@\u{212A}ELVIN.example",
    "ﬁnance@example.com",
    "ŉame@example.com",
    "ǅ@example.com",
    "ÇOCUK@ÇOCUK.example",
    "ŞIŞLI@ŞIŞLI.example",
    "ĞÜÖ@example.com",
    "ЁЛКА@ЁЛКА.example",
    "Їжак@example.com",
    "ԱՐԵՎ@example.com",
    "ᎠᎡ@example.com",
    "ꮳ@example.com",
    "გამარჯობა@example.com",
    "ᲒᲐᲛ@example.com",
    "用户@例子.example",
    "ユーザ@ﾃｽﾄ.example",
    "사용자@example.com",
    "\u{1112}\u{1161}\u{11ab}@example.com",
    "उपयोगकर्ता@example.com",
    "Ì\u{323}a@example.com",
    "\u{10400}@example.com",
    "Ω1@example.com",
    "\u{2126}2@example.com",
    "Åb.Ça@xn--BCHER-KVA.example",
    "lj.Ǉ@example.com",
    "ꭰ\u{1E9E}@example.com",
];

/// The address that a database stores for each spelling, or the SQLSTATE of its refusal.
fn stored(database: &Database) -> Vec<String> {
    let mut client = database.connect();
    SPELLINGS
        .iter()
        .map(|spelling| {
            let register = "SELECT email FROM customers.register_customer($1)";
            match client.query_one(register, &[spelling]) {
                Ok(row) => row.get(0),
                Err(error) => error.code().unwrap_or_else(|| panic!("{error:?}")).code().to_owned(),
            }
        })
        .collect()
}

/// A database with this locale; asserts by its lower('I') that the locale is in effect.
fn database<'a>(server: &'a Server, options: &str, lower_i: &str) -> Database<'a> {
    let database = server.empty_database(&format!("TEMPLATE template0 ENCODING 'UTF8' {options}"));
    let mut client = database.connect();
    client.batch_execute("CREATE EXTENSION customer_db").unwrap();
    let lower: Vec<String> = all(&mut client, "SELECT lower('I')", &[]);
    assert_eq!(lower, [lower_i], "{options}");
    database
}

/// Compares databases of these locales with one of locale C.
fn assert_equal(server: &Server, locales: &[(&str, &str)]) {
    let wanted = stored(&database(server, "LOCALE 'C'", "i"));
    let accepted = wanted.iter().filter(|stored| stored.contains('@')).count();
    assert!(accepted * 10 > SPELLINGS.len() * 7, "most of them are addresses: {wanted:#?}");
    for (options, lower_i) in locales {
        let found = stored(&database(server, options, lower_i));
        for ((spelling, wanted), found) in SPELLINGS.iter().zip(&wanted).zip(&found) {
            assert_eq!(found, wanted, "{spelling:?} in a database with {options}");
        }
    }
}

#[test]
fn addresses_are_the_same_in_every_locale_of_the_c_library() {
    let locales = project().join(".local/locales");
    if !locales.exists() {
        skipped("no .local/locales, see bin/fetch-locales");
        return;
    }
    let server = Server::start_of(
        &home(&major().to_string()),
        &[("LOCPATH", locales.to_str().unwrap())],
        &[],
    );
    assert_equal(&server, &[("LOCALE 'C.UTF-8'", "i"), ("LOCALE 'tr_TR.UTF-8'", "ı")]);
}

#[test]
fn addresses_are_the_same_with_the_locales_of_icu() {
    let debian = home("15-icu");
    if major() != 15 || !debian.exists() {
        skipped("needs PostgreSQL 15 and .local/postgresql/15-icu, see bin/fetch-locales");
        return;
    }
    install(&home("15"), &debian.join("root/usr"));
    let locales = project().join(".local/locales");
    let server =
        Server::start_of(&debian, &[("LOCPATH", locales.to_str().unwrap())], &["jit = off"]);
    let icu = |locale| format!("LOCALE 'C.UTF-8' LOCALE_PROVIDER icu ICU_LOCALE '{locale}'");
    assert_equal(
        &server,
        &[
            ("LOCALE 'tr_TR.UTF-8'", "ı"),
            (&icu("tr-TR"), "ı"),
            (&icu("und"), "i"),
            (&icu("de-u-co-phonebk-ks-level1"), "i"),
        ],
    );
}

/// Installs what was built for one PostgreSQL 15 into another, whose files Debian spreads over several folders.
fn install(from: &Path, into: &Path) {
    let copy = |from: &Path, into: &Path| {
        for file in fs::read_dir(from).unwrap().map(Result::unwrap) {
            if file.file_name().to_string_lossy().starts_with("customer_db") {
                fs::copy(file.path(), into.join(file.file_name())).unwrap();
            }
        }
    };
    copy(&from.join("lib"), &into.join("lib/postgresql/15/lib"));
    copy(&from.join("share/extension"), &into.join("share/postgresql/15/extension"));
}
