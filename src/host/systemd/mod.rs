//! systemd over D-Bus (org.freedesktop.systemd1(5)): [`Systemd`] looks at the states of units,
//! [`SystemdEffect`] changes them, and is handed out by `Effect` alone.
//!
//! Asked over the system bus, or where there is none over systemd's own socket, which only root may
//! use. Nothing here starts a process, so that a plan may look too. To load a unit reads its file
//! and changes nothing, as `systemctl status` does.

mod jobs;
mod private;
mod unit;

use std::path::Path;

use zbus::connection::Builder;
use zbus::{Connection, OwnedObjectPath};

pub use jobs::{JobEnd, SystemdEffect, Verb};
pub use unit::{Command, Service, Unit};
use unit::{read_unit, text};

use super::net::Allowance;
use super::reach::{Obstacle, ReachError};
use super::{Observe, Scope};
use crate::base::Duration;

/// How long systemd has to answer everything that one step asks. It answers in milliseconds, but
/// waits while it loads units from a disk that hangs.
const PATIENCE: Duration = Duration::from_secs(10);

/// It exists where systemd is the init of this machine: sd_booted(3).
const BOOTED: &str = "/run/systemd/system";

const SERVICE: &str = "org.freedesktop.systemd1";
const MANAGER_PATH: &str = "/org/freedesktop/systemd1";
const MANAGER: &str = "org.freedesktop.systemd1.Manager";
const UNIT: &str = "org.freedesktop.systemd1.Unit";
const SERVICE_UNIT: &str = "org.freedesktop.systemd1.Service";
const PROPERTIES: &str = "org.freedesktop.DBus.Properties";

/// A conversation with systemd that only looks.
#[derive(Debug)]
pub struct Systemd<'a> {
    scope: &'a Scope,
    connection: Connection,
    allowance: Allowance,
}

/// One unit of `ListUnitsByPatterns`: name, description, load, active and sub-state, the unit that
/// it follows, its path, and its job's id, type and path.
type ListedUnit = (
    String,
    String,
    String,
    String,
    String,
    String,
    OwnedObjectPath,
    u32,
    String,
    OwnedObjectPath,
);

impl Observe {
    /// Opens a conversation with this machine's systemd.
    ///
    /// # Errors
    /// When there is none, or it cannot be asked.
    pub async fn systemd(&self) -> Result<Systemd<'_>, ReachError> {
        let scope = self.scope();
        let allowance = scope.allow(PATIENCE);
        let connection = connect(scope, allowance).await?;
        Ok(Systemd {
            scope,
            connection,
            allowance,
        })
    }
}

/// A connection to this machine's systemd.
async fn connect(scope: &Scope, allowance: Allowance) -> Result<Connection, ReachError> {
    if !Path::new(BOOTED).is_dir() {
        return Err(ReachError::new(
            Obstacle::OurSide,
            ACTION,
            format!("it is not the init of this machine (there is no {BOOTED})"),
        )
        .with_help(
            "check the service itself instead: `http.check`, `postgres.ping`, `exec.command`",
        ));
    }
    // A bus that hangs must leave time for the other way.
    let bus = match bus(scope, allowance.share(scope, 2)).await {
        Ok(connection) => return Ok(connection),
        Err(error) if matches!(error.obstacle, Obstacle::Ended(_)) => return Err(error),
        Err(error) => error,
    };
    match private::open(scope, allowance).await {
        Ok(connection) => Ok(connection),
        Err(error) if matches!(error.obstacle, Obstacle::Ended(_)) => Err(error),
        Err(error) => {
            let (bus, path, own) = (bus.cause, private::PATH, error.cause);
            let cause = format!("the system bus: {bus}; {path}: {own}");
            Err(ReachError::new(Obstacle::OurSide, ACTION, cause)
                .with_help("start the system bus (package `dbus`), or run as root"))
        }
    }
}

/// The system bus, if there is a systemd on it.
#[expect(clippy::disallowed_methods, reason = "this is the door")]
async fn bus(scope: &Scope, allowance: Allowance) -> Result<Connection, ReachError> {
    let build = Builder::system().build();
    let connection = match scope.within(allowance, build).await {
        Ok(built) => built.map_err(|error| said(ACTION, &error))?,
        Err(stopped) => return Err(stopped.error(ACTION)),
    };
    let systemd = Systemd {
        scope,
        connection,
        allowance,
    };
    systemd.answers().await?;
    Ok(systemd.connection)
}

const ACTION: &str = "ask systemd";

/// An error of D-Bus. Whatever it is, it says nothing about the units.
fn said(action: &str, error: &zbus::Error) -> ReachError {
    let cause = match error {
        zbus::Error::InputOutput(error) => super::error::io_cause(error),
        zbus::Error::MethodError(_, Some(text), _) => text.clone(),
        zbus::Error::FDO(error) => match zbus::DBusError::description(&**error) {
            Some(text) => text.to_owned(),
            None => error.to_string(),
        },
        other => other.to_string(),
    };
    // zbus keeps the text of the system's errors, number and all.
    let cause = match cause.find(" (os error ") {
        Some(at) => cause[..at].to_owned(),
        None => cause,
    };
    ReachError::new(Obstacle::OurSide, action, cause)
}

/// The D-Bus name of an error reply.
fn error_name(error: &zbus::Error) -> Option<String> {
    match error {
        zbus::Error::MethodError(name, ..) => Some(name.to_string()),
        zbus::Error::FDO(error) => Some(zbus::DBusError::name(&**error).to_string()),
        _ => None,
    }
}

impl Systemd<'_> {
    async fn call<B>(
        &self,
        action: &str,
        path: &str,
        interface: &str,
        method: &str,
        body: &B,
    ) -> Result<Result<zbus::Message, zbus::Error>, ReachError>
    where
        B: serde::Serialize + zbus::DynamicType,
    {
        let call = self
            .connection
            .call_method(Some(SERVICE), path, Some(interface), method, body);
        let answer = self.scope.within(self.allowance, call).await;
        answer.map_err(|stopped| stopped.error(action))
    }

    /// Whether there is a systemd on the bus at all.
    async fn answers(&self) -> Result<(), ReachError> {
        let body = (MANAGER, "Version");
        let answer = self
            .call(ACTION, MANAGER_PATH, PROPERTIES, "Get", &body)
            .await?;
        answer.map(|_| ()).map_err(|error| said(ACTION, &error))
    }

    async fn properties(
        &self,
        action: &str,
        path: &str,
        interface: &str,
    ) -> Result<unit::Properties, ReachError> {
        let answer = self
            .call(action, path, PROPERTIES, "GetAll", &(interface,))
            .await?;
        answer
            .and_then(|message| message.body().deserialize())
            .map_err(|error| said(action, &error))
    }

    /// What it knows of the unit called `name`, with its suffix. A unit that does not exist is one
    /// with `load_state: not-found`.
    ///
    /// # Errors
    /// When it does not answer, or not as it should.
    pub async fn unit(&self, name: &str) -> Result<Unit, ReachError> {
        let action = format!("ask systemd about {name}");
        let path = object_path(name);
        let unit = self.properties(&action, &path, UNIT).await?;
        let is_service = text(&unit, "Id").ends_with(".service");
        let service = if is_service {
            Some(self.properties(&action, &path, SERVICE_UNIT).await?)
        } else {
            None
        };
        Ok(read_unit(&unit, service.as_ref()))
    }

    /// The names of the loaded units that match `pattern` (`postgresql@*.service`; `*` for all).
    ///
    /// # Errors
    /// When it does not answer, or not as it should.
    pub async fn loaded(&self, pattern: &str) -> Result<Vec<String>, ReachError> {
        let action = format!("ask systemd for the units {pattern}");
        let states: &[&str] = &[];
        let body = (states, &[pattern][..]);
        let answer = self
            .call(&action, MANAGER_PATH, MANAGER, "ListUnitsByPatterns", &body)
            .await?;
        let units: Vec<ListedUnit> = answer
            .and_then(|message| message.body().deserialize())
            .map_err(|error| said(&action, &error))?;
        Ok(units.into_iter().map(|unit| unit.0).collect())
    }

    /// Whether there is a unit file of this name, such as a template's (`postgresql@.service`).
    ///
    /// # Errors
    /// When it does not answer.
    pub async fn has_file(&self, name: &str) -> Result<bool, ReachError> {
        let action = format!("ask systemd for the file of {name}");
        let answer = self
            .call(&action, MANAGER_PATH, MANAGER, "GetUnitFileState", &(name,))
            .await?;
        match answer {
            Ok(_) => Ok(true),
            Err(error)
                if error_name(&error).is_some_and(|n| {
                    n.ends_with(".FileNotFound") || n.ends_with(".NoSuchUnit")
                }) =>
            {
                Ok(false)
            }
            Err(error) => Err(said(&action, &error)),
        }
    }
}

/// Where a unit is found on the bus; to ask there loads it. Other bytes than letters and digits are
/// written in hex, and so is a digit at the beginning: sd_bus_path_encode(3).
fn object_path(name: &str) -> String {
    let mut path = format!("{MANAGER_PATH}/unit/");
    for (at, byte) in name.bytes().enumerate() {
        if byte.is_ascii_alphabetic() || (at > 0 && byte.is_ascii_digit()) {
            path.push(char::from(byte));
        } else {
            path.push_str(&format!("_{byte:02x}"));
        }
    }
    path
}

#[cfg(test)]
mod tests {
    use super::object_path;

    #[test]
    fn units_have_a_place_on_the_bus() {
        let path = object_path("postgresql@15-main.service");
        let expected = "/org/freedesktop/systemd1/unit/postgresql_4015_2dmain_2eservice";
        assert_eq!(path, expected);
        assert!(object_path("1a").ends_with("/_31a"));
    }
}
