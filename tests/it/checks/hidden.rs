//! Runs the program as somebody who may not see everything: `nobody`, in a mount namespace that a
//! script changes first.

use std::os::unix::fs::chown;

use crate::support::run::Runbook;

/// Debian's `nobody`, and its group.
const NOBODY: u32 = 65534;

/// `nobody` runs it, and owns its folder and the playbook; every other file in it stays root's.
pub fn as_nobody(run: Runbook) -> Runbook {
    as_nobody_after("true", run)
}

/// The same after root has run `script`, with no effect on other mounts than the program's own.
pub fn as_nobody_after(script: &str, run: Runbook) -> Runbook {
    let folder = run.folder().to_path_buf();
    for path in [folder.join("playbook.yaml"), folder] {
        chown(path, Some(NOBODY), Some(NOBODY)).expect("root may give it away");
    }
    let demote = "exec setpriv --reuid=65534 --regid=65534 --clear-groups \"$@\"";
    run.under([
        "unshare",
        "--mount",
        "sh",
        "-ec",
        &format!("{script}\n{demote}"),
        "sh",
    ])
}

/// As root, after `script` has changed what is mounted.
pub fn after(script: &str, run: Runbook) -> Runbook {
    run.under([
        "unshare",
        "--mount",
        "sh",
        "-ec",
        &format!("{script}\nexec \"$@\""),
        "sh",
    ])
}
