//! Addresses that do not respond.

use std::net::SocketAddr;
use std::time::Duration;

use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::task::AbortHandle;

/// A port that refuses connections as long as this lives: it is taken, so that no other process can listen on it.
pub(crate) struct ClosedPort {
    pub(crate) address: SocketAddr,
    _socket: TcpSocket,
}

/// A port that neither accepts nor refuses: its queue is full, so that connecting takes forever.
pub(crate) struct BlackHole {
    pub(crate) address: SocketAddr,
    _listener: TcpListener,
    _queue: Vec<TcpStream>,
}

/// A port that takes connections and closes each at once.
pub(crate) struct Closer {
    pub(crate) address: SocketAddr,
    task: AbortHandle,
}

impl Closer {
    pub(crate) async fn new() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("its address");
        let task = tokio::spawn(async move {
            loop {
                drop(listener.accept().await);
            }
        });
        Self { address, task: task.abort_handle() }
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.address)
    }
}

impl Drop for Closer {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl ClosedPort {
    pub(crate) fn new() -> Self {
        let socket = TcpSocket::new_v4().expect("a socket");
        socket.bind("127.0.0.1:0".parse().expect("an address")).expect("a free port");
        Self { address: socket.local_addr().expect("its address"), _socket: socket }
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.address)
    }
}

impl BlackHole {
    pub(crate) async fn new() -> Self {
        let socket = TcpSocket::new_v4().expect("a socket");
        socket.bind("127.0.0.1:0".parse().expect("an address")).expect("a free port");
        let listener = socket.listen(1).expect("a listener");
        let address = listener.local_addr().expect("its address");
        let mut queue = Vec::new();
        // The system drops connections to a full queue; this shows as a connect that takes long.
        while let Ok(stream) =
            tokio::time::timeout(Duration::from_millis(300), TcpStream::connect(address)).await
        {
            queue.push(stream.expect("a connection"));
        }
        Self { address, _listener: listener, _queue: queue }
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.address)
    }
}
