//! The real program: run to its end, or run and signalled.

#![cfg(test)]

use std::fmt::Write as _;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use tokio::io::{AsyncBufReadExt, AsyncRead, AsyncWriteExt, BufReader};
use tokio::process::{Child, Command};
use tokio::task::JoinSet;

use crate::support::lane::filled_up;
use crate::support::{PATIENCE, in_time, send};

/// What a run of the program said, and how it ended.
#[derive(Debug)]
pub(crate) struct Said {
    pub(crate) code: Option<i32>,
    pub(crate) out: String,
    pub(crate) err: String,
    /// From its start to its end.
    pub(crate) lasted: Duration,
}

/// The program, running a balancer. Dropping it kills it.
pub(crate) struct Program {
    child: Child,
    said: Arc<Mutex<Vec<String>>>,
    hearing: JoinSet<()>,
    folder: tempfile::TempDir,
}

/// Runs the program to its end, in a folder, with nothing of our own environment that it would heed.
pub(crate) async fn evenkeel(folder: &Path, arguments: &[&str]) -> Said {
    let start = Instant::now();
    let output = in_time("the program's end", command(folder, arguments).output()).await;
    Said::of(output.expect("the program runs"), start)
}

/// The same with this standard input and these variables in the environment.
pub(crate) async fn evenkeel_given(
    folder: &Path,
    arguments: &[&str],
    input: &str,
    variables: &[(&str, &str)],
) -> Said {
    let start = Instant::now();
    let mut command = command(folder, arguments);
    command.envs(variables.iter().copied());
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().expect("the program runs");
    let mut stdin = child.stdin.take().expect("a pipe");
    let output = async {
        // It may end before it has read everything.
        let _ = stdin.write_all(input.as_bytes()).await;
        drop(stdin);
        child.wait_with_output().await
    };
    Said::of(in_time("the program's end", output).await.expect("the program runs"), start)
}

/// The program: `EVENKEEL_TEST_PROGRAM`, to run a test by hand with a release build; default the one built for the tests.
fn executable() -> PathBuf {
    std::env::var_os("EVENKEEL_TEST_PROGRAM")
        .map_or_else(|| env!("CARGO_BIN_EXE_evenkeel").into(), PathBuf::from)
}

fn command(folder: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(executable());
    command.args(arguments).current_dir(folder).stdin(Stdio::null()).kill_on_drop(true);
    command.env("PORT", "8081").env_remove("COLUMNS");
    command.env_remove("EVENKEEL_LOG").env_remove("RUST_LOG").env_remove("EVENKEEL_ADMIN_TOKEN");
    // Where there is no network, a resolver is not waited for.
    command.env("RES_OPTIONS", "timeout:1 attempts:1");
    command
}

/// A folder with this configuration, filled up as [`Program::run`] says.
fn configured(yaml: &str) -> tempfile::TempDir {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let text = yaml.replace("FOLDER", &folder.path().display().to_string());
    let defaults = [
        ("listeners:", "[{ address: 127.0.0.1:0 }]"),
        ("admin:", "{ address: 127.0.0.1:0, hosts: [test] }"),
        ("access_log:", "{ to: access.log, format: json }"),
    ];
    let text = filled_up(&text, &defaults);
    std::fs::write(folder.path().join("evenkeel.yaml"), text).expect("a configuration");
    folder
}

/// Keeps the lines that come.
async fn hear(from: impl AsyncRead + Unpin, said: Arc<Mutex<Vec<String>>>) {
    let mut lines = BufReader::new(from).lines();
    while let Ok(Some(line)) = lines.next_line().await {
        // Whether this is said depends on the machine, except for the test that sets the limit.
        if line.contains("the limit on open files is ") && !line.contains("files is 64,") {
            continue;
        }
        said.lock().expect("no panic").push(line);
    }
}

// === impl Said ===

impl Said {
    fn of(output: std::process::Output, start: Instant) -> Self {
        Self {
            code: output.status.code(),
            out: String::from_utf8(output.stdout).expect("text"),
            err: String::from_utf8(output.stderr).expect("text"),
            lasted: start.elapsed(),
        }
    }

    /// All of it, as golden files have it.
    pub(crate) fn text(&self) -> String {
        let mut text = String::new();
        let code = self.code.map_or_else(|| "none".to_owned(), |code| code.to_string());
        let _ = write!(text, "{}--- standard error\n{}--- exit code\n{code}\n", self.out, self.err);
        text
    }
}

// === impl Program ===

impl Program {
    /// Runs this configuration, and waits until all addresses are known. What the text does not say is added: a listener
    /// on a free port, the admin address, an access log, the lanes of this run. `FOLDER` in it stands for its own folder.
    pub(crate) async fn run(yaml: &str) -> Self {
        Self::start(configured(yaml), &["run"]).await
    }

    /// Runs this configuration as [`Program::run`] does, with an error log that tells what this filter lets through.
    pub(crate) async fn run_logging(yaml: &str, filter: &str) -> Self {
        Self::run_given(yaml, &[], &[("EVENKEEL_LOG", filter)]).await
    }

    /// Runs this configuration as [`Program::run`] does, with more options and variables in the environment.
    pub(crate) async fn run_given(yaml: &str, options: &[&str], variables: &[(&str, &str)]) -> Self {
        let folder = configured(yaml);
        let mut command = command(folder.path(), &[&["run"], options].concat());
        command.envs(variables.iter().copied());
        Self::spawn(folder, command, "admin on http://").await
    }

    /// Runs this configuration as [`Program::run`] does, with no more open files than this.
    pub(crate) async fn run_with_files(yaml: &str, files: u32) -> Self {
        let folder = configured(yaml);
        let mut command = Command::new("sh");
        let script = format!("ulimit -n {files}; exec {} run", env!("CARGO_BIN_EXE_evenkeel"));
        command.args(["-c", &script]).current_dir(folder.path()).stdin(Stdio::null()).kill_on_drop(true);
        Self::spawn(folder, command, "admin on http://").await
    }

    /// Runs this configuration as [`Program::run`] does, with this listening socket, passed as systemd passes it.
    pub(crate) async fn run_with_socket(yaml: &str, socket: OwnedFd) -> Self {
        let folder = configured(yaml);
        let mut command = Command::new("sh");
        let script = format!("exec 3<&0 </dev/null; LISTEN_FDS=1 exec {} run", executable().display());
        command
            .args(["-c", &script])
            .current_dir(folder.path())
            .stdin(Stdio::from(socket))
            .kill_on_drop(true);
        Self::spawn(folder, command, "admin on http://").await
    }

    /// Starts the program in a folder, and waits until it has told its admin address, which it does last.
    pub(crate) async fn start(folder: tempfile::TempDir, arguments: &[&str]) -> Self {
        Self::until(folder, arguments, "admin on http://").await
    }

    /// Starts the program in a folder, and waits until it has said a line that begins so.
    pub(crate) async fn until(folder: tempfile::TempDir, arguments: &[&str], beginning: &str) -> Self {
        let command = command(folder.path(), arguments);
        Self::spawn(folder, command, beginning).await
    }

    async fn spawn(folder: tempfile::TempDir, mut command: Command, beginning: &str) -> Self {
        let command = command.stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().expect("the program runs");
        let (said, mut hearing) = (Arc::default(), JoinSet::new());
        hearing.spawn(hear(child.stdout.take().expect("a pipe"), Arc::clone(&said)));
        hearing.spawn(hear(child.stderr.take().expect("a pipe"), Arc::clone(&said)));
        let mut program = Self { child, said, hearing, folder };
        let start = Instant::now();
        while program.find(beginning).is_none() {
            let ended = program.child.try_wait().expect("its status");
            assert!(ended.is_none(), "it ended by itself: {ended:?} {:#?}", program.said());
            assert!(start.elapsed() < PATIENCE, "no line {beginning:?}: {:#?}", program.said());
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
        program
    }

    /// The address of its first listener on TCP.
    pub(crate) fn address(&self) -> SocketAddr {
        self.find("listening on http://").expect("a listener").parse().expect("an address")
    }

    /// The admin address.
    pub(crate) fn admin(&self) -> SocketAddr {
        self.find("admin on http://").expect("the admin address").parse().expect("an address")
    }

    /// A file in the folder of its configuration.
    pub(crate) fn file(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// The lines that it has printed so far.
    pub(crate) fn said(&self) -> Vec<String> {
        self.said.lock().expect("no panic").clone()
    }

    /// Its process id.
    pub(crate) fn id(&self) -> u32 {
        self.child.id().expect("it runs")
    }

    /// The whole records of its access log.
    pub(crate) fn records(&self) -> Vec<serde_json::Value> {
        let text = std::fs::read_to_string(self.file("access.log")).unwrap_or_default();
        let whole = text.rfind('\n').map_or("", |end| &text[..end]);
        whole.lines().map(|line| serde_json::from_str(line).expect("a record is JSON")).collect()
    }

    /// Kills it, and gives all that it has ever said.
    pub(crate) async fn kill(mut self) -> Vec<String> {
        self.child.kill().await.expect("it can be killed");
        while in_time("its last words", self.hearing.join_next()).await.is_some() {}
        self.said()
    }

    /// Sends a signal.
    pub(crate) fn signal(&self, signal: Signal) {
        let id = self.child.id().and_then(|id| Pid::from_raw(id.try_into().ok()?)).expect("it runs");
        kill_process(id, signal).expect("a signal can be sent");
    }

    /// What `/readyz` says.
    pub(crate) async fn readyz(&self) -> u16 {
        let probe = "GET /readyz HTTP/1.1\r\nHost: localhost\r\n\r\n";
        send(self.admin(), probe).await.status()
    }

    /// Waits for the end; fails unless it is a good one. Gives the moment of it.
    pub(crate) async fn ended_well(&mut self) -> Instant {
        let status = in_time("the program's end", self.child.wait()).await.expect("its status");
        let end = Instant::now();
        while in_time("its last words", self.hearing.join_next()).await.is_some() {}
        assert_eq!(status.code(), Some(0), "{status}: {:#?}", self.said());
        end
    }

    fn find(&self, beginning: &str) -> Option<String> {
        self.said().iter().find_map(|line| Some(line.strip_prefix(beginning)?.to_owned()))
    }
}
