//! evenkeel as it is shipped: built to count which ways it takes under traffic, then built again with those ways the short
//! ones (profile-guided optimisation).
//!
//! The traffic is that of the scenarios, over both lanes. Without the tool that reads the counts it is built in one go.

use std::path::{Path, PathBuf};
use std::time::Duration;

use super::proxy::Proxy;
use super::scenario::Setting;
use super::{Bench, Plan, load};
use crate::failure::Failure;
use crate::workspace::Workspace;

/// A binary of evenkeel's.
#[derive(Debug)]
pub(crate) struct Shipped {
    pub(crate) program: PathBuf,
    /// Whether the build was guided by counts.
    pub(crate) guided: bool,
}

/// What the compiler says of itself.
#[derive(Debug, PartialEq, Eq)]
struct Compiler {
    /// The machine that it builds for unless told otherwise.
    host: String,
    /// The major version of its LLVM: counts are understood by that one alone.
    llvm: String,
}

/// How long each kind of traffic is counted.
const COUNTED: Duration = Duration::from_secs(3);

/// The task: builds the binary and says where it is.
pub fn dist() -> Result<(), Failure> {
    let workspace = Workspace::find()?;
    let mut plan = Plan::parse(&["--only".into(), Proxy::Evenkeel.name().into()])?;
    let bench = Bench::prepare(&workspace, &mut plan)?;
    println!("Built {}", bench.evenkeel.program.display());
    Ok(())
}

impl Bench<'_> {
    /// Builds it, guided if that can be.
    pub(super) fn build_shipped(&mut self) -> Result<(), Failure> {
        let compiler = Compiler::parse(&self.tools.command("rustc").arg("-vV").output()?)?;
        let merger = match self.tools.llvm_profdata(&compiler.host, &compiler.llvm) {
            Ok(merger) => merger,
            Err(failure) => {
                println!("Building without a profile of its ways: {failure}");
                return self
                    .tools
                    .cargo()
                    .args(["build", "--profile", "dist", "--package", "evenkeel-cli"])
                    .run();
            }
        };
        let folder = self.workspace.target.join("guided");
        let (counts, merged) = (folder.join("counts"), folder.join("evenkeel.profdata"));
        // What an older program has counted is of no use.
        let _ = std::fs::remove_dir_all(&counts);
        println!("Building evenkeel with counters …");
        let flag = format!("-Cprofile-generate={}", counts.display());
        self.evenkeel.program = self.build_with(&compiler.host, &folder.join("counting"), &flag)?;
        self.count()?;
        self.tools.command(merger).arg("merge").arg("-o").arg(&merged).arg(&counts).run()?;
        println!("Building evenkeel, guided by what was counted …");
        let flag = format!("-Cprofile-use={}", merged.display());
        self.evenkeel.program = self.build_with(&compiler.host, &folder, &flag)?;
        self.evenkeel.guided = true;
        Ok(())
    }

    /// With the target named, cargo spares what runs while building the flags.
    fn build_with(&self, host: &str, target: &Path, flag: &str) -> Result<PathBuf, Failure> {
        let build = self.tools.cargo().env("RUSTFLAGS", flag).env("CARGO_TARGET_DIR", target);
        build.args(["build", "--profile", "dist", "--package", "evenkeel-cli", "--target", host]).run()?;
        Ok(target.join(host).join("dist/evenkeel"))
    }

    /// Lets it carry every kind of traffic over both lanes. It writes its counts as it ends.
    fn count(&self) -> Result<(), Failure> {
        let backends = self.start_backends()?;
        for proxy in [Proxy::EvenkeelPingora, Proxy::Evenkeel] {
            for setting in Setting::ALL {
                let started = self.start(proxy, setting)?;
                for scenario in setting.scenarios() {
                    load::run(&self.tools, &self.folder, scenario, started.port, COUNTED)?;
                }
                started.running.end()?;
            }
        }
        drop(backends);
        Ok(())
    }
}

// === impl Compiler ===

impl Compiler {
    fn parse(told: &str) -> Result<Self, Failure> {
        let after = |label: &str| {
            let line = told.lines().find_map(|line| line.strip_prefix(label));
            line.map(str::trim).ok_or_else(|| Failure::new(format!("rustc says no {label}")))
        };
        let llvm = after("LLVM version:")?;
        let llvm = llvm.split_once('.').map_or(llvm, |(major, _)| major);
        Ok(Self { host: after("host:")?.to_owned(), llvm: llvm.to_owned() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_compiler_is_known_by_its_host_and_its_llvm() {
        let told = "rustc 1.95.0\nbinary: rustc\nhost: x86_64-unknown-linux-gnu\nrelease: 1.95.0\nLLVM version: 22.1.2\n";
        let known = Compiler { host: "x86_64-unknown-linux-gnu".into(), llvm: "22".into() };
        assert_eq!(Compiler::parse(told).unwrap(), known);
        assert!(Compiler::parse("rustc 1.95.0\n").is_err());
    }
}
