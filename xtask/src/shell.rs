//! Running programs: one description of a command, run to its end, quietly or in sight. Knows nothing of what it runs.

use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::failure::Failure;

/// A command to be run in a folder, with changes to the environment.
#[derive(Clone, Debug)]
pub struct Shell {
    program: OsString,
    arguments: Vec<OsString>,
    /// Without a value, a variable is taken away.
    environment: Vec<(OsString, Option<OsString>)>,
    folder: PathBuf,
}

/// The file that `name` is on this `PATH`.
pub fn find(name: &str, path: &OsStr) -> Option<PathBuf> {
    std::env::split_paths(path).map(|folder| folder.join(name)).find(|file| is_program(file))
}

fn is_program(file: &Path) -> bool {
    use std::os::unix::fs::PermissionsExt;
    file.metadata().is_ok_and(|m| m.is_file() && m.permissions().mode() & 0o111 != 0)
}

// === impl Shell ===

impl Shell {
    /// Runs `program` in `folder`.
    pub fn new(program: impl Into<OsString>, folder: &Path) -> Self {
        Self {
            program: program.into(),
            arguments: Vec::new(),
            environment: Vec::new(),
            folder: folder.into(),
        }
    }

    /// One more argument.
    pub fn arg(mut self, argument: impl Into<OsString>) -> Self {
        self.arguments.push(argument.into());
        self
    }

    /// More arguments.
    pub fn args<A: Into<OsString>>(mut self, arguments: impl IntoIterator<Item = A>) -> Self {
        self.arguments.extend(arguments.into_iter().map(Into::into));
        self
    }

    /// One more variable in the environment.
    pub fn env(mut self, name: &str, value: impl Into<OsString>) -> Self {
        self.environment.push((name.into(), Some(value.into())));
        self
    }

    /// One variable less in the environment.
    pub fn without(mut self, name: &str) -> Self {
        self.environment.push((name.into(), None));
        self
    }

    /// The same by another program, which gets it as its last arguments.
    pub fn through(self, program: &str, arguments: impl IntoIterator<Item = OsString>) -> Self {
        let last = std::iter::once(self.program).chain(self.arguments);
        Self { program: program.into(), arguments: arguments.into_iter().chain(last).collect(), ..self }
    }

    /// Runs it in sight.
    pub fn run(self) -> Result<(), Failure> {
        let status =
            self.command().status().map_err(|e| Failure::new(format!("cannot run `{self}`: {e}")))?;
        if status.success() { Ok(()) } else { Err(Failure::new(format!("`{self}` failed: {status}"))) }
    }

    /// Becomes it, so that its signals and its exit code are its own. Returns only if that fails.
    pub fn exec(self) -> Result<(), Failure> {
        let error = std::os::unix::process::CommandExt::exec(&mut self.command());
        Err(Failure::new(format!("cannot run `{self}`: {error}")))
    }

    /// Runs it out of sight, for what it prints (standard output, or what it said on standard error if that is empty).
    pub fn output(self) -> Result<String, Failure> {
        let output = self
            .command()
            .stdin(Stdio::null())
            .output()
            .map_err(|e| Failure::new(format!("cannot run `{self}`: {e}")))?;
        let told = String::from_utf8_lossy(&output.stderr).into_owned();
        if !output.status.success() {
            return Err(Failure::new(format!("`{self}` failed: {}\n{told}", output.status)));
        }
        let printed = String::from_utf8_lossy(&output.stdout).into_owned();
        Ok(if printed.trim().is_empty() { told } else { printed })
    }

    /// The same as the standard library's type, for those who need the process itself.
    pub fn command(&self) -> Command {
        let mut command = Command::new(&self.program);
        command.args(&self.arguments).current_dir(&self.folder);
        for (name, value) in &self.environment {
            match value {
                Some(value) => command.env(name, value),
                None => command.env_remove(name),
            };
        }
        command
    }
}

impl std::fmt::Display for Shell {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}", Path::new(&self.program).file_name().unwrap_or(&self.program).to_string_lossy())?;
        self.arguments.iter().try_for_each(|a| write!(f, " {}", a.to_string_lossy()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_word_on_a_variable_counts() {
        let shell =
            || Shell::new("sh", Path::new("/")).args(["-c", "echo \"${PATH-none} ${EVENKEEL-none}\""]);
        let path = std::env::var_os("PATH").unwrap().into_string().unwrap();
        assert_eq!(shell().env("EVENKEEL", "a").output().unwrap(), format!("{path} a\n"));
        assert_eq!(
            shell().env("EVENKEEL", "a").without("EVENKEEL").output().unwrap(),
            format!("{path} none\n")
        );
    }
}
