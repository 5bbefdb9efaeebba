//! Who runs this, and where: for the record.

use std::path::Path;

use super::files;

/// The machine's name.
pub fn host_name() -> String {
    rustix::system::uname()
        .nodename()
        .to_string_lossy()
        .into_owned()
}

/// The login that the system knows of this process; who became root through `sudo` is named too.
pub fn user_name() -> String {
    let uid = rustix::process::geteuid().as_raw();
    let own = login(uid);
    let before: Option<u32> = std::env::var("SUDO_UID")
        .ok()
        .and_then(|uid| uid.parse().ok());
    match before.filter(|before| uid == 0 && *before != 0) {
        Some(before) => format!("{own} (sudo by {})", login(before)),
        None => own,
    }
}

/// Whether what belongs to user `owner` is taken as ours: it is root's, or our own.
pub fn is_ours(owner: u32) -> bool {
    owner == 0 || owner == rustix::process::geteuid().as_raw()
}

/// The login of a user by number.
pub fn login(uid: u32) -> String {
    let passwd = files::read_kernel(Path::new("/etc/passwd")).unwrap_or_default();
    let named = passwd.lines().find_map(|line| {
        let mut fields = line.split(':');
        let name = fields.next()?;
        let id: u32 = fields.nth(1)?.parse().ok()?;
        (id == uid).then(|| name.to_owned())
    });
    named.unwrap_or_else(|| format!("uid {uid}"))
}

/// Who acts behind a user's name as [`user_name`] gives it: who became root through `sudo`, else the
/// user.
pub fn person(user: &str) -> &str {
    user.strip_suffix(')')
        .and_then(|user| user.split_once(" (sudo by "))
        .map_or(user, |(_, person)| person)
}

/// The groups that `/etc/group` and `/etc/passwd` have a user in.
pub fn groups_of(user: &str) -> Vec<String> {
    let passwd = files::read_kernel(Path::new("/etc/passwd")).unwrap_or_default();
    let primary = passwd.lines().find_map(|line| {
        let mut fields = line.split(':');
        (fields.next()? == user).then(|| fields.nth(2)).flatten()
    });
    let group = files::read_kernel(Path::new("/etc/group")).unwrap_or_default();
    let groups = group.lines().filter_map(|line| {
        let mut fields = line.split(':');
        let (name, _, id, members) = (fields.next()?, fields.next(), fields.next()?, fields.next());
        let member = members.is_some_and(|members| members.split(',').any(|m| m == user));
        (member || Some(id) == primary).then(|| name.to_owned())
    });
    groups.collect()
}

#[cfg(test)]
mod tests {
    use super::{groups_of, person};

    #[test]
    fn who_became_root_is_still_somebody() {
        assert_eq!(person("root (sudo by alice)"), "alice");
        assert_eq!(person("alice"), "alice");
        assert!(groups_of("root").contains(&"root".to_owned()));
        assert!(groups_of("nobody at all").is_empty());
    }
}
