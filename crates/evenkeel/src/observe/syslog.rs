//! Records as messages of syslog (RFC 5424): in datagrams to a Unix socket or over UDP, or over TCP with the length of each (RFC 6587).
//!
//! Never knows what a record is. It runs on the thread of the log, which may wait.

use std::io::{self, Write};
use std::net::{TcpStream, ToSocketAddrs, UdpSocket};
use std::os::unix::net::UnixDatagram;
use std::time::{Duration, Instant};

use evenkeel_config::{SyslogTarget, SyslogTransport};

use super::sink::Lost;
use super::text;

/// A server of syslog. It is connected to when there is something to write, and again after it was lost.
#[derive(Debug)]
pub(super) struct Syslog {
    target: SyslogTarget,
    host: String,
    connection: Option<Connection>,
    /// When the next attempt to connect may be: records are lost until then.
    next: Option<Instant>,
}

#[derive(Debug)]
enum Connection {
    Unix(UnixDatagram),
    Udp(UdpSocket),
    Tcp(TcpStream),
}

/// How long connecting or writing can wait. Workers do not wait for it: their records are dropped when they are too far ahead.
const WAIT: Duration = Duration::from_secs(1);
/// How long to wait after a failed attempt to connect.
const PAUSE: Duration = Duration::from_secs(1);
/// The severity "informational".
const INFORMATIONAL: u8 = 6;

// === impl Syslog ===

impl Syslog {
    pub(super) fn new(target: &SyslogTarget) -> Self {
        let host = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
        let host = host.trim();
        let is_name = !host.is_empty() && host.bytes().all(|byte| byte.is_ascii_graphic());
        let host = if is_name { host } else { "-" }.to_owned();
        Self { target: target.clone(), host, connection: None, next: None }
    }

    /// Sends records, each with a line end, each as a message.
    pub(super) fn write(&mut self, records: &[u8]) -> Result<(), Lost> {
        let (mut lost, mut last) = (0, None);
        let mut message = String::new();
        for record in records.split(|byte| *byte == b'\n').filter(|record| !record.is_empty()) {
            message.clear();
            self.head(&mut message);
            message.push_str(&String::from_utf8_lossy(record));
            if let Err(error) = self.send(&message) {
                lost += 1;
                last = Some(error);
            }
        }
        last.map_or(Ok(()), |error| Err(Lost { records: lost, error }))
    }

    /// `<134>1 2026-01-02T03:04:05.678Z host evenkeel 4711 access - `
    fn head(&self, out: &mut String) {
        let priority = self.target.facility * 8 + INFORMATIONAL;
        out.push_str(&format!("<{priority}>1 "));
        text::moment(out, jiff::Timestamp::now());
        out.push_str(&format!(" {} {} {} access - ", self.host, self.target.tag, nix::unistd::getpid()));
    }

    fn send(&mut self, message: &str) -> io::Result<()> {
        // A connection that the server closed meanwhile is noticed here: the message is sent once more.
        let was_connected = self.connection.is_some();
        match self.send_once(message) {
            Err(_) if was_connected => self.send_once(message),
            sent => sent,
        }
    }

    fn send_once(&mut self, message: &str) -> io::Result<()> {
        if self.connection.is_none() {
            if self.next.is_some_and(|next| Instant::now() < next) {
                return Err(io::Error::new(
                    io::ErrorKind::NotConnected,
                    "the syslog server cannot be reached",
                ));
            }
            match Connection::open(&self.target.transport) {
                Ok(connection) => self.connection = Some(connection),
                Err(error) => {
                    self.next = Some(Instant::now() + PAUSE);
                    return Err(error);
                }
            }
            self.next = None;
        }
        let Some(connection) = &mut self.connection else { return Ok(()) };
        let sent = connection.send(message);
        if sent.as_ref().is_err_and(|error| !is_about_the_message(error)) {
            self.connection = None;
        }
        sent
    }
}

/// Whether another message could be sent where this one could not.
fn is_about_the_message(error: &io::Error) -> bool {
    error.raw_os_error() == Some(nix::errno::Errno::EMSGSIZE as i32)
}

// === impl Connection ===

impl Connection {
    fn open(transport: &SyslogTransport) -> io::Result<Self> {
        match transport {
            SyslogTransport::Unix(path) => {
                let socket = UnixDatagram::unbound()?;
                socket.connect(path)?;
                socket.set_write_timeout(Some(WAIT))?;
                Ok(Self::Unix(socket))
            }
            SyslogTransport::Udp(host, port) => {
                let socket = first_address((host, *port), |address| {
                    let any = if address.is_ipv4() { "0.0.0.0:0" } else { "[::]:0" };
                    let socket = UdpSocket::bind(any)?;
                    socket.connect(address)?;
                    Ok(socket)
                })?;
                Ok(Self::Udp(socket))
            }
            SyslogTransport::Tcp(host, port) => {
                let socket =
                    first_address((host, *port), |address| TcpStream::connect_timeout(&address, WAIT))?;
                socket.set_write_timeout(Some(WAIT))?;
                Ok(Self::Tcp(socket))
            }
            _ => Err(io::ErrorKind::Unsupported.into()),
        }
    }

    fn send(&mut self, message: &str) -> io::Result<()> {
        match self {
            Self::Unix(socket) => socket.send(message.as_bytes()).map(|_| ()),
            Self::Udp(socket) => socket.send(message.as_bytes()).map(|_| ()),
            Self::Tcp(socket) => socket.write_all(format!("{} {message}", message.len()).as_bytes()),
        }
    }
}

/// The result for the first address of a name that works, or else the error for the last.
fn first_address<T>(
    name: (&str, u16),
    connect: impl Fn(std::net::SocketAddr) -> io::Result<T>,
) -> io::Result<T> {
    let mut last = io::Error::new(io::ErrorKind::NotFound, "the name has no address");
    for address in name.to_socket_addrs()? {
        match connect(address) {
            Ok(connected) => return Ok(connected),
            Err(error) => last = error,
        }
    }
    Err(last)
}

#[cfg(test)]
mod tests {
    use std::io::Read;
    use std::net::{TcpListener, UdpSocket};
    use std::os::unix::net::UnixDatagram;

    use super::*;

    fn syslog(transport: SyslogTransport) -> Syslog {
        Syslog::new(&SyslogTarget { transport, facility: 16, tag: "evenkeel".to_owned() })
    }

    fn check(message: &str, record: &str) {
        let fields: Vec<&str> = message.splitn(8, ' ').collect();
        assert_eq!(
            (fields[0], fields[3], fields[5], fields[6]),
            ("<134>1", "evenkeel", "access", "-"),
            "{message}"
        );
        assert!(fields[1].ends_with('Z') && fields[1].len() == 24, "{message}");
        assert_eq!(fields[7], record);
    }

    #[test]
    fn each_record_is_a_datagram() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("log");
        let unix = UnixDatagram::bind(&path).unwrap();
        let udp = UdpSocket::bind("127.0.0.1:0").unwrap();
        let port = udp.local_addr().unwrap().port();
        let mut buffer = [0; 4096];
        syslog(SyslogTransport::Unix(path.clone())).write(b"one\n{\"two\": 2}\n").unwrap();
        for record in ["one", "{\"two\": 2}"] {
            let length = unix.recv(&mut buffer).unwrap();
            check(std::str::from_utf8(&buffer[..length]).unwrap(), record);
        }
        syslog(SyslogTransport::Udp("127.0.0.1".to_owned(), port)).write(b"one\n").unwrap();
        let length = udp.recv(&mut buffer).unwrap();
        check(std::str::from_utf8(&buffer[..length]).unwrap(), "one");
    }

    #[test]
    fn over_tcp_each_message_has_its_length_and_a_lost_connection_is_opened_again() {
        let server = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = server.local_addr().unwrap().port();
        let mut syslog = syslog(SyslogTransport::Tcp("127.0.0.1".to_owned(), port));
        for record in ["one", "two"] {
            syslog.write(format!("{record}\n").as_bytes()).unwrap();
            let (mut socket, _) = server.accept().unwrap();
            let mut text = String::new();
            syslog.connection = None;
            socket.read_to_string(&mut text).unwrap();
            let (length, message) = text.split_once(' ').unwrap();
            assert_eq!(length.parse::<usize>().unwrap(), message.len());
            check(message, record);
        }
    }

    #[test]
    fn records_without_a_server_are_counted_and_not_waited_for() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("log");
        let mut syslog = syslog(SyslogTransport::Unix(path.clone()));
        assert_eq!(syslog.write(b"one\ntwo\n").unwrap_err().records, 2);
        let server = UnixDatagram::bind(&path).unwrap();
        assert_eq!(syslog.write(b"three\n").unwrap_err().records, 1, "the pause is not over");
        syslog.next = None;
        syslog.write(b"four\n").unwrap();
        let mut buffer = [0; 4096];
        let length = server.recv(&mut buffer).unwrap();
        check(std::str::from_utf8(&buffer[..length]).unwrap(), "four");
        // The server starts again with another socket.
        drop(server);
        std::fs::remove_file(&path).unwrap();
        let server = UnixDatagram::bind(&path).unwrap();
        syslog.write(b"five\n").unwrap();
        let length = server.recv(&mut buffer).unwrap();
        check(std::str::from_utf8(&buffer[..length]).unwrap(), "five");
    }
}
