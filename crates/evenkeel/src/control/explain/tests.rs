//! What is said of backends, and of requests that no backend gets.

use std::num::NonZeroU32;
use std::time::{Duration, Instant};

use evenkeel_config::{Config, Model};
use evenkeel_core::backend::Lease;
use evenkeel_core::balance::{HashKey, HashOptions, LoadBalancingAlgorithm};
use evenkeel_core::health::{Choice, Mode, State};

use super::super::extensions::Extensions;
use super::super::keeper::members;
use super::super::plan::Plan;
use super::{Basis, ChoiceExplanation, Described, Explanation, Outcome, VerdictKind};
use crate::probe::{self, ProbeFailure};
use crate::upstream::moment_of;

/// Four backends behind one upstream, the last of weight 0.
const FOUR: &str = "\
listeners: [{ address: 127.0.0.1:0 }]
upstreams:
  web:
    algorithm: least_connections
    backends: [\"http://127.0.0.1:1\", \"http://127.0.0.1:2\", \"http://127.0.0.1:3\", { url: \"http://127.0.0.1:4\", weight: 0 }]
";

fn model(yaml: &str) -> Model {
    Model::clone(Config::from_yaml(yaml, "test.yaml", &|_| None).unwrap().model().unwrap())
}

async fn plan(model: &Model) -> Plan {
    let extensions = Extensions::default();
    Plan::new(model, &extensions, 1).await.unwrap()
}

fn get(url: &str) -> Described {
    Described::new("GET", url).unwrap()
}

/// Why each backend of the only upstream is left out; empty for a candidate.
fn left_out(said: &Explanation) -> Vec<&str> {
    said.upstreams[0].backends.iter().map(|backend| backend.left_out.as_deref().unwrap_or_default()).collect()
}

/// The only upstream's choice: the end of a backend's name, or the reason of a refusal.
fn chosen(said: &Explanation) -> &str {
    match &said.upstreams[0].choice {
        ChoiceExplanation::Backend { name, .. } => &name[name.len() - 1..],
        ChoiceExplanation::Wait { .. } => "wait",
        ChoiceExplanation::Refusal(refused) => &refused.reason,
    }
}

#[tokio::test]
async fn another_priority_and_another_zone_are_told() {
    let mut model = model(FOUR);
    model.zone = Some("here".to_owned());
    let backends = &mut model.upstreams[0].backends;
    backends[0].zone = Some("there".to_owned());
    backends[1].zone = Some("here".to_owned());
    backends[2].priority = 1;
    let said = plan(&model).await.explain(&get("http://a.test/"));
    assert_eq!(left_out(&said), ["in another zone", "", "priority 1: 0 is in use", "weight 0"]);
    assert_eq!(chosen(&said), "2");
    assert!(!said.live && said.refusal().is_none());
}

#[tokio::test]
async fn what_probes_and_traffic_found_is_told() {
    let plan = plan(&model(FOUR)).await;
    let (upstream, board) = (&plan.table.upstreams[0], &plan.keepers[0].board);
    let until = moment_of(Instant::now()).after(Duration::from_millis(9_950));
    let states = [State::Down, State::Ejected { until }, State::Starting { share: 0.25 }, State::Out];
    let set = &plan.keepers[0].set;
    let ids: Vec<_> = set.iter().map(|endpoint| endpoint.id).collect();
    let publish = |chosen: &[(usize, u32)], mode| {
        let chosen = chosen.iter().map(|&(index, weight)| (ids[index], weight)).collect();
        let choice = Choice { members: chosen, others: Vec::new(), mode, next: None };
        let current = upstream.members.load();
        upstream.publish(members(set, current.roster.clone(), &choice, current.balancer.clone()));
        let grays = [false, true, false, false];
        board.stands(mode, (0..4).map(|index| (ids[index], states[index], grays[index])));
    };
    publish(&[(2, 250)], Mode::Normal);
    let said = plan.explain(&get("http://a.test/"));
    assert_eq!(left_out(&said)[0], "down: no probe has passed yet");
    assert!(left_out(&said)[1].starts_with("ejected for 9."), "{:?}", left_out(&said));
    let gray: Vec<bool> = said.upstreams[0].backends.iter().map(|backend| backend.gray).collect();
    assert_eq!(gray, [false, true, false, false]);
    assert_eq!(said.upstreams[0].backends[2].starting_share, Some(0.25));
    assert_eq!(chosen(&said), "3");

    let failed = Err(ProbeFailure::Status(500));
    board.probed(
        ids[0],
        &probe::Outcome { at: Instant::now(), took: Duration::ZERO, result: failed, requested: true },
    );
    publish(&[], Mode::Refuse);
    let said = plan.explain(&get("http://a.test/"));
    assert_eq!(left_out(&said)[0], "down: status 500");
    assert_eq!((said.upstreams[0].mode.as_str(), chosen(&said)), ("refuse", "no_backend"));
    assert_eq!(said.refusal().unwrap().status, 503);

    publish(&[(0, 1), (1, 1), (2, 1)], Mode::FailOpen);
    let said = plan.explain(&get("http://a.test/"));
    assert_eq!(left_out(&said), ["", "", "", "weight 0"]);
    assert_eq!(said.upstreams[0].mode, "fail_open");
}

#[tokio::test]
async fn a_full_backend_is_passed_over_and_all_of_them_make_wait() {
    let mut model = model(FOUR);
    model.upstreams[0].limits.max_connections = NonZeroU32::new(1);
    model.upstreams[0].limits.queue.max_pending = 1;
    let plan = plan(&model).await;
    let members = plan.table.upstreams[0].members.load_full();
    let all = &members.roster;
    let mut leases = vec![Lease::new(all[0].backend.clone()), Lease::new(all[1].backend.clone())];
    let said = plan.explain(&get("http://a.test/"));
    let full = "full: 1 of 1 in flight";
    assert_eq!(left_out(&said), [full, full, "", "weight 0"]);
    assert_eq!(
        said.upstreams[0].backends.iter().map(|one| one.score).collect::<Vec<_>>()[..2],
        [Some(1.0); 2]
    );
    assert_eq!(chosen(&said), "3");
    assert_eq!(all[2].backend.counters().attempts(), 0, "no attempt was made");
    leases.push(Lease::new(all[2].backend.clone()));
    let said = plan.explain(&get("http://a.test/"));
    assert_eq!(chosen(&said), "wait");
    assert_eq!(said.refusal(), None);
    model.upstreams[0].limits.queue.max_pending = 0;
    let plan = self::plan(&model).await;
    let _leases: Vec<_> = plan.table.upstreams[0]
        .members
        .load()
        .roster
        .iter()
        .map(|one| Lease::new(one.backend.clone()))
        .collect();
    let said = plan.explain(&get("http://a.test/"));
    assert_eq!((chosen(&said), said.refusal().unwrap().status), ("overloaded", 503));
}

#[tokio::test]
async fn a_key_is_told_with_what_was_hashed() {
    for (key, value, name) in [
        (HashKey::Header("x-user".into()), Some("al"), "header x-user"),
        (HashKey::Cookie("u".into()), Some("bo"), "cookie u"),
        (HashKey::Query("q".into()), Some("a b"), "query q"),
        (HashKey::Path, Some("/x"), "path"),
        (HashKey::ClientIp, None, "client_ip"),
        (HashKey::Header("x-none".into()), None, "header x-none"),
    ] {
        let mut model = model(FOUR);
        model.upstreams[0].algorithm = LoadBalancingAlgorithm::Maglev(HashOptions { key });
        let request = get("http://a.test/x?q=a+b").with_header("x-user: al").unwrap();
        let said = plan(&model).await.explain(&request.with_header("cookie: a=1; u=bo").unwrap());
        let hash = said.upstreams[0].hash.as_ref().unwrap();
        assert_eq!((hash.value.as_deref(), &*hash.key), (value, name));
        assert!(matches!(said.upstreams[0].choice, ChoiceExplanation::Backend { by: Basis::Hash, .. }));
        assert_ne!(hash.hash, "0000000000000000");
    }
}

#[tokio::test]
async fn routes_filters_and_ends_are_told() {
    let model = model(
        "listeners: [{ address: 127.0.0.1:0 }]
routes:
  - { name: fixed, match: { path: /fixed }, respond: { status: 204 } }
  - { name: bad, match: { path: /bad }, filters: [{ rewrite_path: { from: ^/bad$, to: bad } }], upstream: web }
  - name: v1
    match: { path_prefix: /v1, hosts: [a.test] }
    filters: [{ strip_prefix: /v1 }, { request_headers: { set: { x-a: s }, add: { x-b: s }, remove: [x-c] } }]
    split: { web: 3, other: 1, none: 0 }
upstreams:
  web: { backends: [\"http://127.0.0.1:1\"] }
  other: { backends: [\"http://127.0.0.1:2\"] }
  none: { backends: [\"http://127.0.0.1:3\"] }
",
    );
    let plan = plan(&model).await;
    let said = plan.explain(&get("http://a.test/v1/x?y"));
    let passed: Vec<_> =
        said.passed_over.iter().map(|one| format!("{}: {}", one.route, one.reason)).collect();
    assert_eq!(passed, ["fixed: path: /v1/x is not /fixed", "bad: path: /v1/x is not /bad"]);
    assert_eq!((said.route.as_deref(), said.target.as_deref()), (Some("v1"), Some("/x?y")));
    assert_eq!(said.filters[0].path.as_deref(), Some("/x"));
    let headers = &said.filters[1];
    assert_eq!((&headers.set[0][..], &headers.added[0][..], &headers.removed[0][..]), ("x-a", "x-b", "x-c"));
    let shares: Vec<_> = said.upstreams.iter().map(|one| (one.name.as_str(), one.share)).collect();
    assert_eq!(shares, [("web", Some(0.75)), ("other", Some(0.25))]);

    let said = plan.explain(&get("http://a.test/bad"));
    assert_eq!(said.filters[0].verdict, VerdictKind::Refuse);
    assert_eq!((said.refusal().unwrap().status, said.upstreams.len()), (400, 0));
    let said = plan.explain(&get("http://a.test/fixed"));
    assert_eq!(said.outcome, Outcome::Answer { status: 204, location: None });
    let said = plan.explain(&get("http://b.test/v1"));
    assert_eq!((said.route.clone(), said.passed_over.len()), (None, 3));
    assert_eq!(said.refusal().unwrap().reason, "no_route");
    let said = plan.explain(&Described::new("CONNECT", "http://a.test/v1").unwrap());
    assert_eq!(said.refusal().unwrap().status, 405);
}
