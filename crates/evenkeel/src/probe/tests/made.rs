//! Probes that cannot be made, and checks of the user's own.

use std::pin::Pin;

use super::super::Check;
use super::*;

/// Follows a script.
#[derive(Debug)]
enum Mine {
    Well,
    Ill(String),
    Panics,
    Hangs,
}

impl Check for Mine {
    fn check<'a>(
        &'a self,
        target: &'a Target,
    ) -> Pin<Box<dyn Future<Output = Result<(), String>> + Send + 'a>> {
        Box::pin(async move {
            assert_eq!(target.url, "http://127.0.0.1:1");
            match self {
                Self::Well => Ok(()),
                Self::Ill(reason) => Err(reason.clone()),
                Self::Panics => panic!("on purpose"),
                Self::Hangs => std::future::pending().await,
            }
        })
    }
}

fn somewhere() -> Target {
    target("127.0.0.1:1".parse().expect("an address"))
}

fn mine(check: Mine, timeout: Duration) -> Probe {
    let kind = HealthCheckKind::Custom(CustomExtension::Named("mine".to_owned()));
    Probe::new(&self::check(kind, timeout), somewhere(), Some(Arc::new(check))).expect("a probe")
}

fn error(kind: HealthCheckKind, target: Target) -> ProbeError {
    Probe::new(&check(kind, PATIENT), target, None).expect_err("no probe")
}

#[tokio::test]
async fn a_check_of_ones_own_is_run() {
    assert_eq!(mine(Mine::Well, PATIENT).run().await, Ok(()));
    assert_eq!(reason(&mine(Mine::Ill("disk full".to_owned()), PATIENT)).await, "disk full");
    let long = reason(&mine(Mine::Ill("a\nb".repeat(1000)), PATIENT)).await;
    assert!(long.starts_with("a ba b") && long.chars().count() == 161, "{long}");
}

#[tokio::test]
async fn a_check_that_panics_or_hangs_fails() {
    assert_eq!(reason(&mine(Mine::Panics, PATIENT)).await, "the check panicked");
    assert_eq!(reason(&mine(Mine::Hangs, SHORT)).await, "no response within 200ms");
}

#[test]
fn a_probe_may_run_on_any_thread() {
    fn assert<T: Send>(_: &T) {}
    let probe = probe(HealthCheckKind::Tcp, somewhere(), PATIENT);
    assert(&probe);
    assert(&probe.run());
    let load = super::super::LoadProbe::new(&somewhere(), "/", PATIENT).expect("a probe");
    assert(&load.ask());
    assert(&super::super::watch(probe, PATIENT, |_| {}));
}

#[test]
fn what_cannot_be_asked_is_an_error() {
    let unknown = HealthCheckKind::Custom(CustomExtension::Named("mine".to_owned()));
    assert_eq!(error(unknown, somewhere()).to_string(), "no check named `mine` is registered");
    assert_eq!(
        error(HealthCheckKind::Tls, somewhere()).to_string(),
        "a TLS check cannot be used for `http://127.0.0.1:1`, which is not https"
    );
    let mut with_port = check(HealthCheckKind::Tcp, PATIENT);
    with_port.port = Some(1);
    let unix =
        Target { address: Address::Unix("/nowhere".into()), url: "unix:/nowhere".into(), ..somewhere() };
    let no_port = Probe::new(&with_port, unix, None).expect_err("no probe");
    assert_eq!(no_port.to_string(), "`port` cannot be used with `unix:/nowhere`, which has no ports");
}

#[test]
fn a_request_that_cannot_be_sent_is_an_error() {
    let told = |edit: fn(&mut HttpCheck)| error(http(edit), somewhere()).to_string();
    assert_eq!(told(|check| check.method = "GE T".to_owned()), "`GE T` is not a method");
    assert_eq!(told(|check| check.path = "healthz".to_owned()), "`healthz` is not a path");
    assert_eq!(told(|check| check.path = "/a b".to_owned()), "`/a b` is not a path");
    assert_eq!(told(|check| check.host = Some("a\nb".to_owned())), "`a\nb` is not a host");
    for name in ["content-length", "transfer-encoding", "a b"] {
        let kind = http(|check| check.headers = vec![(name.to_owned(), "1".to_owned())]);
        let expected = format!("`{name}` is not a header field of a request without a body");
        assert_eq!(error(kind, somewhere()).to_string(), expected);
    }
    let host = Target { host: "a b".to_owned(), ..somewhere() };
    assert_eq!(error(grpc(""), host).to_string(), "`a b` is not a host");
}

#[test]
fn authorities_and_names_are_looked_at() {
    let address = "127.0.0.1:1".parse().expect("an address");
    let told = |name: &str, ca: Vec<Vec<u8>>| {
        error(HealthCheckKind::Tls, over_tls(address, name, Some(ca.into()))).to_string()
    };
    assert!(told("a.test", vec![b"garbage".to_vec()]).starts_with("certificate authorities: "));
    assert_eq!(told("a.test", vec![]), "certificate authorities: there are none");
    let pair = certified("a.test", |_| {});
    assert_eq!(told("a b", pair.authority.to_vec()), "`a b` is not a name for TLS");
}
