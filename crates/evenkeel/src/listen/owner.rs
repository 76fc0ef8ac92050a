//! The mode and the owner of a Unix socket.

use std::os::unix::fs::{PermissionsExt, lchown};
use std::path::Path;

use evenkeel_config::UnixSocket;
use nix::unistd::{Group, User};

/// Gives the socket at this path its mode and its owner.
///
/// # Errors
/// What cannot be set, and why, as text.
pub(super) fn set(path: &Path, access: &UnixSocket) -> Result<(), String> {
    if let Some(mode) = access.mode {
        let permissions = std::fs::Permissions::from_mode(mode);
        std::fs::set_permissions(path, permissions)
            .map_err(|error| format!("cannot set the mode {mode:04o}: {error}"))?;
    }
    let user = access.user.as_deref().map(user).transpose()?;
    let group = access.group.as_deref().map(group).transpose()?;
    if user.is_none() && group.is_none() {
        return Ok(());
    }
    lchown(path, user, group).map_err(|error| {
        let named = |what, name: &Option<String>| name.as_ref().map(|name| format!("{what} {name}"));
        let owner: Vec<String> =
            [named("user", &access.user), named("group", &access.group)].into_iter().flatten().collect();
        let hint = match error.kind() {
            std::io::ErrorKind::PermissionDenied => " (needs CAP_CHOWN)",
            _ => "",
        };
        format!("cannot change the owner to {}: {error}{hint}", owner.join(", "))
    })
}

fn user(name: &str) -> Result<u32, String> {
    match name.parse() {
        Ok(id) => Ok(id),
        Err(_) => match User::from_name(name) {
            Ok(Some(user)) => Ok(user.uid.as_raw()),
            Ok(None) => Err(format!("there is no user {name}")),
            Err(error) => Err(format!("cannot look up the user {name}: {error}")),
        },
    }
}

fn group(name: &str) -> Result<u32, String> {
    match name.parse() {
        Ok(id) => Ok(id),
        Err(_) => match Group::from_name(name) {
            Ok(Some(group)) => Ok(group.gid.as_raw()),
            Ok(None) => Err(format!("there is no group {name}")),
            Err(error) => Err(format!("cannot look up the group {name}: {error}")),
        },
    }
}
