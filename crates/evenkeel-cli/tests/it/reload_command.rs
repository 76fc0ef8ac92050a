//! `evenkeel reload` against the real program.

#![cfg(test)]

use crate::life::before;
use crate::program::{Program, evenkeel, evenkeel_given};
use crate::support::{Backend, get};

#[tokio::test]
async fn a_command_reloads_a_running_balancer() {
    let (old, new) = (Backend::saying("old").await, Backend::saying("new").await);
    let program = before(&old, "").await;
    let folder = tempfile::tempdir().expect("a temporary folder");
    let admin = format!("http://{}", program.admin());
    let file = program.file("evenkeel.yaml");
    let text = std::fs::read_to_string(&file).expect("the configuration");
    std::fs::write(&file, text.replace(&old.url(), &new.url())).expect("it can be written");
    let changes =
        format!("upstream web: backend {} added\nupstream web: backend {} removed\n", new.url(), old.url());

    let planned = evenkeel(folder.path(), &["reload", "--admin", &admin, "--dry-run"]).await;
    assert_eq!((planned.code, planned.out, planned.err), (Some(0), changes.clone(), String::new()));
    assert_eq!(get(program.address(), "/").await.text(), "old", "a dry run changes nothing");

    // The address comes from a configuration.
    let here = format!("{text}\n").replace("127.0.0.1:0", "127.0.0.1:1");
    let here =
        here.replace("admin: { address: 127.0.0.1:1", &format!("admin: {{ address: \"{}\"", program.admin()));
    assert!(here.contains(&program.admin().to_string()), "{here}");
    std::fs::write(folder.path().join("evenkeel.yaml"), here).expect("a file");
    let applied = evenkeel(folder.path(), &["reload"]).await;
    assert_eq!((applied.code, applied.out, applied.err), (Some(0), changes, String::new()));
    assert_eq!(get(program.address(), "/").await.text(), "new");

    std::fs::write(&file, format!("{text}\nlistners: []\n")).expect("it can be written");
    let checked = evenkeel(file.parent().expect("a folder"), &["check"]).await;
    for arguments in [&["reload", "--admin", &admin][..], &["reload", "--admin", &admin, "--dry-run"]] {
        let said = evenkeel(folder.path(), arguments).await;
        assert_eq!((said.code, said.out.as_str(), &said.err), (Some(1), "", &checked.err));
    }
    assert_eq!(get(program.address(), "/").await.text(), "new");
}

#[tokio::test]
async fn a_reload_needs_the_token_and_a_balancer() {
    const TOKEN: &str = "0123456789abcdef-token";
    let yaml = format!(
        "admin: {{ address: 127.0.0.1:0, token: {TOKEN} }}\nlisteners: [{{ address: 127.0.0.1:0 }}]\n\
         upstreams: {{ web: {{ backends: [\"http://127.0.0.1:1\"] }} }}\n"
    );
    let program = Program::run(&yaml).await;
    let folder = tempfile::tempdir().expect("a temporary folder");
    let admin = format!("http://{}", program.admin());
    let reload = ["reload", "--admin", &admin];
    let said = evenkeel(folder.path(), &reload).await;
    let expected = format!("error: {admin}: a token is needed: --token-file FILE or EVENKEEL_ADMIN_TOKEN\n");
    assert_eq!((said.code, said.err), (Some(1), expected));
    std::fs::write(folder.path().join("token"), TOKEN).expect("a file");
    let said = evenkeel(folder.path(), &[&reload[..], &["--token-file", "token"]].concat()).await;
    assert_eq!((said.code, said.err.as_str()), (Some(0), ""));
    // A configuration with the address has the token too.
    let address = format!("address: \"{}\"", program.admin());
    let text = yaml.replace("admin: { address: 127.0.0.1:0", &format!("admin: {{ {address}"));
    assert_ne!(text, yaml);
    std::fs::write(folder.path().join("evenkeel.yaml"), text).expect("a file");
    let said = evenkeel(folder.path(), &["reload"]).await;
    assert_eq!((said.code, said.err.as_str()), (Some(0), ""));
    let said = evenkeel_given(folder.path(), &reload, "", &[("EVENKEEL_ADMIN_TOKEN", TOKEN)]).await;
    assert_eq!((said.code, said.err.as_str()), (Some(0), ""));

    let unused = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let closed = unused.local_addr().expect("an address").to_string();
    drop(unused);
    let said = evenkeel(folder.path(), &["reload", "--admin", &closed]).await;
    assert!(said.code == Some(3) && said.err.starts_with(&format!("error: {closed}: ")), "{said:?}");
    let said = evenkeel_given(folder.path(), &["reload", "-c", "-"], &yaml, &[]).await;
    let expected =
        "error: the configuration has no admin.address with a port: name it with --admin ADDRESS\n";
    assert_eq!((said.code, said.err.as_str()), (Some(1), expected));
}
