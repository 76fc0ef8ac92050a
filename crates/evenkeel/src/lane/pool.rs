//! Connections to backends that wait for their next request.

use std::collections::{HashMap, HashSet};
use std::io;
use std::time::Instant;

use crate::stream::{Own, Socket};

/// The idle connections of one worker, by the group of their endpoint. The newest is used first: the others can then grow
/// old and go, and a backend that closes idle connections after a while finds the newest one open.
///
/// An idle connection is a socket, and nothing else: no task, no timer, no buffer.
#[derive(Debug, Default)]
pub(super) struct Pool(Own<HashMap<u64, Vec<Idle>, foldhash::fast::FixedState>>);

#[derive(Debug)]
struct Idle {
    socket: Socket,
    until: Instant,
}

impl Pool {
    /// The newest connection that is still open, as far as the system has told.
    pub(super) fn take(&self, group: u64) -> Option<Socket> {
        let mut groups = self.0.borrow();
        let idle = groups.get_mut(&group)?;
        while let Some(Idle { socket, .. }) = idle.pop() {
            if is_quiet(&socket) {
                return Some(socket);
            }
        }
        None
    }

    /// Keeps a connection until then; with more than `most`, the oldest goes.
    pub(super) fn put(&self, group: u64, socket: Socket, until: Instant, most: usize) {
        let mut groups = self.0.borrow();
        let idle = groups.entry(group).or_default();
        idle.push(Idle { socket, until });
        if idle.len() > most {
            idle.remove(0);
        }
    }

    /// Closes the connections of all groups but these.
    pub(super) fn retain(&self, groups: &HashSet<u64>) {
        self.0.borrow().retain(|group, _| groups.contains(group));
    }

    /// Closes what has been idle for too long, or what the backend has closed.
    pub(super) fn sweep(&self, now: Instant) {
        self.0.borrow().retain(|_, idle| {
            idle.retain(|idle| idle.until > now && is_quiet(&idle.socket));
            !idle.is_empty()
        });
    }
}

/// Whether nothing has come from the other end, nor its end: an idle connection has nothing to say.
fn is_quiet(socket: &Socket) -> bool {
    matches!(socket.try_read(&mut [0]), Err(error) if error.kind() == io::ErrorKind::WouldBlock)
}

#[cfg(test)]
mod tests {
    use super::Pool;
    use crate::stream::Socket;
    use std::time::{Duration, Instant};
    use tokio::io::AsyncWriteExt;
    use tokio::net::{TcpListener, TcpStream};

    async fn pair(listener: &TcpListener) -> (Socket, TcpStream, u16) {
        let near = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let port = near.local_addr().unwrap().port();
        (Socket::Tcp(near), listener.accept().await.unwrap().0, port)
    }

    fn port(socket: Option<Socket>) -> Option<u16> {
        match socket {
            Some(Socket::Tcp(socket)) => Some(socket.local_addr().unwrap().port()),
            _ => None,
        }
    }

    #[tokio::test]
    async fn the_newest_that_is_open_comes_first_and_no_more_than_the_most_are_kept() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (pool, later) = (Pool::default(), Instant::now() + Duration::from_secs(60));
        let mut far = Vec::new();
        let mut ports = Vec::new();
        for _ in 0..5 {
            let (socket, end, port) = pair(&listener).await;
            pool.put(7, socket, later, 4);
            far.push(end);
            ports.push(port);
        }
        assert_eq!(port(pool.take(7)), Some(ports[4]));
        // One that its backend closed, and one that says something unasked.
        far[3].shutdown().await.unwrap();
        far[2].write_all(b"HTTP/1.1 408 Too late\r\n\r\n").await.unwrap();
        tokio::time::sleep(Duration::from_millis(50)).await;
        assert_eq!(port(pool.take(7)), Some(ports[1]));
        assert_eq!(port(pool.take(7)), None, "the oldest was one too many");
        assert_eq!(port(pool.take(8)), None);
    }

    #[tokio::test]
    async fn the_old_ones_go() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (pool, now) = (Pool::default(), Instant::now());
        let (old, _old_end, _) = pair(&listener).await;
        let (new, _new_end, new_port) = pair(&listener).await;
        pool.put(1, old, now + Duration::from_secs(1), 10);
        pool.put(1, new, now + Duration::from_secs(3), 10);
        pool.sweep(now + Duration::from_secs(2));
        assert_eq!((port(pool.take(1)), port(pool.take(1))), (Some(new_port), None));
        pool.sweep(now + Duration::from_secs(4));
        assert!(pool.0.borrow().is_empty());
    }
}
