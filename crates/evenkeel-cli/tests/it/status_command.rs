//! `evenkeel status` against the real program.

#![cfg(test)]

use serde_json::Value;

use crate::program::{Program, evenkeel};
use crate::support::{Backend, get};

#[tokio::test]
async fn a_command_shows_the_state_of_a_running_balancer() {
    let backend = Backend::saying("hello").await;
    let program = Program::run(&format!(
        "admin: {{ address: 127.0.0.1:0 }}\nlisteners: [{{ address: 127.0.0.1:0 }}]\nworkers: 2\n\
         upstreams: {{ web: {{ backends: [\"{}\"] }}, api: {{ backends: [\"http://127.0.0.1:1\"] }} }}\n\
         routes: [{{ name: all, upstream: web }}]\n",
        backend.url()
    ))
    .await;
    assert_eq!(get(program.address(), "/").await.text(), "hello");
    let folder = tempfile::tempdir().expect("a temporary folder");
    let admin = format!("http://{}", program.admin());
    let all = evenkeel(folder.path(), &["status", "--admin", &admin]).await;
    assert_eq!((all.code, all.err.as_str()), (Some(0), ""));
    let name = backend.url();
    for expected in [
        ": ready, up ",
        "s, 2 workers, 0 reloads applied, 0 rejected\n",
        "1 accepted\nroute all: 1 requests\n",
        "\nupstream web: mode normal, 0 requests waiting\n",
        &format!("  {name}  up          1          0         1         0\n"),
        "\nupstream api: mode normal",
    ] {
        assert!(all.out.contains(expected), "{expected:?} is not in\n{}", all.out);
    }

    let one = evenkeel(folder.path(), &["status", "web", "--admin", &admin]).await;
    let expected = format!(
        "upstream web: mode normal, 0 requests waiting\n  {:width$}  STATE  WEIGHT  IN FLIGHT  ATTEMPTS  FAILURES\n  \
         {name}  up          1          0         1         0\n",
        "BACKEND",
        width = name.len()
    );
    assert_eq!((one.code, one.out), (Some(0), expected));
    let unknown = evenkeel(folder.path(), &["status", "web2", "--admin", &admin]).await;
    assert_eq!((unknown.code, unknown.err), (Some(1), format!("error: {admin}: no upstream web2\n")));
    let json = evenkeel(folder.path(), &["status", "--json", "--admin", &admin]).await;
    let json: Value = serde_json::from_str(&json.out).expect("JSON");
    assert_eq!(json["upstreams"][0]["backends"][0]["attempts"], 1);
}
