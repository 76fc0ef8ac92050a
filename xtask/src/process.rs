//! Processes that end when the task that started them ends, and what they cost according to the kernel. Knows nothing of
//! what they are.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use crate::failure::Failure;
use crate::shell::Shell;

/// A process with its children, killed when this is dropped.
#[derive(Debug)]
pub struct Running {
    name: String,
    child: Child,
    output: std::cell::RefCell<Option<BufReader<std::process::ChildStdout>>>,
}

/// Raises the limit of open files as far as the idle connections need, then becomes the command.
const START: &str = "ulimit -n 32768 2>/dev/null || ulimit -S -n \"$(ulimit -H -n)\"
cpu=$1; shift; [ -z \"$cpu\" ] || set -- taskset --cpu-list \"$cpu\" \"$@\"
exec setpriv --pdeathsig KILL \"$@\"";

/// How long a process may take until it answers.
const PATIENCE: Duration = Duration::from_secs(10);

/// Free ports. All are held until the last one is known, so they differ.
pub fn free_ports<const N: usize>() -> Result<[u16; N], Failure> {
    let failure = |e: std::io::Error| Failure::new(format!("no free port on 127.0.0.1: {e}"));
    let mut ports = [0; N];
    let mut held = Vec::new();
    for port in &mut ports {
        let listener = TcpListener::bind("127.0.0.1:0").map_err(failure)?;
        *port = listener.local_addr().map_err(failure)?.port();
        held.push(listener);
    }
    Ok(ports)
}

/// Waits until `GET path` gets a 200.
pub fn await_ok(port: u16, path: &str, process: &Running) -> Result<(), Failure> {
    let start = Instant::now();
    while !is_ok(port, path).unwrap_or(false) {
        if start.elapsed() > PATIENCE {
            let name = &process.name;
            return Err(Failure::new(format!(
                "{name} did not answer {path} on port {port} within {PATIENCE:?}"
            )));
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    Ok(())
}

fn is_ok(port: u16, path: &str) -> std::io::Result<bool> {
    let mut stream = TcpStream::connect(("127.0.0.1", port))?;
    stream.set_read_timeout(Some(Duration::from_secs(2)))?;
    write!(stream, "GET {path} HTTP/1.1\r\nHost: bench\r\nConnection: close\r\n\r\n")?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer)?;
    Ok(answer.starts_with(b"HTTP/1.1 200"))
}

// === impl Running ===

impl Running {
    /// Starts a command on one CPU, or on all. It dies with this process even if that is killed.
    pub fn start(name: &str, shell: &Shell, cpu: Option<usize>) -> Result<Self, Failure> {
        let inner = shell.command();
        let cpu = cpu.map_or_else(String::new, |cpu| cpu.to_string());
        let mut command = Command::new("sh");
        command.args(["-c", START, "sh", &cpu]).arg(inner.get_program()).args(inner.get_args());
        for (name, value) in inner.get_envs() {
            match value {
                Some(value) => command.env(name, value),
                None => command.env_remove(name),
            };
        }
        if let Some(folder) = inner.get_current_dir() {
            command.current_dir(folder);
        }
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .map_err(|e| Failure::new(format!("cannot start {name}: {e}")))?;
        let output = std::cell::RefCell::new(child.stdout.take().map(BufReader::new));
        Ok(Self { name: name.to_owned(), child, output })
    }

    /// Waits for a line on the process's standard output.
    pub fn await_line(&self, wanted: &str) -> Result<(), Failure> {
        let mut line = String::new();
        if let Some(output) = self.output.borrow_mut().as_mut() {
            // A process that ends closes its output, so this waits no longer than it lives.
            let _ = output.read_line(&mut line);
        }
        if line.trim() == wanted {
            return Ok(());
        }
        Err(Failure::new(format!("{} said {line:?} instead of {wanted:?}", self.name)))
    }

    /// Waits for its end. Returns whether it succeeded.
    pub fn wait(&mut self) -> Result<bool, Failure> {
        let status = self.child.wait();
        status.map(|s| s.success()).map_err(|e| Failure::new(format!("cannot wait for {}: {e}", self.name)))
    }

    /// Asks it to end, and waits until it has.
    pub fn end(mut self) -> Result<(), Failure> {
        let asked = Command::new("kill").arg("-TERM").arg(self.child.id().to_string()).status();
        if asked.is_ok_and(|status| status.success()) && self.wait()? {
            return Ok(());
        }
        Err(Failure::new(format!("{} failed while it was ending", self.name)))
    }

    /// CPU time, of the kernel for it too, by all threads of the process and its children.
    pub fn cpu(&self) -> Result<Duration, Failure> {
        let ticks = self.family().into_iter().filter_map(|id| cpu_ticks(&read(id, "stat")?)).sum::<u64>();
        // Linux has reported 100 ticks a second to every program for decades, whatever the kernel's own rate.
        if ticks == 0 { Err(self.gone()) } else { Ok(Duration::from_millis(ticks * 10)) }
    }

    /// Resident memory in KiB, of the process and its children.
    pub fn memory(&self) -> Result<u64, Failure> {
        let memory = self.family().into_iter().filter_map(|id| resident(&read(id, "status")?)).sum();
        if memory == 0 { Err(self.gone()) } else { Ok(memory) }
    }

    /// Open file descriptors, of the process and its children.
    pub fn descriptors(&self) -> Result<usize, Failure> {
        let folders = self.family().into_iter().map(|id| std::fs::read_dir(format!("/proc/{id}/fd")));
        let open = folders.filter_map(Result::ok).map(Iterator::count).sum();
        if open == 0 { Err(self.gone()) } else { Ok(open) }
    }

    fn gone(&self) -> Failure {
        Failure::new(format!("{} has ended, or has not used the processor yet", self.name))
    }

    /// The process and all that descend from it.
    fn family(&self) -> Vec<u32> {
        let mut family = vec![self.child.id()];
        let mut next = 0;
        while let Some(id) = family.get(next) {
            let children = read(*id, &format!("task/{id}/children")).unwrap_or_default();
            family.extend(children.split_whitespace().filter_map(|c| c.parse::<u32>().ok()));
            next += 1;
        }
        family
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // Children first known, then killed: nginx's workers outlive a master that is killed.
        let children = self.family().split_off(1);
        // It may have ended by itself; there is nothing else to do about a failure here.
        let _ = self.child.kill();
        let _ = self.child.wait();
        if children.is_empty() {
            return;
        }
        let _ = Command::new("kill").arg("-KILL").args(children.iter().map(u32::to_string)).status();
        // A signal is not an end: the next process must not share its CPU with one that is still dying.
        let start = Instant::now();
        while children.iter().any(|id| is_alive(*id)) && start.elapsed() < PATIENCE {
            std::thread::sleep(Duration::from_millis(1));
        }
    }
}

/// Whether a process runs: one that has ended may still wait for its parent to notice.
fn is_alive(process: u32) -> bool {
    let stat = read(process, "stat").unwrap_or_default();
    stat.rsplit_once(") ").is_some_and(|(_, state)| !state.starts_with(['Z', 'X']))
}

fn read(process: u32, file: &str) -> Option<String> {
    std::fs::read_to_string(format!("/proc/{process}/{file}")).ok()
}

/// User and system time in a `/proc/PID/stat`. The name in it may hold spaces and parentheses, so count from its end.
fn cpu_ticks(stat: &str) -> Option<u64> {
    let (_, fields) = stat.rsplit_once(')')?;
    let mut times = fields.split_whitespace().skip(11);
    Some(times.next()?.parse::<u64>().ok()? + times.next()?.parse::<u64>().ok()?)
}

/// `VmRSS` in a `/proc/PID/status`, in KiB.
fn resident(status: &str) -> Option<u64> {
    let line = status.lines().find_map(|l| l.strip_prefix("VmRSS:"))?;
    line.split_whitespace().next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_found_behind_a_name_with_parentheses() {
        let stat = "12 (a) b (c)) S 1 12 12 0 -1 4194560 1 2 3 4 70 30 5 6 20 0 1 0 9 10 11";
        assert_eq!(cpu_ticks(stat), Some(100));
    }

    #[test]
    fn memory_is_found_in_kib() {
        assert_eq!(resident("Name:\tx\nVmHWM:\t 9 kB\nVmRSS:\t  1234 kB\n"), Some(1234));
        assert_eq!(resident("Name:\tx\n"), None);
    }

    #[test]
    fn a_process_is_measured_and_ends_with_its_guard() {
        let shell = Shell::new("sh", std::path::Path::new("/")).args(["-c", "sleep 60 & echo ready; wait"]);
        let running = Running::start("sh", &shell, Some(0)).unwrap();
        running.await_line("ready").unwrap();
        let family = running.family();
        assert_eq!(family.len(), 2);
        assert!(running.memory().unwrap() > 0);
        assert!(running.descriptors().unwrap() >= 6, "each has its three standard streams");
        drop(running);
        assert!(!family.into_iter().any(is_alive));
    }
}
