//! Binding: one socket a worker on the same address, or one clear error.

use std::io;
use std::net::SocketAddr;
use std::os::unix::fs::FileTypeExt;
use std::path::{Path, PathBuf};

use evenkeel_config::ListenAddress;
use socket2::{Domain, Protocol, SockAddr, Socket, Type};

/// A listener that is bound: one socket for each worker, all on one address.
#[derive(Debug)]
pub struct Bound {
    /// The address, with the real port.
    pub address: ListenAddress,
    /// The sockets.
    pub sockets: Vec<Socket>,
}

/// Why an address could not be bound.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BindError {
    /// Another process listens there.
    #[error("address {0} in use")]
    InUse(String),
    /// The port needs a privilege.
    #[error("address {0}: permission denied (ports below 1024 need CAP_NET_BIND_SERVICE)")]
    Denied(String),
    /// Something is at the path that is not a socket.
    #[error("address unix:{0}: there is a file that is not a socket")]
    NotASocket(PathBuf),
    /// Something else.
    #[error("address {address}: {source}")]
    Io {
        /// The address.
        address: String,
        /// What the system said.
        source: io::Error,
    },
}

/// How many connections may wait to be accepted; the system's own limit (`net.core.somaxconn`) may be lower.
const BACKLOG: i32 = 4096;

/// Binds an address for this many workers. Nothing is retried. `shared` allows that another socket of this process has the
/// port already: one that is about to be closed.
///
/// On TCP each worker has a socket of its own (`SO_REUSEPORT`), so that accepting needs no lock; a Unix socket is shared.
///
/// # Errors
/// When the address is in use or cannot be had.
pub fn bind(address: &ListenAddress, workers: usize, shared: bool) -> Result<Bound, BindError> {
    match address {
        ListenAddress::Unix(path) => bind_unix(path, workers),
        ListenAddress::Tcp(address) => bind_tcp(*address, workers, shared),
        _ => {
            Err(BindError::Io { address: format!("{address:?}"), source: io::ErrorKind::Unsupported.into() })
        }
    }
}

fn bind_tcp(address: SocketAddr, workers: usize, shared: bool) -> Result<Bound, BindError> {
    let explain = |error| explain(address.to_string(), error);
    if address.port() != 0 && !shared {
        // Without SO_REUSEPORT first: with it, a second balancer would take half of the first one's connections in silence.
        drop(tcp_socket(address, false).map_err(explain)?);
    }
    let first = tcp_socket(address, true).map_err(explain)?;
    let address = first.local_addr().map_err(explain)?.as_socket().unwrap_or(address);
    let others = (1..workers).map(|_| tcp_socket(address, true));
    let sockets = std::iter::once(Ok(first)).chain(others).map(|socket| {
        let socket = socket?;
        socket.listen(BACKLOG)?;
        Ok(socket)
    });
    let sockets = sockets.collect::<io::Result<_>>().map_err(explain)?;
    Ok(Bound { address: ListenAddress::Tcp(address), sockets })
}

fn tcp_socket(address: SocketAddr, share: bool) -> io::Result<Socket> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_nonblocking(true)?;
    // A restarted balancer must not wait for the old one's connections to time out.
    socket.set_reuse_address(true)?;
    socket.set_reuse_port(share)?;
    socket.bind(&address.into())?;
    Ok(socket)
}

fn bind_unix(path: &Path, workers: usize) -> Result<Bound, BindError> {
    let name = format!("unix:{}", path.display());
    let explain = |error| explain(name.clone(), error);
    clear_stale_socket(path, &name)?;
    let socket = Socket::new(Domain::UNIX, Type::STREAM, None).map_err(explain)?;
    let bound = socket.set_nonblocking(true).and_then(|()| socket.bind(&SockAddr::unix(path)?));
    bound.and_then(|()| socket.listen(BACKLOG)).map_err(explain)?;
    let mut sockets: Vec<Socket> =
        (1..workers).map(|_| socket.try_clone()).collect::<io::Result<_>>().map_err(explain)?;
    sockets.push(socket);
    Ok(Bound { address: ListenAddress::Unix(path.to_owned()), sockets })
}

/// Removes the socket file of a balancer that has ended; never one with a listener, never another file.
fn clear_stale_socket(path: &Path, name: &str) -> Result<(), BindError> {
    let Ok(metadata) = std::fs::symlink_metadata(path) else { return Ok(()) };
    if !metadata.file_type().is_socket() {
        return Err(BindError::NotASocket(path.to_owned()));
    }
    match std::os::unix::net::UnixStream::connect(path) {
        Ok(_) => Err(BindError::InUse(name.to_owned())),
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {
            std::fs::remove_file(path).map_err(|error| explain(name.to_owned(), error))
        }
        Err(error) => Err(explain(name.to_owned(), error)),
    }
}

fn explain(address: String, source: io::Error) -> BindError {
    match source.kind() {
        io::ErrorKind::AddrInUse => BindError::InUse(address),
        io::ErrorKind::PermissionDenied => BindError::Denied(address),
        _ => BindError::Io { address, source },
    }
}

#[cfg(test)]
mod tests {
    use super::{BindError, bind};
    use evenkeel_config::ListenAddress;

    #[test]
    fn port_zero_gives_one_real_port_to_all_workers() {
        let bound = bind(&ListenAddress::Tcp("127.0.0.1:0".parse().unwrap()), 3, false).unwrap();
        let ListenAddress::Tcp(address) = bound.address else { panic!("not TCP") };
        assert_ne!(address.port(), 0);
        for socket in &bound.sockets {
            assert_eq!(socket.local_addr().unwrap().as_socket(), Some(address));
        }
        let again = bind(&ListenAddress::Tcp(address), 1, false).unwrap_err();
        assert!(matches!(again, BindError::InUse(_)), "{again}");
    }

    #[test]
    fn a_file_that_is_no_socket_is_left_alone() {
        let path = std::env::temp_dir().join(format!("evenkeel-bind-{}", std::process::id()));
        std::fs::write(&path, "mine").unwrap();
        let error = bind(&ListenAddress::Unix(path.clone()), 1, false).unwrap_err();
        assert!(matches!(error, BindError::NotASocket(_)), "{error}");
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "mine");
        std::fs::remove_file(&path).unwrap();
    }

    #[test]
    fn a_stale_socket_is_replaced_and_a_live_one_is_not() {
        let path = std::env::temp_dir().join(format!("evenkeel-bind-{}.sock", std::process::id()));
        let address = ListenAddress::Unix(path.clone());
        let bound = bind(&address, 2, false).unwrap();
        assert!(matches!(bind(&address, 1, false), Err(BindError::InUse(_))));
        drop(bound);
        drop(bind(&address, 1, false).unwrap());
        std::fs::remove_file(&path).unwrap();
    }
}
