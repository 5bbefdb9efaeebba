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
