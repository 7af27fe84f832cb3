//! A variant: a file of SQL in sections. What comes before the first `--- WORKLOAD` makes its tables, the others are what a
//! workload runs; `--- like NAME` takes over the tables and workloads of another.

use crate::kit::{Server, home, project, succeed};
use std::collections::HashMap;
use std::fs;
use std::process::Command;

pub struct Variant {
    pub name: String,
    setup: Vec<String>,
    scripts: HashMap<String, String>,
}

impl Variant {
    pub fn read(name: &str) -> Self {
        let file = project().join(format!("benches/variants/{name}.sql"));
        let text = fs::read_to_string(&file).unwrap_or_else(|error| panic!("{file:?}: {error}"));
        let (like, text) = match text.strip_prefix("--- like ") {
            Some(rest) => rest.split_once('\n').expect("more lines"),
            None => ("", &text[..]),
        };
        let mut variant = match like {
            "" => Self { name: String::new(), setup: Vec::new(), scripts: HashMap::new() },
            like => Self::read(like),
        };
        let mut sections = text.split("\n--- ");
        variant.name = name.to_owned();
        variant.setup.extend(sections.next().map(str::to_owned));
        for section in sections {
            let (workload, script) = section.split_once('\n').expect("a script");
            variant.scripts.insert(workload.to_owned(), script.trim_end().to_owned());
        }
        variant
    }

    pub fn script(&self, workload: &str) -> &str {
        self.scripts
            .get(workload)
            .unwrap_or_else(|| panic!("{} has no section {workload}", self.name))
    }

    /// Makes a database with the variant's tables; Err says what could not be fetched.
    pub fn install(&self, server: &Server, database: &str) -> Result<(), String> {
        let path = std::env::var("PATH").unwrap_or_default();
        let connection = |program: &str| {
            let mut command = Command::new(program);
            command
                .env("PATH", format!("{}:{path}", home("16").join("bin").display()))
                .env("LD_LIBRARY_PATH", home("16").join("lib"))
                .env("PGHOST", server.host())
                .env("PGUSER", "postgres")
                .env("PGDATABASE", database)
                .env("DATABASE_NAME", database)
                .env("CREATE_DATABASE", "off");
            command
        };
        let mut installer = match &self.name[..] {
            "message_db" => {
                let mut command = connection("bash");
                command.current_dir(fetched("message-db/database")?).arg("install.sh");
                Some(command)
            }
            "graphile_worker" => {
                let program = fetched("graphile-worker/node_modules/.bin/graphile-worker")?;
                let url = format!("socket:{}?db={database}&user=postgres", server.host());
                let mut command = connection("node");
                command.arg(program).args(["--schema-only", "--connection", &url]);
                Some(command)
            }
            _ => None,
        };
        let create = format!("CREATE DATABASE {database}");
        server.connect("postgres").batch_execute(&create).expect("CREATE DATABASE");
        if let Some(installer) = &mut installer {
            succeed(installer);
        }
        let mut client = server.connect(database);
        for sql in &self.setup {
            client.batch_execute(sql).unwrap_or_else(|error| panic!("{}: {error}", self.name));
        }
        Ok(())
    }

    /// Registers customers from one number to another, with their events.
    pub fn fill(&self, server: &Server, database: &str, from: u64, to: u64) {
        let fill = self.script("fill").replace(":from", &from.to_string());
        let mut client = server.connect(database);
        for sql in [&fill.replace(":to", &to.to_string())[..], "VACUUM ANALYZE", "CHECKPOINT"] {
            client.batch_execute(sql).unwrap_or_else(|error| panic!("{}: {error}", self.name));
        }
    }
}

/// A path in .local/; Err says that it could not be fetched.
pub fn fetched(path: &str) -> Result<std::path::PathBuf, String> {
    let path = project().join(".local").join(path);
    let why = "could not be fetched, see bin/fetch-alternatives".to_owned();
    if path.exists() { Ok(path) } else { Err(why) }
}
