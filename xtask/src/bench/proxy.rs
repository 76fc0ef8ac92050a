//! The proxies under test, all told to do the same: one worker, round robin over two backends with kept connections,
//! `X-Forwarded-For` added, no access log.

use std::path::{Path, PathBuf};

use super::Bench;
use crate::failure::Failure;
use crate::shell::Shell;

/// A proxy under test.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Proxy {
    /// The least proxy that Pingora makes.
    Bare,
    /// nginx as packaged.
    Nginx,
    /// HAProxy as packaged.
    Haproxy,
    /// Ours.
    Evenkeel,
}

// === impl Proxy ===

impl Proxy {
    /// All, in the order of the report.
    pub(crate) const ALL: [Self; 4] = [Self::Bare, Self::Nginx, Self::Haproxy, Self::Evenkeel];

    /// What `--only` calls it.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Bare => "bare",
            Self::Nginx => "nginx",
            Self::Haproxy => "haproxy",
            Self::Evenkeel => "evenkeel",
        }
    }

    /// What the report calls it.
    pub(crate) fn title(self) -> &'static str {
        match self {
            Self::Bare => "bare Pingora",
            Self::Nginx => "nginx",
            Self::Haproxy => "HAProxy",
            Self::Evenkeel => "evenkeel",
        }
    }

    /// The program and the package that carries it, of those that are not built here.
    pub(crate) fn package(self) -> Option<(&'static str, &'static str)> {
        match self {
            Self::Nginx => Some(("nginx", "nginx")),
            Self::Haproxy => Some(("haproxy", "haproxy")),
            Self::Bare | Self::Evenkeel => None,
        }
    }

    /// Its version, as it says itself.
    pub(crate) fn version(self, bench: &Bench<'_>) -> Result<String, Failure> {
        let told = match self {
            Self::Bare => {
                return Ok("pingora-proxy ".to_owned() + &locked(&bench.workspace.root, "pingora-proxy")?);
            }
            Self::Nginx => bench.tools.command("nginx").arg("-v").output()?,
            Self::Haproxy => bench.tools.command("haproxy").arg("-v").output()?,
            Self::Evenkeel => bench.tools.command(self.binary(bench)).arg("--version").output()?,
        };
        let first = told.lines().next().unwrap_or_default();
        let first = first.trim_start_matches("nginx version: ");
        Ok(first.split(" - http").next().unwrap_or(first).to_owned())
    }

    /// The command that starts it.
    pub(crate) fn shell(self, bench: &Bench<'_>, port: u16, admin: u16) -> Result<Shell, Failure> {
        let [one, two] = bench.backends;
        match self {
            Self::Bare => {
                let addresses = [port, one, two].map(|p| format!("127.0.0.1:{p}"));
                Ok(bench.tools.command(self.binary(bench)).args(addresses))
            }
            Self::Nginx => {
                let folder = bench.folder.join("nginx");
                std::fs::create_dir_all(&folder)
                    .map_err(|e| Failure::new(format!("cannot make a folder: {e}")))?;
                let file = self.write(bench, "conf", &nginx(&folder, port, bench.backends))?;
                // A master that is killed leaves its workers behind; one that is told to end does not.
                let nginx = bench.tools.command("setpriv").args(["--pdeathsig", "TERM", "nginx"]);
                Ok(nginx.arg("-p").arg(&folder).arg("-c").arg(file))
            }
            Self::Haproxy => {
                let file = self.write(bench, "cfg", &haproxy(port, bench.backends))?;
                Ok(bench.tools.command("haproxy").arg("-db").arg("-f").arg(file))
            }
            Self::Evenkeel => {
                let file = self.write(bench, "yaml", &evenkeel(port, admin, bench.backends))?;
                Ok(bench.tools.command(self.binary(bench)).args(["run", "-c"]).arg(file))
            }
        }
    }

    fn binary(self, bench: &Bench<'_>) -> PathBuf {
        let name = if self == Self::Bare { "bare-pingora" } else { "evenkeel" };
        bench.workspace.binary(bench.profile, name)
    }

    fn write(self, bench: &Bench<'_>, ending: &str, text: &str) -> Result<PathBuf, Failure> {
        let file = bench.folder.join(format!("{}.{ending}", self.name()));
        std::fs::write(&file, text)
            .map_err(|e| Failure::new(format!("cannot write {}: {e}", file.display())))?;
        Ok(file)
    }
}

fn nginx(folder: &Path, port: u16, [one, two]: [u16; 2]) -> String {
    let folder = folder.display();
    format!(
        "\
daemon off;
worker_processes 1;
pid {folder}/pid;
error_log stderr crit;
events {{ worker_connections 8192; }}
http {{
  access_log off;
  client_body_temp_path {folder}/client;
  proxy_temp_path {folder}/proxy;
  fastcgi_temp_path {folder}/fastcgi;
  uwsgi_temp_path {folder}/uwsgi;
  scgi_temp_path {folder}/scgi;
  proxy_max_temp_file_size 0;
  keepalive_requests 1000000000;
  upstream web {{
    server 127.0.0.1:{one};
    server 127.0.0.1:{two};
    keepalive 128;
    keepalive_requests 1000000000;
  }}
  server {{
    listen 127.0.0.1:{port};
    location / {{
      proxy_pass http://web;
      proxy_http_version 1.1;
      proxy_set_header Connection \"\";
      proxy_set_header Host $host;
      proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;
    }}
  }}
}}
"
    )
}

fn haproxy(port: u16, [one, two]: [u16; 2]) -> String {
    format!(
        "\
global
  nbthread 1
  maxconn 4096
defaults
  mode http
  timeout connect 2s
  timeout client 60s
  timeout server 60s
  option forwardfor
  http-reuse always
frontend clients
  bind 127.0.0.1:{port}
  default_backend web
backend web
  balance roundrobin
  server one 127.0.0.1:{one}
  server two 127.0.0.1:{two}
"
    )
}

/// With metrics on: that is how it is run.
fn evenkeel(port: u16, admin: u16, [one, two]: [u16; 2]) -> String {
    format!(
        "\
workers: 1
listeners: [{{ address: \"127.0.0.1:{port}\", max_connections_per_client: 50000 }}]
upstreams:
  web: {{ algorithm: round_robin, backends: [\"http://127.0.0.1:{one}\", \"http://127.0.0.1:{two}\"] }}
admin: {{ address: \"127.0.0.1:{admin}\" }}
access_log: off
"
    )
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
