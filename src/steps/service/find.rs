//! Units by the names that authors give them, and what else their state depends on.

use std::collections::BTreeSet;

use super::judge::{Found, Wanted, does_nothing, may_be_meta};
use crate::base::suggest;
use crate::host::reach::ReachError;
use crate::host::systemd::{Systemd, Unit};

/// The kinds of units: systemd.unit(5).
const SUFFIXES: [&str; 11] = [
    ".service",
    ".socket",
    ".device",
    ".mount",
    ".automount",
    ".swap",
    ".target",
    ".path",
    ".timer",
    ".slice",
    ".scope",
];

/// `name` with the suffix that it means.
pub(super) fn full_name(name: &str) -> String {
    if SUFFIXES.iter().any(|suffix| name.ends_with(suffix)) {
        name.to_owned()
    } else {
        format!("{name}.service")
    }
}

/// Whether `name` can be a unit's: systemd.unit(5).
pub(super) fn check_name(name: &str) -> Result<(), String> {
    let fits = |c: char| c.is_ascii_alphanumeric() || ":-_.\\@".contains(c);
    let full = full_name(name);
    if name.is_empty() || full.len() > 255 || !name.chars().all(fits) {
        return Err(format!("`{name}` is not the name of a unit"));
    }
    if full.contains("@.") {
        return Err(format!(
            "`{name}` names a template; name an instance of it, as in `postgresql@15-main`"
        ));
    }
    Ok(())
}

/// The unit, and what else its state depends on.
pub(super) async fn find(
    systemd: &Systemd<'_>,
    name: &str,
    wanted: Wanted,
) -> Result<Found, ReachError> {
    let unit = systemd.unit(name).await?;
    let mut found = Found::default();
    if wanted != Wanted::Inactive && may_be_meta(&unit) {
        found.instances = instances(systemd, &unit).await?;
    }
    if unit.active_state == "inactive" {
        for trigger in &unit.triggered_by {
            if systemd.unit(trigger).await?.active_state == "active" {
                found.triggers.push(trigger.clone());
            }
        }
    }
    if unit.load_state == "not-found" {
        found.similar = similar(name, &systemd.loaded("*").await?);
    }
    found.unit = unit;
    Ok(found)
}

/// The unit of the same kind that `name` may have been meant to be.
fn similar(name: &str, loaded: &[String]) -> Option<String> {
    let (stem, kind) = name.rsplit_once('.')?;
    let same_kind = |other: &'_ String| other.rsplit_once('.').is_some_and(|(_, k)| k == kind);
    let stems = loaded
        .iter()
        .filter(|other| same_kind(other) && *other != name);
    let stems = stems.filter_map(|other| other.rsplit_once('.').map(|(stem, _)| stem));
    suggest::nearest(stem, stems).map(|stem| format!("{stem}.{kind}"))
}

/// The instances behind `unit`, if it is a meta-unit: of the template of its own name, those that
/// are loaded and those that it pulls in.
async fn instances(systemd: &Systemd<'_>, unit: &Unit) -> Result<Option<Vec<Unit>>, ReachError> {
    // By its real name: it may have been asked for by an alias.
    let Some(stem) = unit.id.strip_suffix(".service") else {
        return Ok(None);
    };
    let prefix = format!("{stem}@");
    let loaded = systemd.loaded(&format!("{prefix}*.service")).await?;
    let named = unit.pulls_in.iter().chain(&unit.consists_of).cloned();
    let names: BTreeSet<String> = loaded
        .into_iter()
        .chain(named.filter(|name| name.starts_with(&prefix)))
        .collect();
    if names.is_empty() {
        let is_meta = does_nothing(unit) && systemd.has_file(&format!("{prefix}.service")).await?;
        return Ok(is_meta.then(Vec::new));
    }
    let mut units = Vec::with_capacity(names.len());
    for name in names {
        units.push(systemd.unit(&name).await?);
    }
    Ok(Some(units))
}

#[cfg(test)]
mod tests {
    use super::full_name;

    #[test]
    fn names_get_their_suffix() {
        for (name, full) in [
            ("nginx", "nginx.service"),
            ("nginx.service", "nginx.service"),
            ("backup.timer", "backup.timer"),
            ("postgresql@15-main", "postgresql@15-main.service"),
            ("foo.bar", "foo.bar.service"),
        ] {
            assert_eq!(full_name(name), full);
        }
    }

    #[test]
    fn suggests_units_of_the_same_kind() {
        let loaded = ["nginx.service", "ngin.timer", "gone.service"].map(str::to_owned);
        let near = super::similar("nginz.service", &loaded);
        assert_eq!(near.as_deref(), Some("nginx.service"));
        assert_eq!(super::similar("ssh.service", &loaded), None);
    }
}
