//! What systemd knows of a unit: read from the properties that it shows on the bus.

use std::collections::HashMap;

use zbus::OwnedVariant;

/// What an object on the bus shows of itself.
pub(super) type Properties = HashMap<String, OwnedVariant>;

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
    /// The loaded units that are stopped when it is (`Requires=`, `BindsTo=`, `PartOf=` of theirs,
    /// `PropagatesStopTo=` of its own).
    pub stopped_with: Vec<String>,
    /// The units that are stopped when it is started (`Conflicts=`, of either).
    pub conflicts: Vec<String>,
    /// Whether its kind, and its file, let somebody start it.
    pub can_start: bool,
    /// Whether somebody may stop it.
    pub can_stop: bool,
    /// Whether it has a way to be reloaded.
    pub can_reload: bool,
    /// Whether the conditions in its file held when it was started last (`Condition…=`).
    pub conditions_held: bool,
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
    /// What it last said of itself (`STATUS=` of sd_notify(3)).
    pub status_text: String,
    /// The commands that ended badly when they were run last, and count.
    pub failed: Vec<Command>,
}

/// A command of a service that ended badly.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Command {
    /// Where it stands: `ExecStartPre`.
    pub setting: &'static str,
    /// Its program.
    pub program: String,
    /// How it ended: a code of `CLD_…`.
    pub code: i32,
    /// With which status or by which signal.
    pub status: i32,
}

pub(super) fn text(properties: &Properties, name: &str) -> String {
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

pub(super) fn read_unit(unit: &Properties, service: Option<&Properties>) -> Unit {
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
        stopped_with: all(unit, STOPPED_WITH),
        conflicts: all(unit, &["Conflicts", "ConflictedBy"]),
        can_start: number(unit, "CanStart"),
        can_stop: number(unit, "CanStop"),
        can_reload: number(unit, "CanReload"),
        // Nothing was asked yet where there is no time of it.
        conditions_held: time(unit, "ConditionTimestamp").is_none()
            || number(unit, "ConditionResult"),
        service: service.map(read_service),
        active_state,
    }
}

/// What a stop is handed on to: `UNIT_ATOM_PROPAGATE_STOP` in systemd's `unit-dependency-atom.c`.
const STOPPED_WITH: &[&str] = &[
    "RequiredBy",
    "RequisiteOf",
    "BoundBy",
    "ConsistsOf",
    "PropagatesStopTo",
];

fn all(properties: &Properties, names: &[&str]) -> Vec<String> {
    names
        .iter()
        .flat_map(|name| texts(properties, name))
        .collect()
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
        status_text: text(service, "StatusText"),
        failed: failed(service),
    }
}

/// The settings that hold commands, in the order in which they are run: systemd.service(5).
const COMMANDS: &[&str] = &[
    "ExecCondition",
    "ExecStartPre",
    "ExecStart",
    "ExecStartPost",
    "ExecReload",
    "ExecStop",
    "ExecStopPost",
];

/// `ExecStart` and its like are lists of structures: the program's path, its arguments, whether a
/// failure is ignored, four times, a process's number, and how it ended: a code and a status.
fn commands<'p>(
    service: &'p Properties,
    setting: &str,
) -> impl Iterator<Item = &'p [zbus::Variant<'p>]> {
    let commands = match service.get(setting).map(|value| &**value) {
        Some(zbus::Variant::Array(commands)) => Some(commands.iter()),
        _ => None,
    };
    commands
        .into_iter()
        .flatten()
        .filter_map(|command| match command {
            zbus::Variant::Structure(fields) => Some(fields.fields()),
            _ => None,
        })
}

fn program(command: &[zbus::Variant<'_>]) -> Option<String> {
    match command.first() {
        Some(zbus::Variant::Str(path)) => Some(path.as_str().to_owned()),
        _ => None,
    }
}

fn programs(service: &Properties) -> Vec<String> {
    commands(service, "ExecStart").filter_map(program).collect()
}

/// The commands that ended badly, other than those whose failure is ignored (`-`).
fn failed(service: &Properties) -> Vec<Command> {
    let number = |field: Option<&zbus::Variant<'_>>| match field {
        Some(zbus::Variant::I32(number)) => *number,
        _ => 0,
    };
    let each = |setting: &'static str| {
        commands(service, setting).filter_map(move |command| {
            let ignored = matches!(command.get(2), Some(zbus::Variant::Bool(true)));
            let (code, status) = (number(command.get(8)), number(command.get(9)));
            (!ignored && code != 0 && status != 0).then_some(Command {
                setting,
                program: program(command)?,
                code,
                status,
            })
        })
    };
    COMMANDS.iter().copied().flat_map(each).collect()
}
