//! Binding: one socket a worker on the same address, or one clear error.

use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use evenkeel_config::{ListenAddress, UnixSocket};
use socket2::{Domain, Protocol, SockAddr, Socket, Type};

use super::owner;

/// A listener that is bound: one socket for each worker, all on one address.
#[derive(Debug)]
pub struct Bound {
    /// The address, with the real port.
    pub address: ListenAddress,
    /// The sockets.
    pub sockets: Vec<Socket>,
    /// The file of a Unix socket that was made here.
    pub file: Option<SocketFile>,
    /// Whether other processes have the same sockets: see [`Inherited`].
    pub inherited: bool,
}

/// A listening socket that the process was given, by a supervisor that keeps it open while the balancer is restarted. Connections
/// that wait in it are lost to no one: who accepts next has them.
#[derive(Clone, Debug)]
pub struct Inherited {
    address: ListenAddress,
    socket: Arc<Socket>,
}

/// The file of a Unix socket.
#[derive(Debug)]
pub struct SocketFile {
    path: PathBuf,
    /// Device and inode: another process may have put its own socket in the place.
    id: Option<(u64, u64)>,
}

/// How an address may be bound.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Sharing {
    /// Not if anyone listens there.
    #[default]
    Never,
    /// Also if another process of this user listens there, and allows it.
    Allowed,
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
    /// A socket that the process was given does not listen.
    #[error("socket {0} that was passed to the process: it does not listen on an IP address or a path")]
    NotListening(String),
    /// The socket cannot have this mode or owner.
    #[error("address {address}: {reason}")]
    Access {
        /// The address.
        address: String,
        /// What cannot be set, and why.
        reason: String,
    },
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

/// Binds an address for this many workers. Nothing is retried.
///
/// On TCP each worker has a socket of its own (`SO_REUSEPORT`), so that accepting needs no lock; a Unix socket is shared.
///
/// # Errors
/// When the address is in use or cannot be had.
pub fn bind(
    address: &ListenAddress,
    unix_socket: &UnixSocket,
    workers: usize,
    sharing: Sharing,
) -> Result<Bound, BindError> {
    match address {
        ListenAddress::Unix(path) => bind_unix(path, unix_socket, workers, sharing),
        ListenAddress::Tcp(address) => bind_tcp(*address, workers, sharing),
        _ => {
            Err(BindError::Io { address: format!("{address:?}"), source: io::ErrorKind::Unsupported.into() })
        }
    }
}

fn bind_tcp(address: SocketAddr, workers: usize, sharing: Sharing) -> Result<Bound, BindError> {
    let explain = |error| explain(address.to_string(), error);
    if address.port() != 0 && sharing == Sharing::Never {
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
    Ok(Bound { address: ListenAddress::Tcp(address), sockets, file: None, inherited: false })
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

fn bind_unix(path: &Path, access: &UnixSocket, workers: usize, sharing: Sharing) -> Result<Bound, BindError> {
    let name = format!("unix:{}", path.display());
    let explain = |error| explain(name.clone(), error);
    let replaces = match clear_stale_socket(path, &name) {
        Err(BindError::InUse(_)) if sharing == Sharing::Allowed => true,
        cleared => cleared.map(|()| false)?,
    };
    // Two sockets cannot have one path: the new one takes the place of the other in one step.
    let place =
        if replaces { path.with_extension(format!("{:x}.new", fastrand::u64(..))) } else { path.to_owned() };
    let socket = Socket::new(Domain::UNIX, Type::STREAM, None).map_err(explain)?;
    let bound = socket.set_nonblocking(true).and_then(|()| socket.bind(&SockAddr::unix(&place)?));
    bound.map_err(explain)?;
    // Before it accepts connections: no client that may not connect can slip in.
    owner::set(&place, access).map_err(|reason| {
        let _ = std::fs::remove_file(&place);
        BindError::Access { address: name.clone(), reason }
    })?;
    socket.listen(BACKLOG).map_err(explain)?;
    if replaces {
        std::fs::rename(&place, path).map_err(explain)?;
    }
    let file = Some(SocketFile::new(path));
    let sockets = clones(socket, workers).map_err(explain)?;
    Ok(Bound { address: ListenAddress::Unix(path.to_owned()), sockets, file, inherited: false })
}

/// One socket for each worker.
fn clones(socket: Socket, workers: usize) -> io::Result<Vec<Socket>> {
    let mut sockets: Vec<Socket> = (1..workers).map(|_| socket.try_clone()).collect::<io::Result<_>>()?;
    sockets.push(socket);
    Ok(sockets)
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

// === impl Inherited ===

impl Inherited {
    /// Takes a socket over.
    ///
    /// # Errors
    /// When it is not a listening stream socket.
    pub fn new(socket: OwnedFd) -> Result<Self, BindError> {
        let socket = Socket::from(socket);
        let local = socket.local_addr().ok();
        let address = local.as_ref().and_then(|local| match local.as_socket() {
            Some(address) => Some(ListenAddress::Tcp(address)),
            None => local.as_pathname().map(|path| ListenAddress::Unix(path.to_owned())),
        });
        let listens = socket.is_listener().unwrap_or(false) && socket.r#type().ok() == Some(Type::STREAM);
        match address.filter(|_| listens) {
            Some(address) => Ok(Self { address, socket: Arc::new(socket) }),
            None => Err(BindError::NotListening(format!("{}", socket.as_raw_fd()))),
        }
    }

    /// Where it listens.
    pub fn address(&self) -> &ListenAddress {
        &self.address
    }

    /// Whether it listens where this address says. `[::]` stands for `0.0.0.0` too: systemd makes that of a port alone.
    pub fn is_for(&self, address: &ListenAddress) -> bool {
        match (&self.address, address) {
            (ListenAddress::Tcp(own), ListenAddress::Tcp(other)) => {
                let any = own.ip().is_unspecified() && other.ip().is_unspecified();
                own.port() == other.port() && (own.ip() == other.ip() || any && own.is_ipv6())
            }
            (own, other) => own == other,
        }
    }

    /// The socket for this many workers.
    ///
    /// # Errors
    /// When there are too few descriptors.
    pub fn bound(&self, workers: usize) -> Result<Bound, BindError> {
        let made = self.socket.set_nonblocking(true).and_then(|()| clones(self.socket.try_clone()?, workers));
        let sockets = made.map_err(|error| explain(self.address.to_string(), error))?;
        Ok(Bound { address: self.address.clone(), sockets, file: None, inherited: true })
    }
}

// === impl SocketFile ===

impl SocketFile {
    fn new(path: &Path) -> Self {
        Self { path: path.to_owned(), id: Self::id(path) }
    }

    fn id(path: &Path) -> Option<(u64, u64)> {
        std::fs::symlink_metadata(path).ok().map(|file| (file.dev(), file.ino()))
    }

    /// Removes the file, unless another socket has taken its place.
    pub fn remove(&self) {
        if self.id.is_some() && Self::id(&self.path) == self.id {
            let _ = std::fs::remove_file(&self.path);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{BindError, Inherited, Sharing, bind};
    use evenkeel_config::{ListenAddress, UnixSocket};

    fn open(address: &ListenAddress, workers: usize) -> Result<super::Bound, BindError> {
        bind(address, &UnixSocket::default(), workers, Sharing::Never)
    }

    #[test]
    fn port_zero_gives_one_real_port_to_all_workers() {
        let bound = open(&ListenAddress::Tcp("127.0.0.1:0".parse().unwrap()), 3).unwrap();
        let ListenAddress::Tcp(address) = bound.address else { panic!("not TCP") };
        assert_ne!(address.port(), 0);
        for socket in &bound.sockets {
            assert_eq!(socket.local_addr().unwrap().as_socket(), Some(address));
        }
        let again = open(&ListenAddress::Tcp(address), 1).unwrap_err();
        assert!(matches!(again, BindError::InUse(_)), "{again}");
    }

    #[test]
    fn a_file_that_is_no_socket_is_left_alone() {
        let path = std::env::temp_dir().join(format!("evenkeel-bind-{}", std::process::id()));
        std::fs::write(&path, "mine").unwrap();
        let error = open(&ListenAddress::Unix(path.clone()), 1).unwrap_err();
        assert!(matches!(error, BindError::NotASocket(_)), "{error}");
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "mine");
        std::fs::remove_file(&path).unwrap();
    }

    #[test]
    fn a_socket_has_the_mode_and_the_group_that_are_configured() {
        use std::os::unix::fs::{MetadataExt, PermissionsExt};
        let path = std::env::temp_dir().join(format!("evenkeel-mode-{}.sock", std::process::id()));
        let address = ListenAddress::Unix(path.clone());
        for mode in [0o600, 0o666] {
            let mut access = UnixSocket::default();
            // The group that a new file has anyway: another one needs a privilege.
            let folder = std::fs::metadata(std::env::temp_dir()).unwrap();
            let group =
                if folder.mode() & 0o2000 != 0 { folder.gid() } else { nix::unistd::getegid().as_raw() };
            (access.mode, access.group) = (Some(mode), Some(group.to_string()));
            drop(bind(&address, &access, 1, Sharing::Never).unwrap());
            let metadata = std::fs::metadata(&path).unwrap();
            assert_eq!(metadata.permissions().mode() & 0o777, mode);
            assert_eq!(metadata.gid(), group);
            std::fs::remove_file(&path).unwrap();
        }
        let mut access = UnixSocket::default();
        access.user = Some("no such user".to_owned());
        let error = bind(&address, &access, 1, Sharing::Never).unwrap_err().to_string();
        assert_eq!(error, format!("address unix:{}: there is no user no such user", path.display()));
        assert!(!path.exists());
    }

    #[test]
    fn a_stale_socket_is_replaced_and_a_live_one_is_not() {
        let path = std::env::temp_dir().join(format!("evenkeel-bind-{}.sock", std::process::id()));
        let address = ListenAddress::Unix(path.clone());
        let bound = open(&address, 2).unwrap();
        assert!(matches!(open(&address, 1), Err(BindError::InUse(_))));
        // Unless it is to be replaced; the old one leaves the file of the new one alone.
        let replacing = bind(&address, &UnixSocket::default(), 1, Sharing::Allowed).unwrap();
        bound.file.as_ref().unwrap().remove();
        assert!(std::os::unix::net::UnixStream::connect(&path).is_ok());
        drop(bound);
        drop(replacing);
        let last = open(&address, 1).unwrap();
        last.file.as_ref().unwrap().remove();
        assert!(!path.exists());
    }

    #[test]
    fn a_passed_socket_must_listen_and_serves_its_address() {
        let listener = std::net::TcpListener::bind("[::]:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let inherited = Inherited::new(listener.into()).unwrap();
        let is_for = |text: String| inherited.is_for(&ListenAddress::Tcp(text.parse().unwrap()));
        assert!(is_for(format!("[::]:{port}")) && is_for(format!("0.0.0.0:{port}")));
        assert!(!is_for(format!("127.0.0.1:{port}")) && !is_for(format!("[::]:{}", port ^ 1)));
        assert_eq!(inherited.bound(3).unwrap().sockets.len(), 3);
        let other = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
        assert!(matches!(Inherited::new(other.into()), Err(BindError::NotListening(_))));
    }
}
