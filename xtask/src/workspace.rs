//! Where files are: the checkout, the target folder, what was built. Knows nothing of tasks.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::failure::Failure;

/// The checkout, and where cargo puts what it builds.
#[derive(Debug)]
pub struct Workspace {
    /// The checkout's root.
    pub root: PathBuf,
    /// Cargo's target folder, as cargo itself reports it.
    pub target: PathBuf,
}

/// Writes a file.
pub fn write(file: &Path, text: &str) -> Result<(), Failure> {
    std::fs::write(file, text).map_err(|e| Failure::new(format!("cannot write {}: {e}", file.display())))
}

// === impl Workspace ===

impl Workspace {
    /// Asks cargo.
    pub fn find() -> Result<Self, Failure> {
        let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
        let here =
            std::env::var_os("CARGO_MANIFEST_DIR").unwrap_or_else(|| env!("CARGO_MANIFEST_DIR").into());
        let output = Command::new(cargo)
            .args(["metadata", "--format-version", "1", "--no-deps"])
            .current_dir(Path::new(&here))
            .output()
            .map_err(|e| Failure::new(format!("cannot run `cargo metadata`: {e}")))?;
        if !output.status.success() {
            let told = String::from_utf8_lossy(&output.stderr).into_owned();
            return Err(Failure::new(format!("`cargo metadata` failed:\n{told}")));
        }
        let metadata: serde_json::Value = serde_json::from_slice(&output.stdout)
            .map_err(|e| Failure::new(format!("`cargo metadata` gave no JSON: {e}")))?;
        let path = |key: &str| {
            let path = metadata.get(key).and_then(serde_json::Value::as_str).map(PathBuf::from);
            path.ok_or_else(|| Failure::new(format!("`cargo metadata` gave no {key}")))
        };
        Ok(Self { root: path("workspace_root")?, target: path("target_directory")? })
    }

    /// Where the binary `name` of a profile lies once it is built.
    pub fn binary(&self, profile: &str, name: &str) -> PathBuf {
        self.target.join(profile).join(name)
    }
}
