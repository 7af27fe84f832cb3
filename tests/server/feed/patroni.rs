//! Promise: under Patroni every consumer that follows the reference ends with a true copy, whatever a failover loses; in
//! synchronous mode nobody has to copy again. The configuration is that of `doc/patroni.md`.

use super::failover::{Load, assert_true, under_load};
use crate::kit::copying::{Copy, Place, Primary};
use crate::kit::http::{free_ports, get};
use crate::kit::{
    all, await_end, await_true, children, eventually, home, kill, new_folder, on_16, one,
    postmaster, project, skipped, succeed,
};
use postgres::config::TargetSessionAttrs;
use postgres::{Client, Config, NoTls};
use serde_json::Value;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command};
use std::thread;
use std::time::Duration;

const CONFIGURATION: &str = include_str!("../../../eg/patroni/patroni.yml");
const NODE: &str = include_str!("../../../eg/patroni/node.yml");
/// Named in the configuration.
const DATABASE: &str = "shop";
const PASSWORD: &str = "change-me";
/// It leaves processors to Patroni, which a busy machine makes miss its deadlines.
const LOAD: Load = Load {
    writers: 4,
    pause: Duration::from_millis(20),
    before_connecting: Duration::from_millis(500),
};
const PLACES: [Place; 2] = [Place::Own, Place::Kept("mailer")];

/// Three nodes and their etcd; all of their processes are ended when it is dropped.
struct Cluster {
    folder: PathBuf,
    etcd: Child,
    nodes: Vec<Node>,
}

/// A Patroni and the PostgreSQL that it runs.
struct Node {
    name: String,
    folder: PathBuf,
    port: u16,
    rest_port: u16,
    patroni: Option<Child>,
}

/// Whether the test can be run, here and on this version.
fn is_possible() -> bool {
    let fetched = |name: &str| project().join(".local").join(name).exists();
    if !on_16() {
        return false;
    }
    if !fetched("patroni") || !fetched("etcd") {
        skipped("no .local/patroni or no .local/etcd, see bin/fetch-patroni");
        return false;
    }
    true
}

/// A program of Patroni's, which finds its libraries.
fn python(mut command: Command) -> Command {
    command.env("PYTHONPATH", project().join(".local/patroni")).env("PYTHONDONTWRITEBYTECODE", "1");
    command
}

fn logging_to(mut command: Command, log: &Path) -> Child {
    let log = File::options().create(true).append(true).open(log).unwrap();
    command.stdout(log.try_clone().unwrap()).stderr(log).spawn().expect("it starts")
}

/// Waits until a condition holds that takes some of Patroni's time to find out.
fn await_that(what: &str, mut is_so: impl FnMut() -> bool) {
    eventually(what, || {
        let is_so = is_so();
        if !is_so {
            thread::sleep(Duration::from_millis(200));
        }
        is_so
    });
}

impl Cluster {
    fn start() -> Self {
        let folder = new_folder().canonicalize().unwrap();
        let [client, peer] = free_ports().map(|port: u16| format!("http://127.0.0.1:{port}"));
        let mut command = Command::new(project().join(".local/etcd/etcd"));
        command.arg("--data-dir").arg(folder.join("etcd"));
        for (urls, url) in [("client", &client), ("peer", &peer)] {
            command.arg(format!("--listen-{urls}-urls={url}"));
        }
        command
            .arg(format!("--advertise-client-urls={client}"))
            .arg(format!("--initial-advertise-peer-urls={peer}"))
            .arg(format!("--initial-cluster=default={peer}"));
        let etcd = logging_to(command, &folder.join("etcd.log"));
        let mut cluster = Self { folder, etcd, nodes: Vec::new() };
        let (_, etcd_host) = client.split_once("//").unwrap();
        let etcd_port = etcd_host.split_once(':').unwrap().1.parse().unwrap();
        await_that("etcd answers", || matches!(get(etcd_port, "/health"), Some((200, _))));
        let ports: [u16; 6] = free_ports();
        for (i, ports) in ports.chunks(2).enumerate() {
            let name = format!("node{}", i + 1);
            let folder = cluster.folder.join(&name);
            let mut node =
                Node { name, folder, port: ports[0], rest_port: ports[1], patroni: None };
            node.configure(etcd_host);
            node.start();
            cluster.nodes.push(node);
        }
        cluster.await_streaming();
        let mut client = cluster.config("postgres").connect(NoTls).unwrap();
        client.batch_execute(&format!("CREATE DATABASE {DATABASE}")).unwrap();
        let mut client = cluster.primary().connect().unwrap();
        client.batch_execute("CREATE EXTENSION customer_db").unwrap();
        cluster
    }

    /// How clients connect: to the one of three that can be written to.
    fn config(&self, database: &str) -> Config {
        let mut config = Config::new();
        for node in &self.nodes {
            config.host("127.0.0.1").port(node.port);
        }
        config
            .dbname(database)
            .user("postgres")
            .password(PASSWORD)
            .connect_timeout(Duration::from_secs(2))
            // A commit without a synchronous standby does not make the test hang.
            .options("-c statement_timeout=60s")
            .target_session_attrs(TargetSessionAttrs::ReadWrite);
        config
    }

    fn primary(&self) -> Primary {
        Primary::among(self.config(DATABASE))
    }

    fn ctl(&self, arguments: &[&str]) {
        let mut command = python(Command::new("python3"));
        command.arg(project().join(".local/patroni/bin/patronictl"));
        succeed(command.arg("--config-file").arg(&self.nodes[0].folder).args(arguments));
    }

    /// The members as Patroni lists them.
    fn members(&self) -> Vec<Value> {
        let answer = self.nodes.iter().find_map(|node| get(node.rest_port, "/cluster"));
        let Some((200, body)) = answer else { return Vec::new() };
        let cluster: Value = serde_json::from_str(&body).expect("JSON");
        cluster["members"].as_array().cloned().unwrap_or_default()
    }

    fn await_streaming(&self) {
        await_that("a leader and two standbys that stream", || {
            let members = self.members();
            let (leaders, standbys): (Vec<_>, Vec<_>) =
                members.iter().partition(|member| member["role"] == "leader");
            let streaming = standbys.iter().filter(|member| member["state"] == "streaming");
            leaders.len() == 1 && streaming.count() == 2
        });
    }

    /// The name of a member with this role.
    fn member(&self, role: &str) -> Option<String> {
        let members = self.members();
        let member = members.iter().find(|member| member["role"] == role)?;
        Some(member["name"].as_str()?.to_owned())
    }

    fn leader(&self) -> Option<usize> {
        self.nodes.iter().position(|node| matches!(get(node.rest_port, "/primary"), Some((200, _))))
    }

    /// Waits until a leader that `is_expected` accepts can be written to, and has its notification worker.
    fn await_leader(&self, is_expected: impl Fn(usize) -> bool) -> usize {
        let mut leader = None;
        await_that("a new leader", || {
            leader = self.leader().filter(|&leader| is_expected(leader));
            leader.is_some()
        });
        let works = "SELECT EXISTS (SELECT FROM pg_stat_activity
                                     WHERE backend_type = 'customer_db notifications')";
        await_that("a notification worker", || {
            let worker =
                self.primary().connect().and_then(|mut client| client.query_one(works, &[]));
            worker.is_ok_and(|row| row.get(0))
        });
        leader.unwrap()
    }

    /// Hands over to another node by command; in synchronous mode to one that has everything.
    fn switch_over(&self) {
        let leader = &self.nodes[self.leader().unwrap()].name;
        let candidate = self.member("sync_standby").or_else(|| self.member("replica")).unwrap();
        self.ctl(&["switchover", "--leader", leader, "--candidate", &candidate, "--force"]);
        self.await_leader(|leader| self.nodes[leader].name == candidate);
    }

    /// Stops what sends WAL to the standbys, so that they lack what is written until the node crashes.
    fn hold_back_wal(&self, node: usize) {
        let mut client = self.primary().connect().unwrap();
        await_true(&mut client, "SELECT count(*) = 2 FROM pg_stat_replication", &[]);
        let senders: Vec<i32> = all(&mut client, "SELECT pid FROM pg_stat_replication", &[]);
        let postmaster = self.nodes[node].postmaster().unwrap();
        for sender in senders {
            assert!(children(postmaster).contains(&sender));
            kill(sender, libc::SIGSTOP);
        }
    }

    /// Kills the leader and its Patroni, and waits for another leader.
    fn fail_over(&mut self, leader: usize) {
        self.nodes[leader].crash();
        self.await_leader(|other| other != leader);
    }
}

impl Node {
    /// Writes the configuration: that of the page, with the addresses and folders that apply here.
    fn configure(&self, etcd: &str) {
        fs::create_dir(&self.folder).unwrap();
        let path = |name: &str| self.folder.join(name).display().to_string();
        let etcd_hosts =
            ["21", "22", "23"].map(|host| format!("    - 10.0.0.{host}:2379\n")).concat();
        let mut node = NODE.to_owned();
        for (there, here) in [
            ("name: node1\n", format!("name: {}\n", self.name)),
            (&etcd_hosts, format!("    - {etcd}\n")),
            ("10.0.0.11:8008", format!("127.0.0.1:{}", self.rest_port)),
            ("10.0.0.11:5432", format!("127.0.0.1:{}", self.port)),
            ("/var/lib/postgresql/16/shop", path("data")),
            ("/var/lib/postgresql/patroni.pgpass", path("pgpass")),
            ("/usr/lib/postgresql/16/bin", home("16").join("bin").display().to_string()),
            ("/var/run/postgresql", path("")),
            // A watchdog would restart this machine.
            ("mode: required", "mode: off".to_owned()),
        ] {
            assert!(node.contains(there), "{there}");
            node = node.replace(there, &here);
        }
        fs::write(self.folder.join("patroni.yml"), CONFIGURATION).unwrap();
        fs::write(self.folder.join("node.yml"), node).unwrap();
    }

    fn start(&mut self) {
        let mut command = python(Command::new(project().join("bin/as-server-user")));
        command.args(["python3", "-m", "patroni"]).arg(&self.folder).current_dir(&self.folder);
        self.patroni = Some(logging_to(command, &self.folder.join("log")));
    }

    fn data(&self) -> PathBuf {
        self.folder.join("data")
    }

    /// The postmaster, if it runs: the file may be that of one that was killed.
    fn postmaster(&self) -> Option<i32> {
        let postmaster = postmaster(&self.data())?;
        let folder = fs::read_link(format!("/proc/{postmaster}/cwd")).ok()?;
        (folder == self.data()).then_some(postmaster)
    }

    /// Kills Patroni, the postmaster and all that they have started, as the failure of the machine would.
    fn crash(&mut self) {
        if let Some(mut patroni) = self.patroni.take() {
            let killed = kill_all(patroni.id() as i32);
            let _ = patroni.wait();
            killed.into_iter().for_each(await_end);
            if self.postmaster().is_none() {
                // One that has just been started writes its pid file within this time.
                thread::sleep(Duration::from_millis(500));
            }
        }
        if let Some(postmaster) = self.postmaster() {
            kill_all(postmaster).into_iter().for_each(await_end);
        }
    }
}

/// Kills a process and its descendants, and returns their ids. Each is stopped first, so that it starts no further
/// children, and dies after its children, whose ids nobody else gets meanwhile.
fn kill_all(pid: i32) -> Vec<i32> {
    kill(pid, libc::SIGSTOP);
    let mut killed: Vec<i32> = children(pid).into_iter().flat_map(kill_all).collect();
    kill(pid, libc::SIGKILL);
    killed.push(pid);
    killed
}

impl Drop for Cluster {
    fn drop(&mut self) {
        self.nodes.iter_mut().for_each(Node::crash);
        let _ = self.etcd.kill();
        let _ = self.etcd.wait();
        if thread::panicking() {
            for log in self.nodes.iter().map(|node| node.folder.join("log")) {
                let text = fs::read_to_string(&log).unwrap_or_default();
                let lines: Vec<&str> = text.lines().collect();
                let last = &lines[lines.len().saturating_sub(30)..];
                eprintln!("{}:\n{}", log.display(), last.join("\n"));
            }
        }
        let _ = fs::remove_dir_all(&self.folder);
    }
}

fn begun_again(copies: &[Copy]) -> Vec<usize> {
    copies.iter().map(|copy| copy.begun_again).collect()
}

fn epochs(client: &mut Client) -> i64 {
    one(client, "SELECT count(*) FROM customers.feed_epochs", &[])
}

#[test]
fn an_asynchronous_cluster_leaves_no_copy_wrong() {
    if !is_possible() {
        return;
    }
    let mut cluster = Cluster::start();
    let (copies, mut client) = under_load(&cluster.primary(), &PLACES, &LOAD, |_, write_on| {
        write_on();
        cluster.switch_over();
        write_on();
        cluster.await_streaming();

        let leader = cluster.leader().unwrap();
        cluster.hold_back_wal(leader);
        write_on();
        cluster.fail_over(leader);
        write_on();
        cluster.nodes[leader].start();
        cluster.await_streaming();
        write_on();
    });
    assert_true(&copies, &mut client);
    assert!(begun_again(&copies).iter().any(|&count| count > 0), "nothing was lost");
    assert_eq!(epochs(&mut client), 3);
}

#[test]
fn a_synchronous_cluster_sends_nobody_back() {
    if !is_possible() {
        return;
    }
    let mut cluster = Cluster::start();
    cluster.ctl(&["edit-config", "--set", "synchronous_mode=true", "--force"]);
    let await_synchronous = |cluster: &Cluster| {
        cluster.await_streaming();
        await_that("a synchronous standby", || cluster.member("sync_standby").is_some());
    };
    await_synchronous(&cluster);
    let (copies, mut client) = under_load(&cluster.primary(), &PLACES, &LOAD, |_, write_on| {
        write_on();
        let leader = cluster.leader().unwrap();
        cluster.fail_over(leader);
        write_on();
        cluster.nodes[leader].start();
        await_synchronous(&cluster);
        write_on();
        cluster.switch_over();
        write_on();
    });
    assert_true(&copies, &mut client);
    assert_eq!(begun_again(&copies), [0, 0]);
    assert_eq!(epochs(&mut client), 3);
}

#[test]
fn the_page_shows_the_configuration_that_is_tested() {
    let page = fs::read_to_string(project().join("doc/patroni.md")).unwrap();
    for file in [CONFIGURATION, NODE] {
        assert!(page.contains(&format!("```yaml\n{file}```\n")), "{file}");
    }
}
