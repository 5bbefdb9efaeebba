//! systemd, to look: the states of units, over D-Bus (org.freedesktop.systemd1(5)).
//!
//! Asked over the system bus, or where there is none over systemd's own socket, which only root may
//! use. Nothing here starts a process, so that a plan may look too. To load a unit reads its file
//! and changes nothing, as `systemctl status` does.

mod private;

use std::collections::HashMap;
use std::path::Path;

use zbus::connection::Builder;
use zbus::{Connection, OwnedObjectPath, OwnedVariant};

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

/// What systemd knows of a unit. The words are systemd's own.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Unit {
    /// Its name; the real one, where it was asked for by an alias.
    pub id: String,
    /// `loaded`, `not-found`, `masked`, `error`, `bad-setting`.
    pub load_state: String,
    /// Why it was not loaded, where it was not.
    pub load_error: Option<String>,
    /// `active`, `reloading`, `inactive`, `failed`, `activating`, `deactivating`, `maintenance`.
    pub active_state: String,
    /// What its kind knows more exactly: `running`, `exited`, `dead`, `auto-restart`.
    pub sub_state: String,
    /// `enabled`, `disabled`, `static`, `generated`; empty where there is no file.
    pub file_state: String,
    /// Since when it is in this state.
    pub since: Option<jiff::Timestamp>,
    /// The units that it pulls in (`Wants=`, `Requires=`).
    pub pulls_in: Vec<String>,
    /// The loaded units that are part of it (`PartOf=` of theirs).
    pub consists_of: Vec<String>,
    /// The timers, sockets and paths that start it.
    pub triggered_by: Vec<String>,
    /// What it knows as a service, if it is one.
    pub service: Option<Service>,
}

/// What systemd knows of a service beyond a unit.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Service {
    /// `simple`, `forking`, `oneshot`, `notify`, …
    pub kind: String,
    /// `success`, `exit-code`, `signal`, `timeout`, `oom-kill`, `start-limit-hit`, …
    pub result: String,
    /// Whether it stays active after its processes have ended (`RemainAfterExit=`).
    pub remains: bool,
    /// How often it was restarted by itself since it was last started on purpose.
    pub restarts: u32,
    /// Its main process, while there is one.
    pub main_pid: Option<u32>,
    /// How its main process ended last: a code of `CLD_…` (1 exited, 2 killed, 3 dumped core).
    pub exit_code: i32,
    /// With which status or by which signal.
    pub exit_status: i32,
    /// The programs of `ExecStart=`.
    pub programs: Vec<String>,
}

/// A conversation with systemd.
#[derive(Debug)]
pub struct Systemd<'a> {
    scope: &'a Scope,
    connection: Connection,
    allowance: Allowance,
}

type Properties = HashMap<String, OwnedVariant>;

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
        let allowance = scope.allow(PATIENCE);
        let over = |connection| Systemd {
            scope,
            connection,
            allowance,
        };
        // A bus that hangs must leave time for the other way.
        let bus = match bus(scope, allowance.share(scope, 2)).await {
            Ok(connection) => return Ok(over(connection)),
            Err(error) if matches!(error.obstacle, Obstacle::Ended(_)) => return Err(error),
            Err(error) => error,
        };
        match private::open(scope, allowance).await {
            Ok(connection) => Ok(over(connection)),
            Err(error) if matches!(error.obstacle, Obstacle::Ended(_)) => Err(error),
            Err(error) => {
                let (bus, path, own) = (bus.cause, private::PATH, error.cause);
                let cause = format!("the system bus: {bus}; {path}: {own}");
                Err(ReachError::new(Obstacle::OurSide, ACTION, cause)
                    .with_help("start the system bus (package `dbus`), or run as root"))
            }
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
fn error_name(error: &zbus::Error) -> Option<&str> {
    match error {
        zbus::Error::MethodError(name, ..) => Some(name.as_str()),
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
    ) -> Result<Properties, ReachError> {
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
            Err(zbus::Error::FDO(error)) if matches!(*error, zbus::fdo::Error::FileNotFound(_)) => {
                Ok(false)
            }
            Err(error) if error_name(&error).is_some_and(|n| n.ends_with(".NoSuchUnit")) => {
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

fn text(properties: &Properties, name: &str) -> String {
    let value = properties.get(name);
    value
        .and_then(|value| <&str>::try_from(value).ok())
        .unwrap_or_default()
        .to_owned()
}

fn texts(properties: &Properties, name: &str) -> Vec<String> {
    let value = properties.get(name).cloned();
    value
        .and_then(|value| Vec::<String>::try_from(value).ok())
        .unwrap_or_default()
}

fn number<T: for<'a> TryFrom<&'a OwnedVariant> + Default>(
    properties: &Properties,
    name: &str,
) -> T {
    let value = properties.get(name);
    value
        .and_then(|value| T::try_from(value).ok())
        .unwrap_or_default()
}

/// A time in microseconds since 1970; zero is never.
fn time(properties: &Properties, name: &str) -> Option<jiff::Timestamp> {
    let micros: u64 = number(properties, name);
    let micros = i64::try_from(micros).ok().filter(|micros| *micros > 0)?;
    jiff::Timestamp::from_microsecond(micros).ok()
}

fn read_unit(unit: &Properties, service: Option<&Properties>) -> Unit {
    let active_state = text(unit, "ActiveState");
    let since = if active_state == "active" {
        time(unit, "ActiveEnterTimestamp")
    } else {
        time(unit, "StateChangeTimestamp")
    };
    let mut pulls_in = texts(unit, "Wants");
    pulls_in.extend(texts(unit, "Requires"));
    Unit {
        id: text(unit, "Id"),
        load_state: text(unit, "LoadState"),
        load_error: load_error(unit),
        sub_state: text(unit, "SubState"),
        file_state: text(unit, "UnitFileState"),
        since,
        pulls_in,
        consists_of: texts(unit, "ConsistsOf"),
        triggered_by: texts(unit, "TriggeredBy"),
        service: service.map(read_service),
        active_state,
    }
}

/// `LoadError` is a pair: a D-Bus error name and a message, both empty where there is none.
fn load_error(unit: &Properties) -> Option<String> {
    let value = unit.get("LoadError").cloned()?;
    let (name, message) = <(String, String)>::try_from(value).ok()?;
    (!name.is_empty()).then_some(message)
}

fn read_service(service: &Properties) -> Service {
    let pid: u32 = number(service, "MainPID");
    Service {
        kind: text(service, "Type"),
        result: text(service, "Result"),
        remains: number(service, "RemainAfterExit"),
        restarts: number(service, "NRestarts"),
        main_pid: (pid != 0).then_some(pid),
        exit_code: number(service, "ExecMainCode"),
        exit_status: number(service, "ExecMainStatus"),
        programs: programs(service),
    }
}

/// `ExecStart` is a list of structures that begin with the program's path.
fn programs(service: &Properties) -> Vec<String> {
    let Some(zbus::Variant::Array(commands)) = service.get("ExecStart").map(|value| &**value)
    else {
        return Vec::new();
    };
    let first = |command: &zbus::Variant<'_>| match command {
        zbus::Variant::Structure(fields) => match fields.fields().first() {
            Some(zbus::Variant::Str(path)) => Some(path.as_str().to_owned()),
            _ => None,
        },
        _ => None,
    };
    commands.iter().filter_map(first).collect()
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
