//! The proxies under test: their names, where they come from, how they are started. Their configurations are in [`files`].

use std::path::{Path, PathBuf};

use super::Bench;
use super::files::{self, Wanted};
use super::scenario::{Scenario, Setting};
use crate::failure::Failure;
use crate::shell::Shell;
use crate::workspace;

/// A proxy under test.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Proxy {
    /// The smallest proxy that Pingora makes.
    Bare,
    /// nginx as packaged.
    Nginx,
    /// HAProxy as packaged.
    Haproxy,
    /// HAProxy 2.8, from pip.
    Haproxy28,
    /// HAProxy as packaged, with responses spliced within the kernel.
    HaproxySplice,
    /// Ours, with its Pingora lane alone.
    EvenkeelPingora,
    /// Ours.
    Evenkeel,
}

/// The packaged HAProxy: its program, its package, its name here.
const HAPROXY: &str = "haproxy";

// === impl Proxy ===

impl Proxy {
    /// All, in the order of the report.
    pub(crate) const ALL: [Self; 7] = [
        Self::Bare,
        Self::Nginx,
        Self::Haproxy,
        Self::Haproxy28,
        Self::HaproxySplice,
        Self::EvenkeelPingora,
        Self::Evenkeel,
    ];

    /// Ours is compared to the faster of these.
    pub(crate) const BASES: [Self; 2] = [Self::Haproxy, Self::Haproxy28];

    /// What `--only` calls it.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Bare => "bare",
            Self::Nginx => "nginx",
            Self::Haproxy => HAPROXY,
            Self::Haproxy28 => "haproxy28",
            Self::HaproxySplice => "haproxy-splice",
            Self::EvenkeelPingora => "evenkeel-pingora",
            Self::Evenkeel => "evenkeel",
        }
    }

    /// What the report calls it.
    pub(crate) fn title(self) -> &'static str {
        match self {
            Self::Bare => "bare Pingora",
            Self::Nginx => "nginx",
            Self::Haproxy => "HAProxy",
            Self::Haproxy28 => "HAProxy 2.8",
            Self::HaproxySplice => "HAProxy, splicing",
            Self::EvenkeelPingora => "evenkeel, Pingora lane",
            Self::Evenkeel => "evenkeel",
        }
    }

    /// Whether it can do this at all, and differs there from the others.
    pub(crate) fn takes(self, scenario: Scenario) -> bool {
        match self {
            Self::Bare => scenario.setting() == Setting::Plain,
            Self::HaproxySplice => matches!(scenario, Scenario::Medium | Scenario::Large),
            _ => true,
        }
    }

    /// Whether its memory is worth a look of its own.
    pub(crate) fn has_memory(self) -> bool {
        self != Self::HaproxySplice
    }

    /// Whether it has an admin address.
    pub(crate) fn is_evenkeel(self) -> bool {
        matches!(self, Self::Evenkeel | Self::EvenkeelPingora)
    }

    /// Installs it, if it is not built here.
    pub(crate) fn install(self, bench: &Bench<'_>) -> Result<(), Failure> {
        match self {
            Self::Nginx => bench.tools.packaged("nginx", "nginx").map(drop),
            Self::Haproxy | Self::HaproxySplice => bench.tools.packaged(HAPROXY, HAPROXY).map(drop),
            Self::Haproxy28 => bench.tools.haproxy28().map(drop),
            Self::Bare | Self::Evenkeel | Self::EvenkeelPingora => Ok(()),
        }
    }

    /// Its version, as it says itself.
    pub(crate) fn version(self, bench: &Bench<'_>) -> Result<String, Failure> {
        if self == Self::Bare {
            return Ok("pingora-proxy ".to_owned() + &locked(&bench.workspace.root, "pingora-proxy")?);
        }
        let how = if self.is_evenkeel() { "--version" } else { "-v" };
        let told = bench.tools.command(self.program(bench)?).arg(how).output()?;
        let first = told.lines().next().unwrap_or_default();
        let first = first.trim_start_matches("nginx version: ");
        Ok(first.split(" - http").next().unwrap_or(first).to_owned())
    }

    /// The command that starts it on these ports.
    pub(crate) fn shell(
        self,
        bench: &Bench<'_>,
        setting: Setting,
        [port, admin]: [u16; 2],
    ) -> Result<Shell, Failure> {
        let log = (setting == Setting::Logged).then(|| bench.log(self));
        let wanted = Wanted { port, admin, backends: bench.backends, log: log.as_deref() };
        let command = bench.tools.command(self.program(bench)?);
        match self {
            Self::Bare => {
                let [one, two] = bench.backends;
                Ok(command.args([port, one, two].map(|p| format!("127.0.0.1:{p}"))))
            }
            Self::Nginx => {
                let folder = bench.folder.join("nginx");
                std::fs::create_dir_all(&folder)
                    .map_err(|e| Failure::new(format!("cannot make a folder: {e}")))?;
                let file = self.write(bench, setting, &files::nginx(&wanted, &folder))?;
                // A master that is killed leaves its workers behind; after SIGTERM it ends them.
                let nginx = bench.tools.command("setpriv").args(["--pdeathsig", "TERM", "nginx"]);
                Ok(nginx.arg("-p").arg(&folder).arg("-c").arg(file))
            }
            Self::Haproxy | Self::Haproxy28 | Self::HaproxySplice => {
                let file =
                    self.write(bench, setting, &files::haproxy(&wanted, self == Self::HaproxySplice))?;
                // Where it may not open as many files as it would like, it says so at every start. Quiet, it closes its
                // output, so not with a log.
                let haproxy = match &log {
                    Some(log) => {
                        let into_log = "log=$1; shift; exec \"$@\" >>\"$log\" 2>/dev/null";
                        let sh = bench.tools.command("sh").args(["-c", into_log, "sh"]).arg(log);
                        sh.arg(self.program(bench)?)
                    }
                    None => command.arg("-q"),
                };
                Ok(haproxy.args(["-db", "-f"]).arg(file))
            }
            Self::Evenkeel | Self::EvenkeelPingora => {
                let lanes = (self == Self::EvenkeelPingora).then_some("pingora");
                let file = self.write(bench, setting, &files::evenkeel(&wanted, lanes))?;
                Ok(command.args(["run", "-c"]).arg(file))
            }
        }
    }

    fn program(self, bench: &Bench<'_>) -> Result<PathBuf, Failure> {
        match self {
            Self::Bare => Ok(bench.binary("bare-pingora")),
            Self::Nginx => Ok("nginx".into()),
            Self::Haproxy | Self::HaproxySplice => Ok(HAPROXY.into()),
            Self::Haproxy28 => bench.tools.haproxy28(),
            Self::Evenkeel | Self::EvenkeelPingora => Ok(bench.evenkeel.program.clone()),
        }
    }

    fn write(self, bench: &Bench<'_>, setting: Setting, text: &str) -> Result<PathBuf, Failure> {
        let logged = if setting == Setting::Logged { "-logged" } else { "" };
        let ending = match self {
            Self::Evenkeel | Self::EvenkeelPingora => "yaml",
            _ => "conf",
        };
        let file = bench.folder.join(format!("{}{logged}.{ending}", self.name()));
        workspace::write(&file, text)?;
        Ok(file)
    }
}

/// The version of a dependency in `Cargo.lock`.
fn locked(root: &Path, package: &str) -> Result<String, Failure> {
    let lock = std::fs::read_to_string(root.join("Cargo.lock"))
        .map_err(|e| Failure::new(format!("cannot read Cargo.lock: {e}")))?;
    version_in(&lock, package).ok_or_else(|| Failure::new(format!("Cargo.lock has no {package}")))
}

fn version_in(lock: &str, package: &str) -> Option<String> {
    let (_, after) = lock.split_once(&format!("name = \"{package}\"\nversion = \""))?;
    after.split('"').next().map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_locked_version_is_found() {
        let lock = "[[package]]\nname = \"a-b\"\nversion = \"2.0.0\"\n\n[[package]]\nname = \"a\"\nversion = \"1.2.3\"\n";
        assert_eq!(version_in(lock, "a"), Some("1.2.3".into()));
        assert_eq!(version_in(lock, "c"), None);
    }
}
