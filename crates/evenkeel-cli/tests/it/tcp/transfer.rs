//! Many bytes, both ways at the same time.

use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::backends::{Front, Peer, WAYS};
use crate::support::in_time;

/// Bytes each way.
const SIZE: usize = 64 << 20;
/// What the process may need beyond what it had: buffers of sockets are the system's.
const MOST_MEMORY: usize = 24 << 20;

/// A hash of a stream of bytes that depends on their order.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Hash(u64);

impl Hash {
    fn add(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = (self.0 ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3).rotate_left(5);
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sixty_four_mebibytes_each_way_arrive_as_they_were_in_little_memory() {
    for way in WAYS {
        let echo = Peer::echo().await;
        let front = Front::start(way, &[echo.url()], "", "").await;
        let client = front.connect().await;
        let (mut reader, mut writer) = tokio::io::split(client);
        let before = most_memory();
        let sending = tokio::spawn(async move {
            let (mut sent, mut number, mut hash) = (0, 1_usize, Hash::default());
            let mut piece = vec![0; 64 * 1024];
            while sent < SIZE {
                // Pieces of all lengths, each with another content.
                number =
                    number.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                let count = (1 + (number >> 33) % piece.len()).min(SIZE - sent);
                piece[0] = number.to_be_bytes()[0];
                piece[count - 1] = number.to_be_bytes()[1];
                hash.add(&piece[..count]);
                writer.write_all(&piece[..count]).await.expect("it is taken");
                sent += count;
            }
            writer.shutdown().await.expect("an end");
            hash
        });
        let (mut received, mut hash) = (0, Hash::default());
        let mut piece = vec![0; 64 * 1024];
        loop {
            let count = in_time("more", reader.read(&mut piece)).await.expect("bytes");
            if count == 0 {
                break;
            }
            hash.add(&piece[..count]);
            received += count;
        }
        assert_eq!((received, hash), (SIZE, sending.await.expect("sent")), "{way:?}");
        let grown = most_memory().saturating_sub(before);
        assert!(grown < MOST_MEMORY, "{way:?}: {grown} bytes more");
        let record = front.balancer.log_line().await;
        assert_eq!((&record["bytes_in"], &record["bytes_out"]), (&SIZE.into(), &SIZE.into()), "{record}");
    }
}

/// The most memory that this process has had.
fn most_memory() -> usize {
    let status = std::fs::read_to_string("/proc/self/status").expect("the system tells");
    let line = status.lines().find(|line| line.starts_with("VmHWM:")).expect("a line");
    let kilobytes: usize =
        line.split_whitespace().nth(1).and_then(|number| number.parse().ok()).expect("a number");
    kilobytes << 10
}
