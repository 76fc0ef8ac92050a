//! The parameters of `basic_auth`.

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;

use schemars::JsonSchema;
use serde::Deserialize;

/// Who can send requests, by name and password.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, expecting = "a map with a file, like { file: /etc/evenkeel/users }")]
pub struct BasicAuthParams {
    /// A file with one user on each line, `name:hash`, as `htpasswd -B` writes it. Lines that begin with `#` are comments. The file is
    /// read again within a second when it changes. If it is not valid then, the last valid users stay and a warning is logged.
    pub file: Option<PathBuf>,
    /// Users by name, with the hash of the password: bcrypt (`$2y$…`), argon2 (`$argon2id$…`), or the SHA-2 of crypt (`$5$…`,
    /// `$6$…`). Quote it: `"$2y$10$…"`.
    #[serde(default)]
    pub users: BTreeMap<String, String>,
    /// What browsers show when they ask for the password.
    #[serde(default = "usual_realm")]
    pub realm: String,
    /// A request header that tells backends the name of the user, such as `x-user`. Copies that a client sends are removed.
    /// Default: none.
    pub user_header: Option<String>,
    /// Whether backends receive the `Authorization` header.
    #[serde(default = "yes")]
    pub forward_credentials: bool,
}

fn usual_realm() -> String {
    "restricted".to_owned()
}

fn yes() -> bool {
    true
}

impl fmt::Debug for BasicAuthParams {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let users = self.users.keys().collect::<Vec<_>>();
        f.debug_struct("BasicAuthParams")
            .field("file", &self.file)
            .field("users", &users)
            .finish_non_exhaustive()
    }
}
