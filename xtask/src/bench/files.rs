//! The configuration of each proxy: all do the same, each in the cheapest way that its manual recommends. Knows nothing of how the proxies are started.

use std::path::Path;

/// What every configuration needs.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Wanted<'a> {
    /// Where to listen.
    pub(crate) port: u16,
    /// The port of evenkeel's admin address.
    pub(crate) admin: u16,
    pub(crate) backends: [u16; 2],
    /// Where the access log goes, if it is on.
    pub(crate) log: Option<&'a Path>,
}

/// nginx keeps bodies of 64 KiB in memory: with its default buffers, they cost it twice as much.
pub(crate) fn nginx(wanted: &Wanted<'_>, folder: &Path) -> String {
    let Wanted { port, backends: [one, two], log, .. } = wanted;
    let folder = folder.display();
    let log = log
        .map_or_else(|| "off".to_owned(), |file| format!("{} combined buffer=64k flush=1s", file.display()));
    format!(
        "\
daemon off;
worker_processes 1;
pid {folder}/pid;
error_log stderr crit;
events {{ worker_connections 12288; }}
http {{
  access_log {log};
  client_body_temp_path {folder}/client;
  proxy_temp_path {folder}/proxy;
  fastcgi_temp_path {folder}/fastcgi;
  uwsgi_temp_path {folder}/uwsgi;
  scgi_temp_path {folder}/scgi;
  proxy_max_temp_file_size 0;
  proxy_buffer_size 16k;
  proxy_buffers 8 64k;
  proxy_busy_buffers_size 128k;
  client_body_buffer_size 64k;
  keepalive_requests 1000000000;
  upstream web {{
    least_conn;
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

/// Its log goes to standard output, which is cheaper for it than to a syslog over UDP. `http-reuse always` is cheaper for
/// it than the default, most of all with a connection for every request. Where it may not open the files that so many
/// connections could need at most, it runs with fewer, as the others do.
pub(crate) fn haproxy(wanted: &Wanted<'_>, splice: bool) -> String {
    let Wanted { port, backends: [one, two], log, .. } = wanted;
    let (target, records) = match log {
        Some(_) => ("  log stdout format raw local0 info\n", "  log global\n  option httplog\n"),
        None => ("", ""),
    };
    let splice = if splice { "  option splice-response\n" } else { "" };
    format!(
        "\
global
  nbthread 1
  maxconn 12000
  no strict-limits
{target}defaults
  mode http
  timeout connect 2s
  timeout client 60s
  timeout server 60s
  timeout http-request 10s
  timeout http-keep-alive 60s
  option forwardfor
  http-reuse always
{records}{splice}frontend clients
  bind 127.0.0.1:{port}
  default_backend web
backend web
  balance leastconn
  server one 127.0.0.1:{one}
  server two 127.0.0.1:{two}
"
    )
}

/// With metrics on: that is how it is run. `lanes` is left at its default unless given.
pub(crate) fn evenkeel(wanted: &Wanted<'_>, lanes: Option<&str>) -> String {
    let Wanted { port, admin, backends: [one, two], log } = wanted;
    let log = log
        .map_or_else(|| "off".to_owned(), |file| format!("{{ to: \"{}\", format: json }}", file.display()));
    let lanes = lanes.map_or_else(String::new, |lanes| format!("lanes: {lanes}\n"));
    format!(
        "\
workers: 1
listeners: [{{ address: \"127.0.0.1:{port}\", max_connections_per_client: 50000 }}]
upstreams:
  web: {{ algorithm: least_connections, backends: [\"http://127.0.0.1:{one}\", \"http://127.0.0.1:{two}\"] }}
admin: {{ address: \"127.0.0.1:{admin}\" }}
access_log: {log}
{lanes}"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    const WANTED: Wanted<'_> = Wanted { port: 1, admin: 2, backends: [3, 4], log: None };

    #[test]
    fn a_log_is_on_only_where_it_is_wanted() {
        let logged = Wanted { log: Some(Path::new("/l")), ..WANTED };
        assert!(nginx(&WANTED, Path::new("/f")).contains("access_log off;"));
        assert!(nginx(&logged, Path::new("/f")).contains("access_log /l combined buffer"));
        assert!(!haproxy(&WANTED, false).contains("log"));
        assert!(haproxy(&logged, false).contains("option httplog"));
        assert!(evenkeel(&WANTED, None).ends_with("access_log: off\n"));
        assert!(
            evenkeel(&logged, Some("pingora"))
                .ends_with("access_log: { to: \"/l\", format: json }\nlanes: pingora\n")
        );
    }
}
