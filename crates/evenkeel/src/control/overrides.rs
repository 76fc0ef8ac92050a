//! What was changed at run time: how an upstream's backends differ from its configuration and its source.
//!
//! It never knows health, nor who publishes the result.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::SystemTime;

use evenkeel_config::{Backend, BackendHost, BackendUrl};

use super::backend_change::{BackendUpdate, Change, ChangeError, WeightUpdate};

/// The differences of one upstream, by the address of the backend. They stay when the set is replaced.
#[derive(Clone, Debug, Default)]
pub(super) struct Overrides {
    by_address: HashMap<Identity, Override>,
    /// Counts differences, so that added backends stay in the order in which they were added.
    sequence: u64,
}

/// How one backend differs from what the configuration or the source says.
#[derive(Clone, Debug)]
pub(super) struct Override {
    /// Its URL, as it was known when it was changed.
    pub(super) url: BackendUrl,
    /// It gets no new requests.
    pub(super) drained: bool,
    /// Its weight while it is not drained; `None` for the one that it has anyway.
    pub(super) weight: Option<u32>,
    /// It was added: neither the configuration nor the source had it.
    pub(super) added: Option<Backend>,
    /// It is not used, although the configuration or the source has it.
    pub(super) removed: bool,
    /// Its weight without this; `None` while no one but this names it.
    pub(super) given_weight: Option<u32>,
    /// Who made the last change.
    pub(super) by: Arc<str>,
    /// When the last change was made.
    pub(super) at: SystemTime,
    sequence: u64,
}

/// Who changes something, and when.
#[derive(Clone, Debug)]
pub(super) struct Author {
    pub(super) by: Arc<str>,
    pub(super) at: SystemTime,
}

/// What makes a backend the same one.
type Identity = (bool, BackendHost);

// === impl Overrides ===

impl Overrides {
    /// Whether the set is as the configuration and the source say.
    pub(super) fn is_empty(&self) -> bool {
        self.by_address.is_empty()
    }

    /// Whether these are the same differences, by any author.
    pub(super) fn is_same(&self, other: &Self) -> bool {
        let same = |(identity, one): (&Identity, &Override)| {
            other.by_address.get(identity).is_some_and(|other| one.is_same(other))
        };
        self.by_address.len() == other.by_address.len() && self.by_address.iter().all(same)
    }

    /// The differences, in the order in which they were made.
    pub(super) fn list(&self) -> Arc<[Override]> {
        let mut all: Vec<_> = self.by_address.values().cloned().collect();
        all.sort_unstable_by_key(|one| one.sequence);
        all.into()
    }

    /// A set with the differences.
    pub(super) fn on(&mut self, given: &[Backend]) -> Vec<Backend> {
        self.by_address.values_mut().for_each(|one| one.given_weight = None);
        let mut set = Vec::with_capacity(given.len());
        for backend in given {
            let Some(one) = self.by_address.get_mut(&identity(&backend.url)) else {
                set.push(backend.clone());
                continue;
            };
            one.given_weight.get_or_insert(backend.weight);
            if !one.removed {
                set.push(one.applied_to(backend));
            }
        }
        let mut added: Vec<_> = self.by_address.values().filter(|one| one.given_weight.is_none()).collect();
        added.sort_unstable_by_key(|one| one.sequence);
        set.extend(added.into_iter().filter_map(|one| Some(one.applied_to(one.added.as_ref()?))));
        set
    }

    /// Makes a change to a set that was given. Returns the URL of the backend that is meant, empty for all of them.
    ///
    /// # Errors
    /// When there is no such backend, or when it is there already. Nothing has changed then.
    pub(super) fn change(
        &mut self,
        given: &[Backend],
        change: Change,
        author: &Author,
    ) -> Result<String, ChangeError> {
        match change {
            Change::Add(backend) => self.add(given, backend, author),
            Change::Update(name, update) => {
                let url = self.find(given, &name)?;
                let one = self.entry(&url, author);
                one.update(&update);
                self.forget_if_same(&url);
                Ok(url.text)
            }
            Change::Remove(name) => {
                let url = self.find(given, &name)?;
                if given.iter().any(|one| identity(&one.url) == identity(&url)) {
                    self.entry(&url, author).removed = true;
                } else {
                    self.by_address.remove(&identity(&url));
                }
                Ok(url.text)
            }
            Change::Reset => {
                self.by_address.clear();
                Ok(String::new())
            }
        }
    }

    /// Adds a backend. A removed one that was given returns as it was given, with the weight of the new one.
    fn add(&mut self, given: &[Backend], backend: Backend, author: &Author) -> Result<String, ChangeError> {
        let key = identity(&backend.url);
        let known = given.iter().find(|one| identity(&one.url) == key);
        let removed = self.by_address.get(&key).is_some_and(|one| one.removed);
        match known {
            Some(known) if removed => {
                let one = self.entry(&known.url, author);
                one.removed = false;
                one.drained = false;
                one.weight = (backend.weight != known.weight).then_some(backend.weight);
                self.forget_if_same(&known.url);
                Ok(known.url.text.clone())
            }
            Some(known) => Err(ChangeError::Exists(known.url.text.clone())),
            None if self.by_address.get(&key).is_some_and(|one| one.added.is_some()) => {
                Err(ChangeError::Exists(backend.url.text))
            }
            None => {
                let url = backend.url.clone();
                let one = self.entry(&url, author);
                (one.added, one.removed, one.drained, one.weight) = (Some(backend), false, false, None);
                Ok(url.text)
            }
        }
    }

    /// The URL of the backend that is meant: by its URL, or by `host:port` where only one backend has that.
    fn find(&self, given: &[Backend], name: &str) -> Result<BackendUrl, ChangeError> {
        let with_scheme = |scheme: &str| BackendUrl::parse(&format!("{scheme}{name}")).ok();
        let wanted: Vec<Identity> = match name.contains(':') && name.contains("//") {
            true => with_scheme("").iter().map(identity).collect(),
            false => ["http://", "https://"]
                .into_iter()
                .filter_map(with_scheme)
                .map(|url| identity(&url))
                .collect(),
        };
        let mut found: Option<&BackendUrl> = None;
        let urls = given.iter().map(|one| &one.url).chain(self.by_address.values().map(|one| &one.url));
        for url in urls {
            let matches = url.text == name || wanted.contains(&identity(url));
            match found {
                Some(other) if matches && identity(other) != identity(url) => {
                    return Err(ChangeError::Ambiguous(name.to_owned()));
                }
                None if matches => found = Some(url),
                _ => {}
            }
        }
        found.cloned().ok_or_else(|| ChangeError::UnknownBackend(name.to_owned()))
    }

    /// The difference of a backend, which begins without one. It has a new author.
    fn entry(&mut self, url: &BackendUrl, author: &Author) -> &mut Override {
        self.sequence += 1;
        let fresh = Override {
            url: url.clone(),
            drained: false,
            weight: None,
            added: None,
            removed: false,
            given_weight: None,
            by: author.by.clone(),
            at: author.at,
            sequence: self.sequence,
        };
        let one = self.by_address.entry(identity(url)).or_insert(fresh);
        (one.by, one.at) = (author.by.clone(), author.at);
        one
    }

    /// Drops a difference that makes none any more.
    fn forget_if_same(&mut self, url: &BackendUrl) {
        let same =
            |one: &Override| !one.drained && !one.removed && one.weight.is_none() && one.added.is_none();
        if self.by_address.get(&identity(url)).is_some_and(same) {
            self.by_address.remove(&identity(url));
        }
    }
}

// === impl Override ===

impl Override {
    /// Whether it makes a difference now. It makes none while no source and no configuration names the backend.
    pub(super) fn is_in_effect(&self) -> bool {
        self.given_weight.is_some() || self.added.is_some()
    }

    fn is_same(&self, other: &Self) -> bool {
        (self.drained, self.removed, self.weight, &self.added)
            == (other.drained, other.removed, other.weight, &other.added)
    }

    fn update(&mut self, update: &BackendUpdate) {
        if let Some(drained) = update.drained {
            self.drained = drained;
        }
        match update.weight {
            Some(WeightUpdate::To(weight)) => self.weight = Some(weight),
            Some(WeightUpdate::AsGiven) => self.weight = None,
            None => {}
        }
    }

    fn applied_to(&self, backend: &Backend) -> Backend {
        let mut backend = backend.clone();
        backend.weight = if self.drained { 0 } else { self.weight.unwrap_or(backend.weight) };
        backend
    }
}

fn identity(url: &BackendUrl) -> Identity {
    (url.tls, url.host.clone())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn backend(url: &str) -> Backend {
        Backend::new(BackendUrl::parse(url).unwrap())
    }

    fn weighted(url: &str, weight: u32) -> Backend {
        let mut backend = backend(url);
        backend.weight = weight;
        backend
    }

    fn author() -> Author {
        Author { by: "test".into(), at: SystemTime::UNIX_EPOCH }
    }

    fn drained(yes: bool) -> BackendUpdate {
        BackendUpdate { drained: Some(yes), weight: None }
    }

    fn weight(weight: WeightUpdate) -> BackendUpdate {
        BackendUpdate { drained: None, weight: Some(weight) }
    }

    fn shown(overrides: &mut Overrides, given: &[Backend]) -> String {
        let set = overrides.on(given);
        set.iter().map(|one| format!("{}={}", one.url.text, one.weight)).collect::<Vec<_>>().join(" ")
    }

    /// Applies changes one after the other, and shows the set.
    fn after(given: &[Backend], changes: Vec<Change>) -> String {
        let mut overrides = Overrides::default();
        for change in changes {
            overrides.change(given, change, &author()).unwrap();
        }
        shown(&mut overrides, given)
    }

    #[test]
    fn changes_of_different_fields_lose_nothing_in_any_order() {
        let given = [backend("http://a:1"), backend("http://b:1")];
        let drain = || Change::Update("http://a:1".to_owned(), drained(true));
        let heavy = || Change::Update("http://a:1".to_owned(), weight(WeightUpdate::To(7)));
        let add = || Change::Add(backend("http://c:1"));
        let undrain = || Change::Update("a:1".to_owned(), drained(false));
        for changes in [vec![drain(), heavy(), add()], vec![add(), heavy(), drain()]] {
            assert_eq!(after(&given, changes), "http://a:1=0 http://b:1=1 http://c:1=1");
        }
        assert_eq!(after(&given, vec![drain(), heavy(), undrain()]), "http://a:1=7 http://b:1=1");
    }

    #[test]
    fn a_difference_outlives_the_set() {
        let (a, b) = (backend("http://a:1"), backend("http://b:1"));
        let mut overrides = Overrides::default();
        let given = [a.clone(), b.clone()];
        overrides.change(&given, Change::Update("http://a:1".to_owned(), drained(true)), &author()).unwrap();
        overrides.change(&given, Change::Remove("http://b:1".to_owned()), &author()).unwrap();
        assert_eq!(shown(&mut overrides, &given), "http://a:1=0");
        assert_eq!(shown(&mut overrides, &[backend("http://c:1")]), "http://c:1=1");
        assert!(overrides.list().iter().all(|one| !one.is_in_effect()));
        assert_eq!(shown(&mut overrides, &[b, a]), "http://a:1=0");
        overrides.change(&given, Change::Reset, &author()).unwrap();
        assert_eq!(shown(&mut overrides, &given), "http://a:1=1 http://b:1=1");
    }

    #[test]
    fn what_is_added_can_be_removed_and_what_is_removed_can_be_added() {
        let given = [backend("http://a:1")];
        let c = || Change::Add(backend("http://c:1"));
        assert_eq!(after(&given, vec![c(), Change::Remove("c:1".to_owned())]), "http://a:1=1");
        let again = Change::Add(weighted("http://a:1", 3));
        assert_eq!(after(&given, vec![Change::Remove("a:1".to_owned()), again]), "http://a:1=3");
        let mut overrides = Overrides::default();
        overrides.change(&given, c(), &author()).unwrap();
        let twice = overrides.change(&given, c(), &author()).unwrap_err();
        assert!(matches!(twice, ChangeError::Exists(_)), "{twice}");
        // The source names it as well: the source says how it is.
        let named = [backend("http://a:1"), weighted("http://c:1", 9)];
        assert_eq!(shown(&mut overrides, &named), "http://a:1=1 http://c:1=9");
    }

    #[test]
    fn a_difference_that_is_taken_back_is_none() {
        let given = [backend("http://a:1")];
        let mut overrides = Overrides::default();
        let to = |update| Change::Update("http://a:1".to_owned(), update);
        for update in
            [drained(true), weight(WeightUpdate::To(3)), weight(WeightUpdate::AsGiven), drained(false)]
        {
            overrides.change(&given, to(update), &author()).unwrap();
        }
        assert!(overrides.is_empty());
    }

    #[test]
    fn a_backend_is_found_by_its_url_or_its_host_and_port() {
        let given =
            [backend("http://a:1"), backend("https://a:1"), backend("http://b"), backend("http+unix:/x")];
        let overrides = Overrides::default();
        let found =
            |name: &str| overrides.find(&given, name).map(|url| url.text).map_err(|error| error.to_string());
        assert_eq!(found("https://a:1").unwrap(), "https://a:1");
        assert_eq!(found("http://b:80").unwrap(), "http://b");
        assert_eq!(found("b:80").unwrap(), "http://b");
        assert_eq!(found("http+unix:/x").unwrap(), "http+unix:/x");
        assert!(found("a:1").unwrap_err().contains("more than one backend"));
        assert!(found("c:1").unwrap_err().contains("no backend"));
    }
}
