//! The admin address: shows what is running, to people and to Prometheus.
//!
//! This room never knows how requests are carried: it asks `control`.

use std::convert::Infallible;
use std::fmt::Debug;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use bytes::Bytes;
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::header::{
    ALLOW, CACHE_CONTROL, CONNECTION, CONTENT_TYPE, HeaderValue, WWW_AUTHENTICATE, X_CONTENT_TYPE_OPTIONS,
};
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

mod api;
mod connections;
mod guard;
mod page;

use crate::control::{ChangeError, ChangeRequest, Changed, Described, State};
use crate::dial::Pause;
use crate::observe::Exposition;
use api::{Api, Problem};
use connections::Connections;
use guard::Access;

/// The running admin address. Dropping it closes it.
#[derive(Debug)]
pub struct Admin {
    /// As configured: port 0 stays 0.
    configured: SocketAddr,
    address: SocketAddr,
    service: Arc<AdminService>,
    task: JoinHandle<()>,
}

/// The commands that the admin address takes.
pub trait AdminCommands: Debug + Send + Sync {
    /// To read the configuration again and put it in force; with `dry_run`, to say what that would change. Gives what changes,
    /// a line each, or why it was rejected.
    fn reload(&self, dry_run: bool) -> Pin<Box<dyn Future<Output = Result<String, String>> + Send + '_>>;

    /// To change the backends of the upstream of this name.
    fn change<'a>(
        &'a self,
        upstream: &'a str,
        order: ChangeRequest,
    ) -> Pin<Box<dyn Future<Output = Result<Changed, ChangeError>> + Send + 'a>>;
}

/// Why the admin address could not be had.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum AdminError {
    /// Another process listens on this address.
    #[error("admin address {0} in use")]
    InUse(SocketAddr),
    /// Something else.
    #[error("admin address {address}: {source}")]
    Io {
        /// The address.
        address: SocketAddr,
        /// What the system said.
        source: io::Error,
    },
}

#[derive(Debug)]
struct AdminService {
    state: Arc<State>,
    commands: Arc<dyn AdminCommands>,
    settings: ArcSwap<evenkeel_config::Admin>,
}

/// How long to wait after a connection could not be accepted: most often the process has no file descriptor left.
const PAUSE: Duration = Duration::from_millis(50);
static WARNING: Pause = Pause::new();
const TEXT: &str = "text/plain; charset=utf-8";

impl Admin {
    /// Binds the address and serves it, on the caller's runtime.
    ///
    /// # Errors
    /// When the address is in use or cannot be had.
    pub async fn start(
        config: &evenkeel_config::Admin,
        state: Arc<State>,
        commands: Arc<dyn AdminCommands>,
    ) -> Result<Self, AdminError> {
        let address = config.address;
        let explain = |source: io::Error| match source.kind() {
            io::ErrorKind::AddrInUse => AdminError::InUse(address),
            _ => AdminError::Io { address, source },
        };
        let listener = TcpListener::bind(address).await.map_err(explain)?;
        let address = listener.local_addr().map_err(explain)?;
        let service =
            Arc::new(AdminService { state, commands, settings: ArcSwap::from_pointee(config.clone()) });
        let task = tokio::spawn(accept(listener, service.clone()));
        Ok(Self { configured: config.address, address, service, task })
    }

    /// Takes over other settings. The address stays.
    pub fn configure(&self, config: &evenkeel_config::Admin) {
        self.service.settings.store(Arc::new(config.clone()));
    }

    /// The address as configured: port 0 stays 0.
    pub fn configured(&self) -> SocketAddr {
        self.configured
    }

    /// The address, with its real port.
    pub fn address(&self) -> SocketAddr {
        self.address
    }
}

impl Drop for Admin {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn accept(listener: TcpListener, service: Arc<AdminService>) {
    let connections = Arc::new(Connections::default());
    loop {
        let (socket, peer) = match listener.accept().await {
            Ok((socket, peer)) => (socket, peer),
            Err(error) => {
                if WARNING.is_due() {
                    log::warn!("cannot accept connections on the admin address: {error}");
                }
                tokio::time::sleep(PAUSE).await;
                continue;
            }
        };
        let (service, slot) = (service.clone(), connections.slot());
        let open = slot.open();
        tokio::spawn(slot.serve(
            socket,
            service_fn(move |request| {
                let (service, open) = (service.clone(), open.clone());
                async move {
                    let _handling = open.handling();
                    Ok::<_, Infallible>(service.answer(request, peer).await)
                }
            }),
        ));
    }
}

impl AdminService {
    async fn answer(&self, request: Request<Incoming>, peer: SocketAddr) -> Response<Full<Bytes>> {
        let settings = self.settings.load_full();
        if let Some((status, why)) = guard::rejection(&request, &settings) {
            let mut rejected = text(status, why);
            rejected.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
            return rejected;
        }
        let path = request.uri().path();
        let reads = matches!(*request.method(), Method::GET | Method::HEAD);
        if reads && let Some(file) = page::file(path, request.headers()) {
            return file;
        }
        let access = guard::access(request.headers(), &settings).await;
        // Probes of an orchestrator carry no token, and learn nothing but yes or no.
        if access == Access::None && !matches!(path, "/livez" | "/readyz") {
            let mut rejected = reject(path, StatusCode::UNAUTHORIZED, "a bearer token is needed");
            rejected.headers_mut().insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
            return rejected;
        }
        if !reads && guard::is_cross_site(request.headers()) {
            return reject(path, StatusCode::FORBIDDEN, "a page of another site cannot send commands");
        }
        if !reads && access < Access::Full {
            return reject(path, StatusCode::FORBIDDEN, "this token is for reading only");
        }
        if path.starts_with(api::PREFIX) {
            return self.api(request, &settings, peer).await;
        }
        if path == "/reload" {
            return self.reload(&request).await;
        }
        if !reads {
            let mut rejected = text(StatusCode::METHOD_NOT_ALLOWED, "only GET and HEAD\n");
            rejected.headers_mut().insert(ALLOW, HeaderValue::from_static("GET, HEAD"));
            return rejected;
        }
        match path {
            "/livez" => text(StatusCode::OK, "alive\n"),
            "/readyz" if self.state.is_ready() => text(StatusCode::OK, "ready\n"),
            "/readyz" => reply(StatusCode::SERVICE_UNAVAILABLE, TEXT, self.not_ready(access)),
            "/metrics" => reply(StatusCode::OK, Exposition::CONTENT_TYPE, self.state.metrics_page()),
            "/status" => reply(StatusCode::OK, "application/json", format!("{:#}\n", self.state.status())),
            "/explain" => self.explain(request.uri().query().unwrap_or_default()),
            "/openapi.json" => reply(StatusCode::OK, "application/json", api::OPENAPI),
            "/" => text(
                StatusCode::OK,
                "/metrics\n/status\n/explain\n/reload (POST)\n/v1/upstreams\n/openapi.json\n/livez\n/readyz\n",
            ),
            _ => text(StatusCode::NOT_FOUND, "not here\n"),
        }
    }

    /// Serves a request of the API, in a task of its own: a change ends also if its client disconnects.
    async fn api(
        &self,
        request: Request<Incoming>,
        settings: &evenkeel_config::Admin,
        peer: SocketAddr,
    ) -> Response<Full<Bytes>> {
        let with_token = if settings.token.is_some() { " with the token" } else { "" };
        let (state, commands) = (self.state.clone(), self.commands.clone());
        let api = Api { state, commands, by: format!("{peer}{with_token}") };
        let response = tokio::spawn(async move { api.respond(request).await });
        let failed = |panic: tokio::task::JoinError| {
            Problem::new(StatusCode::INTERNAL_SERVER_ERROR, panic.to_string()).response()
        };
        response.await.unwrap_or_else(failed)
    }

    /// Why it is not ready, for a client that can read everything else too.
    fn not_ready(&self, access: Access) -> String {
        let waits = if access > Access::None { self.state.waits_for() } else { Vec::new() };
        match waits.is_empty() {
            true => "not ready\n".to_owned(),
            false => waits.iter().map(|source| format!("waiting for {source}\n")).collect(),
        }
    }

    async fn reload(&self, request: &Request<Incoming>) -> Response<Full<Bytes>> {
        if request.method() != Method::POST {
            let mut rejected = text(StatusCode::METHOD_NOT_ALLOWED, "only POST\n");
            rejected.headers_mut().insert(ALLOW, HeaderValue::from_static("POST"));
            return rejected;
        }
        let dry_run = match request.uri().query() {
            None | Some("") => false,
            Some("dry_run=true") => true,
            Some(_) => return text(StatusCode::BAD_REQUEST, "expected no query, or dry_run=true\n"),
        };
        let commands = self.commands.clone();
        // A task of its own: a reload ends also if its client disconnects.
        let reload = tokio::spawn(async move { commands.reload(dry_run).await });
        match reload.await.unwrap_or_else(|panic| Err(panic.to_string())) {
            Ok(changes) => reply(StatusCode::OK, TEXT, changes),
            Err(error) => reply(StatusCode::UNPROCESSABLE_ENTITY, TEXT, error + "\n"),
        }
    }

    fn explain(&self, query: &str) -> Response<Full<Bytes>> {
        let request = match Described::from_query(query) {
            Ok(request) => request,
            Err(error) => return reply(StatusCode::BAD_REQUEST, TEXT, format!("{error}\n")),
        };
        match serde_json::to_string_pretty(&self.state.explain(&request)) {
            Ok(said) => reply(StatusCode::OK, "application/json", said + "\n"),
            Err(error) => reply(StatusCode::INTERNAL_SERVER_ERROR, TEXT, format!("{error}\n")),
        }
    }
}

/// A rejection, in the form that the clients of a path expect.
fn reject(path: &str, status: StatusCode, why: &str) -> Response<Full<Bytes>> {
    match path.starts_with(api::PREFIX) {
        true => Problem::new(status, why).response(),
        false => reply(status, TEXT, format!("{why}\n")),
    }
}

fn text(status: StatusCode, body: &'static str) -> Response<Full<Bytes>> {
    reply(status, TEXT, body)
}

fn reply(status: StatusCode, kind: &'static str, body: impl Into<Bytes>) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(body.into()));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(kind));
    response.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response.headers_mut().insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    response
}
