use std::net::{IpAddr, Ipv4Addr};

use tokio::net::{TcpListener, TcpSocket};

use super::*;

const LIMIT: Duration = Duration::from_secs(6);

fn named(port: u16, addresses: &[[u8; 4]]) -> Dialer {
    let addresses = addresses.iter().map(|octets| IpAddr::from(*octets)).collect();
    let names = Arc::new(Names::new("backend.test", addresses));
    Dialer::new(&Address::Name("backend.test".into(), port), Some(&names))
}

#[tokio::test]
async fn all_addresses_of_a_name_are_tried_and_the_one_that_worked_is_first() {
    let listener = TcpListener::bind("127.0.0.3:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let dialer = named(port, &[[127, 0, 0, 1], [127, 0, 0, 2], [127, 0, 0, 3]]);
    assert!(matches!(dialer.first(), Some(Address::Tcp(first)) if first.ip() == Ipv4Addr::LOCALHOST));
    let Ok(Connected::Tcp(socket)) = dialer.connect(LIMIT, None).await else { panic!("no connection") };
    assert_eq!(socket.peer_addr().unwrap(), listener.local_addr().unwrap());
    assert_eq!(dialer.first(), Some(Address::Tcp(listener.local_addr().unwrap())));
}

#[tokio::test]
async fn a_connection_that_the_backend_has_closed_is_not_used() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let dialer = Dialer::new(&Address::Tcp(listener.local_addr().unwrap()), None);
    let connected = dialer.connect(LIMIT, None).await.unwrap();
    let far = listener.accept().await.unwrap().0;
    let open = connected.still_open().unwrap();
    drop(far);
    assert!(matches!(open.still_open(), Err(DialError::Closed)));
    let reset = dialer.connect(LIMIT, None).await.unwrap();
    listener.accept().await.unwrap().0.set_zero_linger().unwrap();
    assert!(matches!(reset.still_open(), Err(DialError::Closed)));
}

/// A listener whose queue is full neither accepts nor refuses.
#[tokio::test]
async fn an_address_that_does_not_respond_leaves_time_for_the_next() {
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let hole = socket.listen(0).unwrap();
    let port = hole.local_addr().unwrap().port();
    let mut queue = Vec::new();
    while let Ok(Ok(stream)) =
        timeout(Duration::from_millis(300), TcpStream::connect(("127.0.0.1", port))).await
    {
        queue.push(stream);
    }
    let listener = TcpListener::bind(("127.0.0.2", port)).await.unwrap();
    let dialer = named(port, &[[127, 0, 0, 1], [127, 0, 0, 2]]);
    for _ in 0..2 {
        let connected = dialer.connect(LIMIT, None).await;
        assert!(matches!(connected, Ok(Connected::Tcp(_))), "{connected:?}");
    }
    drop(listener);
    let failed = dialer.connect(Duration::from_millis(400), None).await;
    assert!(matches!(failed, Err(DialError::Timeout)), "{failed:?}");
}

#[tokio::test]
async fn a_name_without_an_address_is_no_connection_until_it_has_one() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let dialer = named(listener.local_addr().unwrap().port(), &[]);
    assert!(matches!(dialer.connect(LIMIT, None).await, Err(DialError::Unresolved)));
    assert_eq!(dialer.first(), None);
    assert!(dialer.names().unwrap().replace(vec![Ipv4Addr::LOCALHOST.into()]));
    assert!(dialer.connect(LIMIT, None).await.is_ok());
}

#[test]
fn the_address_that_worked_last_stays_the_first_when_others_come_and_go() {
    let ip = |last: u8| std::net::IpAddr::from([127, 0, 0, last]);
    let names = Names::new("backend.test", vec![ip(1), ip(2)]);
    assert!(!names.replace(vec![ip(1), ip(2)]), "nothing has changed");
    names.worked(1);
    assert!(names.replace(vec![ip(2), ip(3)]));
    assert_eq!(names.first(), Some(ip(2)));
    assert!(names.replace(vec![ip(3), ip(4)]));
    assert_eq!(names.first(), Some(ip(3)));
}

#[tokio::test]
async fn a_connection_that_meets_itself_is_refused() {
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let own = socket.local_addr().unwrap();
    let socket = socket.connect(own).await.unwrap();
    assert!(meets_itself(&socket, own));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    assert!(!meets_itself(&TcpStream::connect(address).await.unwrap(), address));
}

#[test]
fn our_own_lack_is_told_apart() {
    let address: SocketAddr = "127.0.0.1:9".parse().unwrap();
    let of = |errno: rustix::io::Errno| DialError::of_tcp(errno.into(), address);
    use rustix::io::Errno;
    for errno in [Errno::MFILE, Errno::NFILE, Errno::NOBUFS, Errno::NOMEM, Errno::ADDRNOTAVAIL, Errno::AGAIN]
    {
        assert!(matches!(of(errno), DialError::Shortage(_)), "{errno:?}");
    }
    for errno in [Errno::HOSTUNREACH, Errno::NETUNREACH, Errno::CONNRESET, Errno::ACCESS] {
        assert!(matches!(of(errno), DialError::Io(_)), "{errno:?}");
    }
    assert!(matches!(of(Errno::CONNREFUSED), DialError::Refused));
    assert!(
        matches!(DialError::of_unix(Errno::AGAIN.into()), DialError::Io(_)),
        "the backend's queue is full"
    );
    let nowhere: SocketAddr =
        "[2001:db8::1%0]:9".parse().unwrap_or_else(|_| "[2001:db8::1]:9".parse().unwrap());
    let _ = DialError::of_tcp(Errno::ADDRNOTAVAIL.into(), nowhere);
}
