//! Which keys nobody needs any more: one rule, in Rust for what only looks and in Lua for what removes.

/// How a key stands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Rest {
    /// For how many seconds nobody has read or written it; none where that was not asked.
    pub idle_s: Option<u64>,
    /// Whether it has a time to live; none where that was not asked.
    pub has_ttl: Option<bool>,
}

/// Which keys nobody needs any more. All that is asked must hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stale {
    /// Nobody has touched it for so many seconds.
    pub idle_s: Option<u64>,
    /// It has no time to live.
    pub without_ttl: bool,
}

/// What became of a key that was to be removed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// It was gone already.
    Gone,
    /// It was removed.
    Removed,
    /// It was touched meanwhile, or got a time to live: it stays.
    Spared,
}

impl Stale {
    /// Whether a key that stands so is one of them.
    pub fn fits(self, rest: Rest) -> bool {
        let idle = match (self.idle_s, rest.idle_s) {
            (None, _) => true,
            (Some(wanted), Some(idle)) => idle >= wanted,
            (Some(_), None) => false,
        };
        idle && (!self.without_ttl || rest.has_ttl == Some(false))
    }

    /// As the script takes it.
    pub(super) fn arguments(self) -> [String; 2] {
        [
            self.idle_s.map_or("-1".to_owned(), |idle| idle.to_string()),
            u8::from(self.without_ttl).to_string(),
        ]
    }
}

/// Judges each key again and removes it in the same moment. WATCH could not do that: it notices who
/// writes a key, not who reads it. Nothing here touches a key (`LOOKUP_NOTOUCH` in `db.c`, `object.c`).
pub(super) const SCRIPT: &str = "\
local fates = {}
local idle = tonumber(ARGV[1])
for at, key in ipairs(KEYS) do
  local fate = 1
  if idle >= 0 then
    local rest = redis.call('OBJECT', 'IDLETIME', key)
    if not rest then
      fate = 0
    elseif rest < idle then
      fate = 2
    end
  end
  if fate == 1 and ARGV[2] == '1' then
    local left = redis.call('PTTL', key)
    if left == -2 then
      fate = 0
    elseif left ~= -1 then
      fate = 2
    end
  end
  if fate == 1 and redis.call('UNLINK', key) == 0 then
    fate = 0
  end
  fates[at] = fate
end
return fates
";

#[cfg(test)]
mod tests {
    use super::{Rest, Stale};

    #[test]
    fn all_that_is_asked_must_hold() {
        let stale = |idle_s, without_ttl| Stale {
            idle_s,
            without_ttl,
        };
        let rest = |idle_s, has_ttl| Rest { idle_s, has_ttl };
        for (stale, rest, fits) in [
            (stale(Some(60), false), rest(Some(60), None), true),
            (stale(Some(60), false), rest(Some(59), None), false),
            (stale(Some(60), true), rest(Some(99), Some(true)), false),
            (stale(Some(60), true), rest(Some(99), Some(false)), true),
            (stale(None, true), rest(None, Some(false)), true),
            (stale(None, true), rest(None, Some(true)), false),
            // What is not known is not so.
            (stale(Some(0), false), rest(None, None), false),
            (stale(None, true), rest(None, None), false),
        ] {
            assert_eq!(stale.fits(rest), fits, "{stale:?} {rest:?}");
        }
    }
}
