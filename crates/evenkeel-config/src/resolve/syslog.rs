//! Where a server of syslog is, and what records are marked with.

use std::path::PathBuf;

use super::Context;
use crate::suggest::closest;
use crate::wire;
use crate::yaml::Path;
use crate::{SyslogTarget, SyslogTransport};

/// The facilities, by number (RFC 5424, 6.2.1); those without a common name cannot be used.
const FACILITIES: [(&str, u8); 20] = [
    ("kern", 0),
    ("user", 1),
    ("mail", 2),
    ("daemon", 3),
    ("auth", 4),
    ("syslog", 5),
    ("lpr", 6),
    ("news", 7),
    ("uucp", 8),
    ("cron", 9),
    ("authpriv", 10),
    ("ftp", 11),
    ("local0", 16),
    ("local1", 17),
    ("local2", 18),
    ("local3", 19),
    ("local4", 20),
    ("local5", 21),
    ("local6", 22),
    ("local7", 23),
];

/// The longest name of a program (RFC 5424, 6).
const LONGEST_TAG: usize = 48;

/// A server of syslog; `server` is what is behind the word `syslog` in `access_log.to`.
pub(super) fn target(
    server: &str,
    log: &wire::AccessLog,
    path: &Path,
    context: &mut Context<'_>,
) -> Option<SyslogTarget> {
    let transport = transport(server);
    if transport.is_none() {
        let message = "is not a server of syslog: expected syslog+unix:/dev/log, syslog+udp://host:514 or \
                       syslog+tcp://host:601";
        let meant = server.trim_start_matches([':', '/']);
        let meant = (!meant.is_empty()).then(|| format!("syslog+udp://{meant}"));
        context.wrong(&path.key("to"), &log.to, message).suggestion =
            meant.filter(|meant| self::transport(meant.trim_start_matches("syslog")).is_some());
    }
    let path = path.key("syslog");
    let facility =
        FACILITIES.iter().find(|(name, _)| *name == log.syslog.facility).map(|(_, number)| *number);
    if facility.is_none() {
        let names = FACILITIES.iter().map(|(name, _)| *name);
        let message = "is not a facility: expected one like local0, daemon or user";
        context.wrong(&path.key("facility"), &log.syslog.facility, message).suggestion =
            closest(&log.syslog.facility, names).map(str::to_owned);
    }
    let tag = &log.syslog.tag;
    let is_tag = (1..=LONGEST_TAG).contains(&tag.len()) && tag.bytes().all(|byte| byte.is_ascii_graphic());
    if !is_tag {
        context.wrong(
            &path.key("tag"),
            tag,
            "is not a tag: expected 1 to 48 ASCII characters without spaces",
        );
    }
    Some(SyslogTarget { transport: transport?, facility: facility?, tag: is_tag.then(|| tag.clone())? })
}

fn transport(server: &str) -> Option<SyslogTransport> {
    if let Some(path) = server.strip_prefix("+unix:") {
        return path.starts_with('/').then(|| SyslogTransport::Unix(PathBuf::from(path)));
    }
    let (is_tcp, address) = match (server.strip_prefix("+udp://"), server.strip_prefix("+tcp://")) {
        (Some(address), _) => (false, address),
        (_, Some(address)) => (true, address),
        _ => return None,
    };
    let (host, port) = match address.rsplit_once(':') {
        Some((host, port)) if !port.ends_with(']') => (host, port.parse().ok().filter(|port| *port > 0)?),
        _ => (address, if is_tcp { 601 } else { 514 }),
    };
    let host = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
    let is_host =
        !host.is_empty() && host.bytes().all(|byte| byte.is_ascii_alphanumeric() || b".-_:".contains(&byte));
    is_host.then(|| match is_tcp {
        true => SyslogTransport::Tcp(host.to_owned(), port),
        false => SyslogTransport::Udp(host.to_owned(), port),
    })
}

#[cfg(test)]
mod tests {
    use super::{SyslogTransport, transport};

    #[test]
    fn a_server_is_a_socket_or_a_host_and_port() {
        let udp = |host: &str, port| Some(SyslogTransport::Udp(host.to_owned(), port));
        let tcp = |host: &str, port| Some(SyslogTransport::Tcp(host.to_owned(), port));
        for (text, expected) in [
            ("+unix:/dev/log", Some(SyslogTransport::Unix("/dev/log".into()))),
            ("+udp://127.0.0.1:5514", udp("127.0.0.1", 5514)),
            ("+udp://log.internal", udp("log.internal", 514)),
            ("+tcp://[2001:db8::1]:601", tcp("2001:db8::1", 601)),
            ("+tcp://[2001:db8::1]", tcp("2001:db8::1", 601)),
            ("+unix:dev/log", None),
            ("+udp://", None),
            ("+udp://a:0", None),
            ("+tcp://a b", None),
            ("://a", None),
            ("", None),
        ] {
            assert_eq!(transport(text), expected, "{text}");
        }
    }
}
