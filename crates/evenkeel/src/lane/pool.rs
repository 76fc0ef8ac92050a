//! Connections to backends that wait for their next request.

use std::collections::HashMap;
use std::io;
use std::sync::Arc;
use std::time::Instant;

use crate::stream::{Own, Socket};
use crate::upstream::ConnectionGroup;

/// The idle connections of one worker, by the group of their endpoint. The newest is used first: the others can then grow
/// old and go, and a backend that closes idle connections after a while finds the newest one open.
///
/// An idle connection is a socket, and nothing else: no task, no timer, no buffer.
#[derive(Debug, Default)]
pub(super) struct Pool(Own<HashMap<u64, Idles, foldhash::fast::FixedState>>);

/// The idle connections of a group, the oldest first.
#[derive(Debug)]
struct Idles {
    group: Arc<ConnectionGroup>,
    idle: Vec<Idle>,
}

#[derive(Debug)]
struct Idle {
    socket: Socket,
    until: Instant,
}

impl Pool {
    /// The newest connection that is still open, as far as the system has told.
    pub(super) fn take(&self, group: &ConnectionGroup) -> Option<Socket> {
        let mut groups = self.0.borrow();
        let idle = &mut groups.get_mut(&group.id())?.idle;
        while let Some(Idle { socket, .. }) = idle.pop() {
            if is_quiet(&socket) {
                return Some(socket);
            }
        }
        None
    }

    /// Keeps a connection until then; with more than `most`, the oldest goes. A removed backend's connection is closed.
    pub(super) fn put(&self, group: &Arc<ConnectionGroup>, socket: Socket, until: Instant, most: usize) {
        if group.is_closed() {
            return;
        }
        let mut groups = self.0.borrow();
        let empty = || Idles { group: group.clone(), idle: Vec::new() };
        let idle = &mut groups.entry(group.id()).or_insert_with(empty).idle;
        idle.push(Idle { socket, until });
        if idle.len() > most {
            idle.remove(0);
        }
    }

    /// Closes what has been idle for too long, what the backend has closed, and every connection to removed backends.
    pub(super) fn sweep(&self, now: Instant) {
        self.0.borrow().retain(|_, Idles { group, idle }| {
            idle.retain(|idle| idle.until > now && is_quiet(&idle.socket));
            !idle.is_empty() && !group.is_closed()
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
    use crate::upstream::ConnectionGroup;
    use std::sync::Arc;
    use std::time::{Duration, Instant};
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
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
        let [group, other] = [(); 2].map(|()| Arc::new(ConnectionGroup::new()));
        let mut far = Vec::new();
        let mut ports = Vec::new();
        for _ in 0..5 {
            let (socket, end, port) = pair(&listener).await;
            pool.put(&group, socket, later, 4);
            far.push(end);
            ports.push(port);
        }
        assert_eq!(port(pool.take(&group)), Some(ports[4]));
        // One that its backend closed, and one that says something unasked.
        far[3].shutdown().await.unwrap();
        far[2].write_all(b"HTTP/1.1 408 Too late\r\n\r\n").await.unwrap();
        tokio::time::sleep(Duration::from_millis(50)).await;
        assert_eq!(port(pool.take(&group)), Some(ports[1]));
        assert_eq!(port(pool.take(&group)), None, "the oldest was one too many");
        assert_eq!(port(pool.take(&other)), None);
    }

    #[tokio::test]
    async fn the_old_ones_go() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (pool, now, group) = (Pool::default(), Instant::now(), Arc::new(ConnectionGroup::new()));
        let (old, _old_end, _) = pair(&listener).await;
        let (new, _new_end, new_port) = pair(&listener).await;
        pool.put(&group, old, now + Duration::from_secs(1), 10);
        pool.put(&group, new, now + Duration::from_secs(3), 10);
        pool.sweep(now + Duration::from_secs(2));
        assert_eq!((port(pool.take(&group)), port(pool.take(&group))), (Some(new_port), None));
        pool.sweep(now + Duration::from_secs(4));
        assert!(pool.0.borrow().is_empty());
    }

    #[tokio::test]
    async fn connections_to_a_removed_backend_close() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (pool, later) = (Pool::default(), Instant::now() + Duration::from_secs(60));
        let [gone, stays] = [(); 2].map(|()| Arc::new(ConnectionGroup::new()));
        let (idle, mut far_end, _) = pair(&listener).await;
        pool.put(&gone, idle, later, 10);
        let (other, _other_end, other_port) = pair(&listener).await;
        pool.put(&stays, other, later, 10);
        gone.close();
        pool.sweep(Instant::now());
        assert_eq!(far_end.read(&mut [0]).await.unwrap(), 0, "closed, not only forgotten");
        let (busy, mut busy_end, _) = pair(&listener).await;
        pool.put(&gone, busy, later, 10);
        assert_eq!(busy_end.read(&mut [0]).await.unwrap(), 0, "it does not become idle");
        assert_eq!((port(pool.take(&gone)), port(pool.take(&stays))), (None, Some(other_port)));
    }
}
