# Shared by all scripts. Sourced by bash from the project's folder.

cd "$(dirname "${BASH_SOURCE[0]}")/.."
project=$PWD
tools=$project/.local

say() { printf '\n==> %s\n' "$*"; }
fail() { printf 'customer_db: %s\n' "$*" >&2; exit 1; }

command -v cargo >/dev/null || PATH=$HOME/.cargo/bin:$PATH
command -v cargo >/dev/null || fail 'Rust is missing: install a toolchain with rustup (https://rustup.rs).'

VERSION=$(sed -n 's/^version = "\(.*\)"$/\1/p' Cargo.toml | head -n1)
PGRX_VERSION=$(sed -n 's/^pgrx = .*"=\([0-9.]*\)".*/\1/p' Cargo.toml)
export PGRX_HOME=$tools/pgrx
export PATH=$tools/cargo-pgrx/bin:$PATH
# psql and other clients must not connect to another cluster that the environment names.
unset PGHOST PGPORT PGUSER PGDATABASE PGSERVICE PGPASSFILE

# pgrx 0.19.3 declares rustc 1.96 and builds with 1.95.
rust_flags=()
if [ "$(printf '%s\n' 1.96 "$(rustc --version | cut -d' ' -f2)" | sort -V | head -n1)" != 1.96 ]; then
    rust_flags=(--ignore-rust-version)
    export PGRX_BUILD_FLAGS=--ignore-rust-version
fi

# begin_fetch: creates the folder $scratch on the same file system, so that a fetch ends with a rename and
# every existing folder is complete.
begin_fetch() {
    mkdir -p "$tools/postgresql"
    scratch=$(mktemp -d "$tools/fetch.XXXXXX")
    chmod 755 "$scratch"
    trap 'rm -rf "$scratch"' EXIT
}

# The driver for Python of the examples and the benchmarks.
psycopg='psycopg[binary]==3.3.9'

# pip_install FOLDER PACKAGE…: installs into that folder only.
pip_install() {
    local folder=$1
    shift
    python3 -m pip install --quiet --disable-pip-version-check --root-user-action=ignore --target "$folder" "$@"
}

# npm_install FOLDER PACKAGE…: installs into that folder only.
npm_install() {
    local folder=$1
    shift
    { command -v node && command -v npm; } >/dev/null || fail "node or npm is missing (apt-get install nodejs npm): no $*."
    npm install --silent --no-audit --no-fund --prefix "$folder" "$@"
}

# unpack_debian FOLDER PACKAGE…: downloads Debian's packages and unpacks them there, without installing them.
unpack_debian() (
    folder=$1
    shift
    command -v apt-get >/dev/null && command -v dpkg-deb >/dev/null ||
        fail "$* are Debian packages, and apt-get or dpkg-deb is missing."
    [ "$(id -u)" -ne 0 ] || apt-get -qq update || fail 'apt-get update failed.'
    cd "$folder"
    apt-get -qq -o APT::Sandbox::User=root download "$@" >apt.log 2>&1 || {
        sed 's/^/    /' apt.log >&2
        fail "apt-get cannot download $*: is this Debian 12, and did apt-get update run?"
    }
    for package in *.deb; do
        dpkg-deb -x "$package" . || fail "$package cannot be unpacked."
        rm "$package"
    done
)

# postgresql MAJOR PROGRAM…: runs a program of a private PostgreSQL as the servers' user.
postgresql() {
    local home=$tools/postgresql/$1 program=$2
    shift 2
    LD_LIBRARY_PATH=$home/lib bin/as-server-user "$home/bin/$program" "$@"
}

# install_extension PG_CONFIG [FLAG…]: builds and installs into the server that pg_config belongs to.
install_extension() {
    local pg_config=$1 major library log=$tools/install.log as_root=()
    major=$("$pg_config" --version | sed 's/^PostgreSQL \([0-9]*\).*/\1/')
    library=$("$pg_config" --pkglibdir)/customer_db.so
    shift
    mkdir -p "$tools"
    [ -w "${library%/*}" ] || as_root=(sudo)
    # cargo-pgrx overwrites the library in place, which crashes a server that has it mapped; so it is
    # replaced by a copy first.
    [ ! -e "$library" ] || { "${as_root[@]}" cp "$library" "$library.new" && "${as_root[@]}" mv "$library.new" "$library"; }
    cargo pgrx install --pg-config "$pg_config" --no-default-features --features "pg$major" \
        ${as_root[@]:+--sudo} "$@" >"$log" 2>&1 ||
        { tail -n 30 "$log" >&2; fail "the build for PostgreSQL $major failed; the whole log is $log."; }
    # cargo-pgrx installs the scripts of updates, but not those of earlier versions.
    "${as_root[@]}" cp sql/customer_db--*.sql "$("$pg_config" --sharedir)/extension"
}
