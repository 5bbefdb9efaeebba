//! What `redis.info` puts out, and where it stands in `INFO` (redis.io, "INFO").

use schemars::JsonSchema;
use serde::Serialize;

use super::limits::{percent, tenth};
use crate::host::connect::redis::Info;

/// What the server says of itself. All is null where it could not be asked.
#[derive(Debug, Default, Serialize, JsonSchema)]
pub struct Outputs {
    /// The server's version, such as `7.0.15`.
    pub version: Option<String>,
    /// How long it has been running, in seconds.
    pub uptime_s: Option<u64>,
    /// Its memory.
    pub memory: Option<Memory>,
    /// Its clients.
    pub clients: Option<Clients>,
    /// How many reads found their key, since it started or was told to count anew.
    pub hits: Option<u64>,
    /// How many did not.
    pub misses: Option<u64>,
    /// The hits of all reads, in percent; null where there has been none.
    pub hit_rate: Option<f64>,
    /// How many keys were removed to make room, since it started or was told to count anew.
    pub evicted: Option<u64>,
    /// How many keys were removed to make room while it was looked at, per second; null unless
    /// `evictions` asks for it.
    pub evictions_per_s: Option<f64>,
    /// How many keys' time was over, since it started or was told to count anew.
    pub expired: Option<u64>,
    /// How many keys there are in all databases.
    pub keys: Option<u64>,
    /// The databases that have any keys.
    pub databases: Option<Vec<Database>>,
    /// How it keeps its data on disk.
    pub persistence: Option<Persistence>,
    /// Who follows it, or whom it follows.
    pub replication: Option<Replication>,
}

/// Its memory.
#[derive(Debug, Default, PartialEq, Serialize, JsonSchema)]
pub struct Memory {
    /// What its data and buffers take, in bytes.
    pub used_bytes: u64,
    /// What it has of the machine, in bytes.
    pub rss_bytes: u64,
    /// The most that `used_bytes` has been.
    pub peak_bytes: u64,
    /// `maxmemory`, in bytes; null where there is no such limit.
    pub max_bytes: Option<u64>,
    /// What the machine has, in bytes; null where it does not say.
    pub machine_bytes: Option<u64>,
    /// What counts of `used_bytes` against `maxmemory`, in percent; without `maxmemory`, what it has of
    /// the machine's memory. Null where neither is known.
    pub percent: Option<f64>,
    /// What it has of the machine per byte that it uses; well above 1 it is fragmented, below 1 swapped
    /// out. Means little for a small data set.
    pub fragmentation: Option<f64>,
    /// What happens at `maxmemory`, such as `noeviction` or `allkeys-lru`.
    pub policy: String,
}

/// Its clients.
#[derive(Debug, Default, PartialEq, Serialize, JsonSchema)]
pub struct Clients {
    /// How many are connected, ourselves included.
    pub connected: u64,
    /// Of these, how many wait in a blocking command.
    pub blocked: u64,
    /// `maxclients`; null where it does not say.
    pub max: Option<u64>,
    /// The connected of the most, in percent.
    pub percent: Option<f64>,
}

/// One database.
#[derive(Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Database {
    /// Its number.
    pub database: u32,
    /// How many keys it has.
    pub keys: u64,
    /// Of these, how many have a time to live.
    pub with_ttl: u64,
}

/// How it keeps its data on disk.
#[derive(Debug, Default, PartialEq, Serialize, JsonSchema)]
pub struct Persistence {
    /// Whether it is still loading its data.
    pub loading: bool,
    /// How long ago it last saved an RDB file, in seconds; since its start, where it has not saved any.
    pub last_save_age_s: Option<f64>,
    /// Whether the last attempt to save one succeeded.
    pub last_save_ok: bool,
    /// How many changes are in no RDB file yet.
    pub unsaved_changes: u64,
    /// Whether it writes an append-only file.
    pub aof_enabled: bool,
    /// Whether the last writing to it, and of it anew, succeeded; null where it writes none.
    pub aof_ok: Option<bool>,
}

/// Who follows it, or whom it follows.
#[derive(Debug, Default, PartialEq, Serialize, JsonSchema)]
pub struct Replication {
    /// `master` or `replica`.
    pub role: String,
    /// Who follows it.
    pub replicas: Vec<Replica>,
    /// Of a replica: whether its link to the master is up.
    pub link_up: Option<bool>,
    /// Of a replica: how many seconds ago it last heard of its master.
    pub heard_s: Option<u64>,
}

/// One that follows it.
#[derive(Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Replica {
    /// Its address and port.
    pub address: String,
    /// `online`, or how far it has come to be.
    pub state: String,
    /// How many seconds ago it last said how far it is.
    pub lag_s: Option<u64>,
    /// How far it is behind, in bytes of the stream of changes.
    pub behind_bytes: Option<u64>,
}

/// `info` as outputs, at the time `now` of the server's clock; none where something that every server
/// says is missing.
pub(super) fn read(info: &Info, now: Option<f64>) -> Option<Outputs> {
    let hits = info.number("keyspace_hits")?;
    let misses = info.number("keyspace_misses")?;
    let databases: Vec<Database> = info
        .numbered("db")
        .map(|(database, fields)| Database {
            database,
            keys: fields.number("keys").unwrap_or(0),
            with_ttl: fields.number("expires").unwrap_or(0),
        })
        .collect();
    let version = info.get("valkey_version").or(info.get("redis_version"));
    Some(Outputs {
        version: version.map(str::to_owned),
        uptime_s: info.number("uptime_in_seconds"),
        memory: Some(memory(info)?),
        clients: Some(clients(info)?),
        hits: Some(hits),
        misses: Some(misses),
        hit_rate: percent(hits, hits.saturating_add(misses)),
        evicted: info.number("evicted_keys"),
        evictions_per_s: None,
        expired: info.number("expired_keys"),
        keys: Some(databases.iter().map(|database| database.keys).sum()),
        databases: Some(databases),
        persistence: Some(persistence(info, now)?),
        replication: Some(replication(info)?),
    })
}

fn memory(info: &Info) -> Option<Memory> {
    let used: u64 = info.number("used_memory")?;
    let rss: u64 = info.number("used_memory_rss")?;
    let positive = |name| info.number(name).filter(|bytes: &u64| *bytes > 0);
    let max = positive("maxmemory");
    let machine = positive("total_system_memory");
    let percent = match (max, machine) {
        (Some(max), _) => {
            // Buffers of replicas and of the append-only file do not count (`freeMemoryGetNotCounted`).
            let not_counted = info.number("mem_not_counted_for_evict").unwrap_or(0);
            percent(used.saturating_sub(not_counted), max)
        }
        (None, Some(machine)) => percent(rss.max(used), machine),
        (None, None) => None,
    };
    Some(Memory {
        used_bytes: used,
        rss_bytes: rss,
        peak_bytes: info.number("used_memory_peak").unwrap_or(used),
        max_bytes: max,
        machine_bytes: machine,
        percent,
        fragmentation: info.number("mem_fragmentation_ratio"),
        policy: info.get("maxmemory_policy").unwrap_or_default().to_owned(),
    })
}

fn clients(info: &Info) -> Option<Clients> {
    let connected = info.number("connected_clients")?;
    let max = info.number("maxclients");
    Some(Clients {
        connected,
        blocked: info.number("blocked_clients").unwrap_or(0),
        max,
        percent: max.and_then(|max| percent(connected, max)),
    })
}

fn persistence(info: &Info, now: Option<f64>) -> Option<Persistence> {
    let saved: Option<f64> = info.number("rdb_last_save_time");
    let aof_enabled = info.flag("aof_enabled")?;
    let fine = |name| info.get(name).is_none_or(|status| status == "ok");
    Some(Persistence {
        loading: info.flag("loading")?,
        last_save_age_s: now
            .zip(saved)
            .map(|(now, saved)| tenth((now - saved).max(0.0))),
        last_save_ok: fine("rdb_last_bgsave_status"),
        unsaved_changes: info.number("rdb_changes_since_last_save")?,
        aof_enabled,
        aof_ok: aof_enabled
            .then(|| fine("aof_last_write_status") && fine("aof_last_bgrewrite_status")),
    })
}

fn replication(info: &Info) -> Option<Replication> {
    let role = match info.get("role")? {
        "slave" => "replica",
        role => role,
    };
    let written: Option<u64> = info.number("master_repl_offset");
    let replica = |(_, fields): (u32, crate::host::connect::redis::Fields<'_>)| {
        let read: Option<u64> = fields.number("offset");
        Replica {
            address: match (fields.get("ip"), fields.get("port")) {
                (Some(ip), Some(port)) if ip.contains(':') => format!("[{ip}]:{port}"),
                (ip, port) => format!("{}:{}", ip.unwrap_or_default(), port.unwrap_or_default()),
            },
            state: fields.get("state").unwrap_or_default().to_owned(),
            lag_s: fields.number("lag"),
            behind_bytes: written
                .zip(read)
                .map(|(written, read)| written.saturating_sub(read)),
        }
    };
    let link_up = info.get("master_link_status").map(|link| link == "up");
    let heard = match link_up {
        Some(true) => info.number("master_last_io_seconds_ago"),
        Some(false) => info.number("master_link_down_since_seconds"),
        None => None,
    };
    Some(Replication {
        role: role.to_owned(),
        replicas: info.numbered("slave").map(replica).collect(),
        link_up,
        heard_s: heard,
    })
}

#[cfg(test)]
mod tests {
    use super::read;
    use crate::host::connect::redis::Info;

    const FRESH: &str = "redis_version:7.0.15\nuptime_in_seconds:1\nconnected_clients:1\n\
        maxclients:10000\nblocked_clients:0\nused_memory:1000\nused_memory_rss:9000\n\
        maxmemory:0\ntotal_system_memory:90000\nmaxmemory_policy:noeviction\nloading:0\n\
        rdb_last_save_time:1000\nrdb_last_bgsave_status:ok\nrdb_changes_since_last_save:0\n\
        aof_enabled:0\nkeyspace_hits:0\nkeyspace_misses:0\nevicted_keys:0\nexpired_keys:0\nrole:master\n\
        master_repl_offset:500\n";

    #[test]
    fn a_fresh_server_has_no_hit_rate_and_no_limit() {
        let outputs = read(&Info::parse(FRESH), Some(1060.04)).unwrap();
        assert_eq!(outputs.hit_rate, None);
        let memory = outputs.memory.unwrap();
        assert_eq!((memory.max_bytes, memory.percent), (None, Some(10.0)));
        assert_eq!(outputs.persistence.unwrap().last_save_age_s, Some(60.0));
        assert_eq!(outputs.keys, Some(0));
    }

    #[test]
    fn figures_are_read_where_they_stand() {
        let text = FRESH
            .replace("keyspace_hits:0", "keyspace_hits:9")
            .replace("keyspace_misses:0", "keyspace_misses:91")
            .replace(
                "maxmemory:0",
                "maxmemory:2000\nmem_not_counted_for_evict:500",
            )
            + "db0:keys=3,expires=1,avg_ttl=0\ndb7:keys=4,expires=0,avg_ttl=0\n\
               slave0:ip=10.0.0.2,port=6379,state=online,offset=400,lag=3\n";
        let outputs = read(&Info::parse(&text), None).unwrap();
        assert_eq!(outputs.hit_rate, Some(9.0));
        assert_eq!(outputs.memory.unwrap().percent, Some(25.0));
        assert_eq!(outputs.keys, Some(7));
        assert_eq!(outputs.databases.unwrap()[1].database, 7);
        let replica = &outputs.replication.unwrap().replicas[0];
        assert_eq!(replica.address, "10.0.0.2:6379");
        assert_eq!((replica.lag_s, replica.behind_bytes), (Some(3), Some(100)));
    }

    #[test]
    fn what_is_no_info_is_none() {
        assert!(read(&Info::parse("role:master\n"), None).is_none());
    }
}
