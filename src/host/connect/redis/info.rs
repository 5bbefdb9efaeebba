//! What `INFO` says, as it says it.

/// What `INFO` says: lines of `name:value`.
#[derive(Clone, Debug, Default)]
pub struct Info(Vec<(String, String)>);

impl Info {
    /// From the text of an answer.
    pub fn parse(text: &str) -> Self {
        let pairs = text.lines().filter_map(|line| line.trim().split_once(':'));
        Self(
            pairs
                .map(|(name, value)| (name.to_owned(), value.to_owned()))
                .collect(),
        )
    }

    /// The value of `name`.
    pub fn get(&self, name: &str) -> Option<&str> {
        let pair = self.0.iter().find(|(other, _)| other == name);
        pair.map(|(_, value)| value.as_str())
    }

    /// The value of `name` as a number.
    pub fn number<T: std::str::FromStr>(&self, name: &str) -> Option<T> {
        self.get(name)?.parse().ok()
    }

    /// Whether the value of `name` is 1.
    pub fn flag(&self, name: &str) -> Option<bool> {
        self.get(name).map(|value| value == "1")
    }

    /// What is numbered, such as `db0`, `db1`: the number and the value, `keys=1,expires=0`.
    pub fn numbered<'i>(&'i self, name: &'i str) -> impl Iterator<Item = (u32, Fields<'i>)> {
        self.0.iter().filter_map(move |(other, value)| {
            let number = other.strip_prefix(name)?.parse().ok()?;
            Some((number, Fields(value)))
        })
    }
}

/// A value of several: `ip=10.0.0.2,port=6379,state=online`.
#[derive(Clone, Copy, Debug)]
pub struct Fields<'i>(&'i str);

impl<'i> Fields<'i> {
    /// The value of `name`.
    pub fn get(self, name: &str) -> Option<&'i str> {
        let mut pairs = self.0.split(',').filter_map(|pair| pair.split_once('='));
        pairs.find_map(|(other, value)| (other == name).then_some(value))
    }

    /// The value of `name` as a number.
    pub fn number<T: std::str::FromStr>(self, name: &str) -> Option<T> {
        self.get(name)?.parse().ok()
    }
}

#[cfg(test)]
mod tests {
    use super::Info;

    #[test]
    fn reads_info() {
        let info = Info::parse(
            "# Server\r\nredis_version:7.0.15\r\nexecutable:/a:b\r\n\r\nrole:master\r\n\
             slave0:ip=::1,port=6380,lag=1\r\nslave_repl_offset:3\r\n",
        );
        assert_eq!(info.get("redis_version"), Some("7.0.15"));
        assert_eq!(info.get("executable"), Some("/a:b"));
        assert_eq!(info.get("role"), Some("master"));
        assert_eq!(info.get("nothing"), None);
        let slaves: Vec<_> = info.numbered("slave").collect();
        assert_eq!(slaves.len(), 1);
        assert_eq!(slaves[0].1.get("ip"), Some("::1"));
        assert_eq!(slaves[0].1.number::<u64>("lag"), Some(1));
    }
}
