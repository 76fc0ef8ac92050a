//! What each proxy is told, as the text of its own file: one worker, ten backends, kept connections, no log, and otherwise
//! its defaults. Knows nothing of how the proxies are started.

use std::path::Path;

use super::contestant::Extra;

/// What every file must say.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Wanted<'a> {
    /// Where to listen.
    pub(crate) port: u16,
    /// Where evenkeel listens for its administrator.
    pub(crate) admin: u16,
    pub(crate) backends: &'a [u16],
}

/// `least_time` needs what the workers know in a zone that they share, even if there is one worker.
pub(crate) fn nginx(wanted: &Wanted<'_>, folder: &Path, method: &str) -> String {
    let (port, folder) = (wanted.port, folder.display());
    let servers = each(wanted, |_, port| format!("    server 127.0.0.1:{port};\n"));
    format!(
        "\
daemon off;
worker_processes 1;
pid {folder}/pid;
error_log stderr crit;
events {{ worker_connections 12288; }}
http {{
  access_log off;
  client_body_temp_path {folder}/client;
  proxy_temp_path {folder}/proxy;
  fastcgi_temp_path {folder}/fastcgi;
  uwsgi_temp_path {folder}/uwsgi;
  scgi_temp_path {folder}/scgi;
  keepalive_requests 1000000000;
  upstream web {{
    zone web 1m;
    {method};
{servers}    keepalive 256;
    keepalive_requests 1000000000;
  }}
  server {{
    listen 127.0.0.1:{port};
    location / {{
      proxy_pass http://web;
      proxy_http_version 1.1;
      proxy_set_header Connection \"\";
      proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;
    }}
  }}
}}
"
    )
}

pub(crate) fn haproxy(wanted: &Wanted<'_>, balance: &str) -> String {
    let port = wanted.port;
    let servers = each(wanted, |index, port| format!("  server s{index} 127.0.0.1:{port}\n"));
    format!(
        "\
global
  nbthread 1
  maxconn 12000
  no strict-limits
defaults
  mode http
  timeout connect 2s
  timeout client 60s
  timeout server 60s
  timeout http-request 10s
  timeout http-keep-alive 60s
  option forwardfor
  http-reuse always
frontend clients
  bind 127.0.0.1:{port}
  default_backend web
backend web
  balance {balance}
{servers}"
    )
}

/// Its `LEAST_REQUEST` looks at two of the backends by default.
pub(crate) fn envoy(wanted: &Wanted<'_>) -> String {
    let port = wanted.port;
    let endpoints = each(wanted, |_, port| {
        format!(
            "        - endpoint: {{ address: {{ socket_address: {{ address: 127.0.0.1, port_value: {port} }} }} }}\n"
        )
    });
    format!(
        "\
static_resources:
  listeners:
  - address: {{ socket_address: {{ address: 127.0.0.1, port_value: {port} }} }}
    filter_chains:
    - filters:
      - name: envoy.filters.network.http_connection_manager
        typed_config:
          \"@type\": type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager
          stat_prefix: clients
          use_remote_address: true
          route_config:
            virtual_hosts:
            - {{ name: all, domains: [\"*\"], routes: [{{ match: {{ prefix: / }}, route: {{ cluster: web }} }}] }}
          http_filters:
          - name: envoy.filters.http.router
            typed_config:
              \"@type\": type.googleapis.com/envoy.extensions.filters.http.router.v3.Router
  clusters:
  - name: web
    type: STATIC
    connect_timeout: 2s
    lb_policy: LEAST_REQUEST
    load_assignment:
      cluster_name: web
      endpoints:
      - lb_endpoints:
{endpoints}"
    )
}

/// All algorithms at their defaults. `prequal` has no path to probe, so it goes by what the balancer itself measures, as
/// all the others here do. Where they are checked, backends are asked once a second what requests ask them.
pub(crate) fn evenkeel(wanted: &Wanted<'_>, algorithm: &str, extra: Extra) -> String {
    let Wanted { port, admin, .. } = wanted;
    let extra = match extra {
        Extra::Nothing => "",
        Extra::HealthCheck => "    health_check: { http: { path: / }, interval: 1s, timeout: 1s }\n",
        Extra::Hedging => "    hedge: {}\n",
    };
    let backends = each(wanted, |_, port| format!("      - \"http://127.0.0.1:{port}\"\n"));
    format!(
        "\
workers: 1
listeners: [{{ address: \"127.0.0.1:{port}\", max_connections_per_client: 50000 }}]
upstreams:
  web:
    algorithm: {algorithm}
{extra}    backends:
{backends}admin: {{ address: \"127.0.0.1:{admin}\" }}
access_log: off
"
    )
}

fn each(wanted: &Wanted<'_>, line: impl Fn(usize, u16) -> String) -> String {
    wanted.backends.iter().enumerate().map(|(index, port)| line(index, *port)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_file_names_every_backend_and_its_way_to_choose() {
        let wanted = Wanted { port: 7001, admin: 7002, backends: &[8001, 8002, 8003] };
        let files = [
            (nginx(&wanted, Path::new("/f"), "least_time header"), "    least_time header;\n"),
            (haproxy(&wanted, "random(2)"), "  balance random(2)\n"),
            (envoy(&wanted), "    lb_policy: LEAST_REQUEST\n"),
            (evenkeel(&wanted, "peak_ewma", Extra::Nothing), "    algorithm: peak_ewma\n    backends:\n"),
            (
                evenkeel(&wanted, "peak_ewma", Extra::HealthCheck),
                "    algorithm: peak_ewma\n    health_check: ",
            ),
            (evenkeel(&wanted, "prequal", Extra::Hedging), "    algorithm: prequal\n    hedge: {}\n"),
        ];
        for (file, method) in files {
            assert!(file.contains(method), "{file}");
            assert_eq!(file.matches("7001").count(), 1, "{file}");
            assert!(["8001", "8002", "8003"].iter().all(|port| file.matches(port).count() == 1), "{file}");
        }
    }
}
