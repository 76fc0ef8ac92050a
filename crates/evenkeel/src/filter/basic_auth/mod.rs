//! `basic_auth`: which users can send requests, by name and password (RFC 7617).
//!
//! To check a password takes tens of milliseconds of computation. So a worker never does it: the request waits, and the result is
//! remembered. It never knows where the request goes.

mod credentials;
mod hash;
mod params;
mod users;

pub use params::BasicAuthParams;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::time::Duration;

use http::HeaderValue;
use http::header::AUTHORIZATION;
use tokio::sync::Semaphore;

use super::identity::IdentityHeader;
use super::registry::{FilterError, FilterKind};
use super::watched::Watched;
use super::{BuildContext, Filter, HeaderEdit, Refusal, Rejection, Request, Verdict, Wait};
use credentials::Credentials;
use hash::PasswordHash;
use users::{Tag, Users};

/// Rejects requests without the name and password of one of its users.
#[derive(Debug)]
pub struct BasicAuthFilter {
    users: Watched<Users>,
    settings: Arc<Settings>,
    checks: Arc<Checks>,
}

/// What becomes of a request.
#[derive(Debug)]
struct Settings {
    challenge: HeaderValue,
    user_header: Option<IdentityHeader>,
    forward_credentials: bool,
}

/// The checks that run and wait.
#[derive(Debug)]
struct Checks {
    /// One for each that can run at the same time.
    permits: Arc<Semaphore>,
    waiting: AtomicUsize,
}

/// A request that waits for its check.
struct Place(Arc<Checks>);

/// What a check has found.
enum Checked {
    Right(Credentials),
    Wrong,
    /// Too many requests wait for checks.
    Full,
    /// The check panicked.
    Broken,
}

/// How many requests can wait for their check.
const MOST_WAITING: usize = 1000;

// === impl BasicAuthFilter ===

impl Filter for BasicAuthFilter {
    fn on_request(&self, request: &mut Request<'_>) -> Verdict {
        let Some(credentials) = Credentials::of(request.head) else {
            request.explain(|| "no name and password: rejected".to_owned());
            return self.settings.reject("sign in first");
        };
        let users = self.users.load();
        let tag = users.tag(&credentials);
        if users.is_known(tag) {
            return self.settings.accept(request, &credentials);
        }
        drop(users);
        let users = self.users.load_full();
        let (settings, checks) = (self.settings.clone(), self.checks.clone());
        Verdict::Wait(Wait::then(
            check(users, credentials, tag, checks),
            move |checked, request| match checked {
                Checked::Right(credentials) => settings.accept(request, &credentials),
                Checked::Wrong => settings.reject("the name or the password is wrong"),
                Checked::Full => {
                    let rejection = Rejection::status(503, "too many sign-ins at once");
                    Verdict::Refuse(rejection.retry_after(Duration::from_secs(1)).into())
                }
                Checked::Broken => Verdict::Refuse(Refusal::Internal),
            },
        ))
    }
}

impl FilterKind for BasicAuthFilter {
    const NAME: &'static str = "basic_auth";
    const EXAMPLE: &'static str =
        "basic_auth: { file: /etc/evenkeel/users, realm: staff, user_header: x-user }";
    const DOC: &'static str = "Rejects requests without the name and password of one of its users, with status 401. \
                               Use it over TLS only: clients send the password with each request.";
    type Params = BasicAuthParams;

    fn new(params: BasicAuthParams, context: &BuildContext<'_>) -> Result<Self, FilterError> {
        let mut fixed = BTreeMap::new();
        for (name, hash) in &params.users {
            let key = format!("users.{name}");
            if name.is_empty() || name.contains(':') || name.chars().any(char::is_control) {
                return Err(FilterError::secret(key, "a name without colons and control characters"));
            }
            let hash = PasswordHash::parse(hash).map_err(|expected| FilterError::secret(key, expected))?;
            fixed.insert(Box::from(name.as_str()), hash);
        }
        let users = match params.file {
            Some(path) => Watched::file(path, "users", context, move |path| Users::read(path, &fixed))
                .map_err(|problem| FilterError::new("file", format!("a file of users: {problem}")))?,
            None if fixed.is_empty() => return Err(FilterError::new("", "a file or users")),
            None => Watched::fixed(Users::new(fixed)),
        };
        let settings = Settings {
            challenge: challenge(&params.realm)?,
            user_header: params
                .user_header
                .map(|name| IdentityHeader::new(&name, "user_header"))
                .transpose()?,
            forward_credentials: params.forward_credentials,
        };
        Ok(Self { users, settings: Arc::new(settings), checks: Arc::new(Checks::new(context.workers)) })
    }
}

fn challenge(realm: &str) -> Result<HeaderValue, FilterError> {
    let expected = || FilterError::new("realm", "printable ASCII characters, without \" and \\");
    if !realm.bytes().all(|byte| matches!(byte, b' '..=b'~') && !matches!(byte, b'"' | b'\\')) {
        return Err(expected());
    }
    HeaderValue::from_str(&format!("Basic realm=\"{realm}\", charset=\"UTF-8\"")).map_err(|_| expected())
}

/// Checks credentials on another thread, a few at a time.
async fn check(
    users: Arc<Users>,
    credentials: Credentials,
    tag: Option<Tag>,
    checks: Arc<Checks>,
) -> Checked {
    let Some(place) = checks.enter() else { return Checked::Full };
    let permits = checks.permits.clone();
    let Ok(permit) = permits.acquire_owned().await else { return Checked::Broken };
    drop(place);
    // The permit goes along: the computation continues if the client disconnects.
    let work = move || {
        let _permit = permit;
        if users.check(&credentials, tag) { Checked::Right(credentials) } else { Checked::Wrong }
    };
    tokio::task::spawn_blocking(work).await.unwrap_or(Checked::Broken)
}

// === impl Settings ===

impl Settings {
    fn accept(&self, request: &mut Request<'_>, credentials: &Credentials) -> Verdict {
        request.explain(|| format!("user {}: accepted", credentials.user().escape_debug()));
        if let Some(header) = &self.user_header {
            header.write(request, HeaderValue::from_str(credentials.user()).ok());
        }
        if !self.forward_credentials {
            request.edits.danger_push(HeaderEdit::Remove(AUTHORIZATION));
        }
        Verdict::Continue
    }

    fn reject(&self, text: &'static str) -> Verdict {
        Verdict::Refuse(Rejection::unauthorized(self.challenge.clone(), text).into())
    }
}

// === impl Checks ===

impl Checks {
    /// As many at a time as there are workers: more would only take the cores from them.
    fn new(workers: usize) -> Self {
        Self { permits: Arc::new(Semaphore::new(workers.max(1))), waiting: AtomicUsize::new(0) }
    }

    fn enter(self: &Arc<Self>) -> Option<Place> {
        let place = Place(self.clone());
        (self.waiting.fetch_add(1, Relaxed) < MOST_WAITING).then_some(place)
    }
}

// === impl Place ===

impl Drop for Place {
    fn drop(&mut self) {
        self.0.waiting.fetch_sub(1, Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::{Checks, MOST_WAITING};
    use std::sync::Arc;

    #[test]
    fn only_so_many_requests_wait() {
        let checks = Arc::new(Checks::new(1));
        let places: Vec<_> = (0..MOST_WAITING).map_while(|_| checks.enter()).collect();
        assert_eq!(places.len(), MOST_WAITING);
        assert!(checks.enter().is_none());
        drop(places);
        assert!(checks.enter().is_some());
    }
}
