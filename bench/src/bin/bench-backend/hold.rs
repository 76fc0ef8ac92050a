//! A crowd of idle clients, to see what an idle keep-alive connection costs the proxy. Knows nothing of which proxy.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

/// Opens `count` connections and completes one request on each.
///
/// # Errors
/// When a connection fails, stays silent for 10 s, or its answer is not a 200.
pub(crate) fn open(count: usize, address: SocketAddr) -> io::Result<Vec<TcpStream>> {
    (0..count).map(|_| request_once(address)).collect()
}

/// Holds the connections until the parent process closes its standard input, then closes them.
///
/// # Errors
/// When standard input cannot be read.
pub(crate) fn until_end_of_input(held: Vec<TcpStream>) -> io::Result<()> {
    io::copy(&mut io::stdin().lock(), &mut io::sink())?;
    drop(held);
    Ok(())
}

fn request_once(address: SocketAddr) -> io::Result<TcpStream> {
    let mut stream = TcpStream::connect(address)?;
    stream.set_read_timeout(Some(Duration::from_secs(10)))?;
    stream.write_all(b"GET /small HTTP/1.1\r\nHost: bench\r\n\r\n")?;
    let mut answer = Vec::new();
    let mut chunk = [0; 1024];
    // The small body is known, so its last bytes are the end of the answer.
    while !answer.ends_with(crate::serve::SMALL) {
        let read = stream.read(&mut chunk)?;
        if read == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        answer.extend_from_slice(chunk.get(..read).unwrap_or_default());
    }
    if answer.starts_with(b"HTTP/1.1 200") {
        Ok(stream)
    } else {
        Err(io::Error::other("the answer was not a 200"))
    }
}
