//! The admin address: where it is, and who can use it.

use std::path::PathBuf;

use evenkeel_core::route::HostPatternError;

use super::general::secret;
use super::{Context, address, matching};
use crate::values::Secret;
use crate::wire;
use crate::yaml::Path;
use crate::{Admin, ListenAddress, Listener, Token};

/// The admin address; the outer `None` if it is wrong.
pub(super) fn admin(
    admin: Option<&wire::Admin>,
    listeners: &[Listener],
    path: &Path,
    context: &mut Context<'_>,
) -> Option<Option<Admin>> {
    let Some(admin) = admin else { return Some(None) };
    let [full, full_file, read_only, read_only_file] = KEYS.map(|key| path.key(key));
    let given = (admin.token.as_ref(), admin.token_file.as_ref());
    let token = token(given, &full, &full_file, context);
    let given = (admin.read_only_token.as_ref(), admin.read_only_token_file.as_ref());
    let read_only_token = self::token(given, &read_only, &read_only_file, context);
    if token.is_some() && token == read_only_token {
        context.wrong_key(&read_only, "is the same as token: expected another one");
    }
    let names = path.key("hosts");
    let mut hosts = Vec::with_capacity(admin.hosts.len());
    for (text, path) in admin.hosts.iter().zip(context.entries(&names, admin.hosts.len())) {
        match text.parse() {
            Ok(host) => hosts.push(host),
            Err(error) => {
                let error = match error {
                    HostPatternError::Port => "expected a host without a port".to_owned(),
                    error => error.to_string(),
                };
                context.wrong(&path, text, format!("is not a host: {error}")).suggestion =
                    matching::corrected_host(text);
            }
        }
    }
    let damaged = KEYS.iter().any(|key| context.is_damaged(&path.key(key)));
    let path = path.key("address");
    let address = match address::socket(&admin.address) {
        Ok(address) => address,
        Err(refused) => {
            context.wrong(&path, &admin.address, refused.message).suggestion = refused.suggestion;
            return None;
        }
    };
    if !address.ip().is_loopback() && token.is_none() && read_only_token.is_none() && !damaged {
        let message = "is not a loopback address, so it needs a token of at least 16 characters, since \
                       every client that reaches it could read everything: write token: ${ADMIN_TOKEN}";
        context.wrong(&path, &admin.address, message);
    }
    if address.port() != 0 && listeners.iter().any(|listener| listener.address == ListenAddress::Tcp(address))
    {
        context.wrong(
            &path,
            &admin.address,
            "is taken: a listener has the same address: give one of them another port",
        );
    }
    Some(Some(Admin { address, token, read_only_token, hosts }))
}

/// The keys that can hold a token.
const KEYS: [&str; 4] = ["token", "token_file", "read_only_token", "read_only_token_file"];

/// A token at `path`, or in the file that `file_path` names. No message shows it: it is a secret.
fn token(
    (value, file): (Option<&Secret>, Option<&String>),
    path: &Path,
    file_path: &Path,
    context: &mut Context<'_>,
) -> Option<Token> {
    if value.is_some() && file.is_some() {
        context.wrong_key(file_path, "cannot be combined with the token itself: expected only one of them");
    }
    match (value, file) {
        (Some(Secret(text)), _) => {
            if secret(text, path, context).is_some() && !text.bytes().all(|byte| byte.is_ascii_graphic()) {
                context.wrong_key(path, "has a character that no header may carry: expected visible ASCII");
            }
            Some(Token::Value(text.clone()))
        }
        (None, Some(file)) => {
            context.keep_place(file_path);
            if file.is_empty() {
                context.wrong(file_path, file, "is empty: expected the path of a file");
            }
            Some(Token::File(PathBuf::from(file)))
        }
        (None, None) => None,
    }
}
