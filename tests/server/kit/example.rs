//! Examples of eg/ that are programs of their own, started by the commands of their README.

use super::{Database, home, major, project, succeed};
use std::fs;
use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};

/// A program that is ended when dropped.
pub struct Running(pub Child);

impl Running {
    /// Starts a server whose first line of output is its URL; returns the port as well.
    pub fn server(command: &mut Command) -> (Self, u16) {
        let process = command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn();
        let mut running = Self(process.expect("the program starts"));
        let mut line = String::new();
        BufReader::new(running.0.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let port = line.trim_end().split(['/', ':']).find_map(|part| part.parse().ok());
        (running, port.unwrap_or_else(|| panic!("no port in {line:?}")))
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// An example, by its folder in eg/.
pub struct Example(pub &'static str);

impl Example {
    pub fn readme(&self) -> String {
        fs::read_to_string(project().join("eg").join(self.0).join("README.md")).expect("a README")
    }

    /// The blocks of the README in a language.
    pub fn blocks(&self, language: &str) -> Vec<String> {
        let (readme, begin) = (self.readme(), format!("```{language}\n"));
        let blocks = readme.split(&begin).skip(1);
        blocks.map(|block| block.split_once("```").expect("a block ends").0.to_owned()).collect()
    }

    /// The commands of the README.
    pub fn commands(&self) -> Vec<String> {
        let blocks = self.blocks("sh").concat().replace("\\\n", "");
        blocks.lines().map(str::to_owned).collect()
    }

    /// The README's command that contains a text, but for what is different here.
    pub fn command(&self, text: &str, replacements: &[(&str, String)]) -> Command {
        let mut commands = self.commands().into_iter().filter(|command| command.contains(text));
        let mut command = commands.next().expect("a command of the README");
        assert_eq!(commands.next(), None);
        for (there, here) in replacements {
            assert!(command.contains(there), "{command}");
            command = command.replace(there, here);
        }
        let mut bash = Command::new("bash");
        bash.args(["-c", &command]).current_dir(project().join("eg").join(self.0));
        bash
    }

    /// Runs the README's command for a file of SQL, in a database.
    pub fn psql(&self, file: &str, database: &Database) {
        let postgresql = home(&major().to_string());
        let path = std::env::var("PATH").expect("PATH");
        let mut psql = self.command(file, &[("psql", "psql -v ON_ERROR_STOP=1".to_owned())]);
        psql.env("PATH", format!("{}:{path}", postgresql.join("bin").display()))
            .env("LD_LIBRARY_PATH", postgresql.join("lib"))
            .env("PGHOST", database.server.host())
            .env("PGUSER", "postgres")
            .env("PGDATABASE", &database.name);
        succeed(&mut psql);
    }
}

/// A database, in a connection string after the role.
pub fn place(database: &Database) -> String {
    format!("@{}/{}", database.server.host().replace('/', "%2F"), database.name)
}
