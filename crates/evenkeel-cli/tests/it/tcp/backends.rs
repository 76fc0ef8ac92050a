//! Backends and clients that speak nothing in particular.

use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::AbortHandle;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};

use crate::support::{Authority, Balancer, Pair, in_time};

/// A backend that does with each connection what a function says.
pub(super) struct Peer {
    pub(super) address: SocketAddr,
    /// How many connections it has accepted.
    pub(super) accepted: Arc<AtomicUsize>,
    task: AbortHandle,
}

/// A connection of a client, in the clear or over TLS.
pub(super) trait Io: AsyncRead + AsyncWrite + Unpin + Send {}

impl<T: AsyncRead + AsyncWrite + Unpin + Send> Io for T {}

/// A connection of a client.
pub(super) type Stream = Box<dyn Io>;

/// How a listener is spoken to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Way {
    Plain,
    Tls,
}

/// Both of them.
pub(super) const WAYS: [Way; 2] = [Way::Plain, Way::Tls];

/// A balancer in front of TCP backends, and what connects to it.
pub(super) struct Front {
    pub(super) balancer: Balancer,
    way: Way,
    authority: Authority,
    _folder: tempfile::TempDir,
}

type Serving = Pin<Box<dyn Future<Output = ()> + Send>>;

// === impl Peer ===

impl Peer {
    pub(super) async fn start(serve: impl Fn(TcpStream) -> Serving + Send + Sync + 'static) -> Self {
        Self::over(TcpListener::bind("127.0.0.1:0").await.expect("a free port"), serve)
    }

    /// One that accepts the connections of this socket.
    pub(super) fn over(
        listener: TcpListener,
        serve: impl Fn(TcpStream) -> Serving + Send + Sync + 'static,
    ) -> Self {
        let address = listener.local_addr().expect("its address");
        let accepted = Arc::new(AtomicUsize::new(0));
        let count = accepted.clone();
        let task = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                count.fetch_add(1, SeqCst);
                tokio::spawn(serve(stream));
            }
        });
        Self { address, accepted, task: task.abort_handle() }
    }

    /// Sends back what it gets, until its client has said all.
    pub(super) async fn echo() -> Self {
        Self::start(|stream| Box::pin(echo(stream))).await
    }

    /// Says its name first, then sends back what it gets.
    pub(super) async fn named(name: &'static str) -> Self {
        Self::start(move |stream| Box::pin(greet(name, stream))).await
    }

    /// Speaks TLS with this certificate, says its name, then sends back what it gets.
    pub(super) async fn secure(name: &'static str, pair: &Pair) -> Self {
        let certificates = CertificateDer::pem_file_iter(&pair.cert).expect("a file");
        let certificates = certificates.map(|one| one.expect("a certificate")).collect();
        let key = PrivateKeyDer::from_pem_file(&pair.key).expect("a key");
        let provider = tokio_rustls::rustls::crypto::aws_lc_rs::default_provider();
        let config = ServerConfig::builder_with_provider(Arc::new(provider))
            .with_safe_default_protocol_versions()
            .expect("versions")
            .with_no_client_auth();
        let mut config = config.with_single_cert(certificates, key).expect("a pair");
        config.alpn_protocols = vec![b"mqtt".to_vec()];
        let acceptor = TlsAcceptor::from(Arc::new(config));
        Self::start(move |stream| {
            let acceptor = acceptor.clone();
            Box::pin(async move {
                if let Ok(stream) = acceptor.accept(stream).await {
                    greet(name, stream).await;
                }
            })
        })
        .await
    }

    pub(super) fn url(&self) -> String {
        format!("tcp://{}", self.address)
    }

    pub(super) fn accepted(&self) -> usize {
        self.accepted.load(SeqCst)
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn echo(mut stream: impl Io) {
    let mut buffer = vec![0; 16 * 1024];
    while let Ok(count @ 1..) = stream.read(&mut buffer).await {
        if stream.write_all(&buffer[..count]).await.is_err() || stream.flush().await.is_err() {
            return;
        }
    }
    let _ = stream.shutdown().await;
}

pub(super) async fn greet(name: &str, mut stream: impl Io) {
    if stream.write_all(name.as_bytes()).await.is_ok() && stream.flush().await.is_ok() {
        echo(stream).await;
    }
}

// === impl Front ===

impl Front {
    /// A balancer with a TCP listener in front of these backends, with other keys of the listener's `tcp` and of the upstream.
    pub(super) async fn start(way: Way, backends: &[String], tcp: &str, upstream: &str) -> Self {
        let backends = format!("upstreams: {{ db: {{ backends: {backends:?}{upstream} }} }}");
        Self::with(way, &format!("tcp: {{ {tcp} }}"), &backends).await
    }

    /// A balancer with a TCP listener with these keys, and more of a configuration.
    pub(super) async fn with(way: Way, listener: &str, more: &str) -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let authority = Authority::new(folder.path());
        let pair = authority.pair("own", &["test", "one.test", "two.test"]);
        let tls = match way {
            Way::Plain => String::new(),
            Way::Tls => format!(", tls: {{ certificates: [{}] }}", pair.yaml()),
        };
        let listener = format!("{{ address: 127.0.0.1:0, protocol: tcp, {listener}{tls} }}");
        let balancer = Balancer::start(&format!("listeners: [{listener}]\n{more}")).await;
        Self { balancer, way, authority, _folder: folder }
    }

    /// A connection to its listener.
    pub(super) async fn connect(&self) -> Stream {
        self.connect_as("test").await
    }

    /// A connection that asks for this name, if it is over TLS.
    pub(super) async fn connect_as(&self, name: &str) -> Stream {
        let address = self.balancer.address();
        match self.way {
            Way::Plain => {
                Box::new(in_time("connect", TcpStream::connect(address)).await.expect("a connection"))
            }
            Way::Tls => {
                Box::new(self.authority.client().handshake(address, name).await.expect("a handshake"))
            }
        }
    }
}

/// Reads so many bytes.
pub(super) async fn read(stream: &mut (impl AsyncRead + Unpin), count: usize) -> String {
    let mut bytes = vec![0; count];
    in_time("bytes", stream.read_exact(&mut bytes)).await.expect("so many bytes");
    String::from_utf8(bytes).expect("text")
}

/// Reads to the end.
pub(super) async fn read_all(stream: &mut (impl AsyncRead + Unpin)) -> String {
    let mut bytes = Vec::new();
    in_time("the end", stream.read_to_end(&mut bytes)).await.expect("an end that is none by a reset");
    String::from_utf8(bytes).expect("text")
}
