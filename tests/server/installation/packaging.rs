//! Promise: the packages of `make package` install into a clean PostgreSQL, Debian's own included.
//!
//! They are made of development builds, which other tests need as well. What only a release build shows, that the
//! library contains no path of the machine that built it, bin/package itself checks whenever it makes one.

use crate::kit::{
    Server, home, major, new_folder, one, printed, project, refusal, skipped, succeed,
};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

const VERSION: &str = env!("CARGO_PKG_VERSION");

/// The folder of packages for 15 and 16; none on another major version than 15.
fn packages() -> Option<&'static Path> {
    static MADE: OnceLock<PathBuf> = OnceLock::new();
    if major() != 15 {
        skipped("held on PostgreSQL 15 alone");
        return None;
    }
    Some(MADE.get_or_init(|| {
        let folder = project().join("target/debug/packages");
        let _ = fs::remove_dir_all(&folder);
        let mut package = Command::new(project().join("bin/package"));
        // What cargo tells a test would have cargo build everything again.
        for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("CARGO_")) {
            if name != "CARGO_HOME" {
                package.env_remove(name);
            }
        }
        succeed(package.args(["15", "16"]).env("CUSTOMER_DB_PROFILE", "dev"));
        folder
    }))
}

fn debian_package(folder: &Path, major: u32) -> PathBuf {
    let name = format!("postgresql-{major}-customer-db_{VERSION}-1_");
    let named = |path: &PathBuf| path.file_name().unwrap().to_string_lossy().starts_with(&name);
    let mut files = fs::read_dir(folder).unwrap().map(|file| file.unwrap().path());
    files.find(named).unwrap_or_else(|| panic!("no {name}"))
}

/// Unpacks the tarball of a major version; returns its only folder.
fn unpacked(folder: &Path, major: u32, into: &Path) -> PathBuf {
    let name = format!("customer_db-{VERSION}-pg{major}-linux-{}", std::env::consts::ARCH);
    let tarball = folder.join(format!("{name}.tar.gz"));
    succeed(Command::new("tar").arg("-xzf").arg(tarball).arg("-C").arg(into));
    into.join(name)
}

/// A copy of a PostgreSQL without the extension, removed when dropped.
struct Clean {
    folder: PathBuf,
    home: PathBuf,
}

impl Clean {
    fn copy_of(version: &str) -> Self {
        let folder = new_folder();
        let copy = Self { home: folder.join(version), folder };
        succeed(Command::new("cp").arg("-a").arg(home(version)).arg(&copy.home));
        let left = "( -name customer_db.so -o -name customer_db.control -o -name customer_db--*.sql ) -delete";
        succeed(Command::new("find").arg(&copy.home).args(left.split(' ')));
        copy
    }

    fn start(&self) -> Server {
        // Debian's jit requires an LLVM that is not fetched.
        Server::start_of(&self.home, &[], &["jit = off"])
    }
}

impl Drop for Clean {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.folder);
    }
}

/// Asserts that CREATE EXTENSION and the tour of the documentation run.
#[track_caller]
fn assert_tour(server: &Server, documentation: &Path) {
    for file in ["README.md", "CHANGELOG.md", "copyright", "doc/customer_db.md", "eg/consumer.py"] {
        assert!(documentation.join(file).is_file(), "no {file}");
    }
    let database = server.empty_database("");
    // Debian's PostgreSQL has psql in a package of its own.
    let psql = home(&major().to_string());
    let mut tour = Command::new(psql.join("bin/psql"));
    tour.env("LD_LIBRARY_PATH", psql.join("lib"))
        .args(["--host", server.host(), "--username=postgres", "--dbname", &database.name])
        .arg("--no-psqlrc")
        .arg("--file")
        .arg(documentation.join("eg/tour.sql"));
    let toured = succeed(&mut tour);
    assert!(toured.contains("@erased.invalid"), "{toured}");
    let version = "SELECT extversion FROM pg_extension WHERE extname = 'customer_db'";
    assert_eq!(one::<String>(&mut database.connect(), version, &[]), VERSION);
}

/// Asserts PostgreSQL's refusal of a library for another major version. The dynamic linker is first if the library
/// needs a function that this version lacks.
#[track_caller]
fn assert_incompatible(loaded: Result<(), postgres::Error>) {
    let refused = refusal(loaded);
    let message = refused.message();
    assert!(
        message.starts_with("incompatible library")
            || message.starts_with("could not load library")
                && message.contains("undefined symbol"),
        "{refused:?}"
    );
}

#[test]
fn a_tarball_installs_with_the_two_lines_of_its_install_file() {
    let Some(packages) = packages() else { return };
    let clean = Clean::copy_of("16");
    let server = clean.start();
    let mut client = server.connect("postgres");
    let missing = refusal(client.batch_execute("CREATE EXTENSION customer_db"));
    assert!(missing.message().contains("not available"), "{missing:?}");

    let path = format!("{}:{}", clean.home.join("bin").display(), std::env::var("PATH").unwrap());
    let install = |unpacked: &Path| {
        assert_eq!(fs::read_to_string(unpacked.join("INSTALL")).unwrap().lines().count(), 2);
        let mut sh = Command::new("sh");
        sh.arg("INSTALL").current_dir(unpacked).env("PATH", &path).output().unwrap()
    };
    let foreign = unpacked(packages, 15, &clean.folder);
    let refused = install(&foreign);
    assert!(!refused.status.success());
    assert!(printed(&refused).starts_with("This is for PostgreSQL 15"), "{}", printed(&refused));
    let installed = clean.home.join("lib/customer_db.so");
    assert!(!installed.exists());
    let load = format!("LOAD '{}'", foreign.join("lib/customer_db.so").display());
    assert_incompatible(client.batch_execute(&load));

    let unpacked = unpacked(packages, 16, &clean.folder);
    let done = install(&unpacked);
    assert!(done.status.success() && installed.exists(), "{}", printed(&done));
    assert_tour(&server, &unpacked.join("doc"));
}

#[test]
fn a_debian_package_installs_into_debians_postgresql_and_that_of_another_major_is_refused() {
    let Some(packages) = packages() else { return };
    if !home("15-icu").exists() {
        skipped("needs Debian's PostgreSQL 15, see bin/fetch-locales");
        return;
    }
    let clean = Clean::copy_of("15-icu");
    let root = clean.home.join("root");
    let server = clean.start();
    let mut client = server.connect("postgres");

    let foreign = unpacked(packages, 16, &clean.folder);
    let copy = |from: &str, into: &str| {
        succeed(
            Command::new("cp").arg("-r").arg(foreign.join(from)).arg(root.join("usr").join(into)),
        );
    };
    copy("lib/customer_db.so", "lib/postgresql/15/lib");
    copy("share/extension", "share/postgresql/15");
    for load in ["LOAD 'customer_db'", "CREATE EXTENSION customer_db"] {
        assert_incompatible(client.batch_execute(load));
    }
    let left = "SELECT (SELECT count(*) FROM pg_extension WHERE extname = 'customer_db')
                     + (SELECT count(*) FROM pg_namespace WHERE nspname = 'customers')";
    assert_eq!(one::<i64>(&mut client, left, &[]), 0);

    // The same server, with the right package over the wrong one.
    let package = debian_package(packages, 15);
    succeed(Command::new("dpkg-deb").arg("--extract").arg(package).arg(&root));
    assert_tour(&server, &root.join("usr/share/doc/postgresql-15-customer-db"));
}

#[test]
fn apt_finds_what_the_debian_package_depends_on() {
    let Some(packages) = packages() else { return };
    let known = Command::new("apt-cache").args(["policy", "postgresql-15"]).output();
    if !known.is_ok_and(|known| printed(&known).contains("Candidate: 15")) {
        skipped("apt knows no postgresql-15: not Debian 12, or without apt-get update");
        return;
    }
    let mut install = Command::new("apt-get");
    install.args(["--simulate", "--no-install-recommends", "install"]);
    let simulated = succeed(install.arg(debian_package(packages, 15)));
    let wanted = format!("Inst postgresql-15-customer-db ({VERSION}-1");
    assert!(simulated.contains(&wanted), "{simulated}");
}

#[test]
fn the_sums_are_those_of_the_packages_and_the_archive_for_pgxn_has_its_version() {
    let Some(packages) = packages() else { return };
    let mut sum = Command::new("sha256sum");
    let checked = succeed(sum.args(["--check", "--strict", "SHA256SUMS"]).current_dir(packages));
    assert_eq!(checked.lines().count(), 5, "two tarballs, two of Debian, one of PGXN: {checked}");
    assert_eq!(fs::read_dir(packages).unwrap().count(), 6, "and the sums");

    let archive = packages.join(format!("customer_db-{VERSION}.zip"));
    let read = "import json, sys, zipfile
name = 'customer_db-' + sys.argv[2]
meta = json.load(zipfile.ZipFile(sys.argv[1]).open(name + '/META.json'))
assert meta['name'] + '-' + meta['version'] == name, meta";
    succeed(Command::new("python3").args(["-c", read]).arg(archive).arg(VERSION));
}
