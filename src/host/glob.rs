//! Looking for files by a pattern: `/var/log/nginx/*.log`.

use std::ffi::OsString;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Component, Path, PathBuf};

use globset::{GlobBuilder, GlobMatcher};

use super::bounded::Pulse;
use super::{HostError, Observe};

/// How deep `**` goes at most: no real tree is deeper, and a mount of itself into itself is.
const DEEPEST: usize = 64;

/// Whether `path` is a pattern: whether it holds `*`, `?`, `[` or `{`.
pub fn is_pattern(path: &Path) -> bool {
    path.as_os_str()
        .as_bytes()
        .iter()
        .any(|b| b"*?[{".contains(b))
}

/// The folder that everything is in that matches `pattern`.
pub fn folder(pattern: &Path) -> PathBuf {
    let plain = |part: &Component<'_>| !is_pattern(Path::new(part.as_os_str()));
    pattern.components().take_while(plain).collect()
}

/// What one part of a pattern, between two `/`, stands for.
enum Part {
    /// Itself.
    Name(PathBuf),
    /// What matches.
    Matching {
        matcher: Box<GlobMatcher>,
        /// Whether names that begin with a dot may match: when the pattern begins with one.
        hidden: bool,
    },
    /// `**`: any number of folders, none too.
    AnyDepth,
}

/// What a pattern found.
#[derive(Debug, Default)]
pub struct Found {
    /// What is there, sorted.
    pub paths: Vec<PathBuf>,
    /// Folders that could hold more and cannot be read: "nothing more matches" would be a guess.
    pub unread: Vec<HostError>,
}

impl Observe {
    /// What is there under names that match `pattern`; folders too. As in a shell, `*` does not
    /// match `/`, nor a dot at the beginning of a name; `**` matches any number of folders, and
    /// does not follow links. Something that is there under the name `pattern` itself is all that
    /// matches it.
    ///
    /// # Errors
    /// When the pattern is malformed.
    pub fn glob(&self, pattern: &Path) -> Result<Found, HostError> {
        let pattern = self.scope().resolve(pattern);
        let mut found = Found::default();
        self.pulse().asks_about(&pattern);
        if pattern.symlink_metadata().is_ok() {
            found.paths.push(pattern);
            return Ok(found);
        }
        let parts = parts(&pattern).map_err(|cause| {
            HostError::permanent(format!("look for {}", pattern.display()), cause)
        })?;
        found.walk(self.pulse(), PathBuf::new(), &parts, 0);
        found.paths.sort();
        found.paths.dedup();
        Ok(found)
    }
}

/// Checks a pattern without looking anywhere.
///
/// # Errors
/// One sentence: what is wrong with it.
pub fn check(pattern: &Path) -> Result<(), String> {
    parts(pattern).map(|_| ())
}

fn parts(pattern: &Path) -> Result<Vec<Part>, String> {
    let part = |component: Component<'_>| {
        let name = component.as_os_str();
        if name == "**" {
            return Ok(Part::AnyDepth);
        }
        if !is_pattern(Path::new(name)) {
            return Ok(Part::Name(name.into()));
        }
        let text = name.to_str().ok_or("a pattern must be UTF-8")?;
        let glob = GlobBuilder::new(text).literal_separator(true).build();
        let glob = glob.map_err(|error| match text.matches('{').count() {
            opened if opened > text.matches('}').count() => {
                format!("{error}; `{{…}}` cannot hold a `/`")
            }
            _ => error.to_string(),
        })?;
        Ok(Part::Matching {
            matcher: Box::new(glob.compile_matcher()),
            hidden: text.starts_with('.'),
        })
    };
    pattern.components().map(part).collect()
}

impl Found {
    /// Adds what matches `parts` in `folder`.
    fn walk(&mut self, pulse: &Pulse, folder: PathBuf, parts: &[Part], depth: usize) {
        let Some((part, rest)) = parts.split_first() else {
            self.paths.push(folder);
            return;
        };
        match part {
            Part::Name(name) => {
                let path = folder.join(name);
                pulse.asks_about(&path);
                match path.symlink_metadata() {
                    Ok(_) => self.walk(pulse, path, rest, depth),
                    Err(error) => self.note(&path, &error),
                }
            }
            Part::Matching { matcher, hidden } => {
                for (name, _) in self.entries(pulse, &folder) {
                    let dotted = name.as_bytes().starts_with(b".");
                    if (*hidden || !dotted) && matcher.is_match(Path::new(&name)) {
                        self.walk(pulse, folder.join(name), rest, depth);
                    }
                }
            }
            Part::AnyDepth if rest.is_empty() || depth > DEEPEST => {}
            Part::AnyDepth => {
                self.walk(pulse, folder.clone(), rest, depth);
                for (name, is_folder) in self.entries(pulse, &folder) {
                    if is_folder && !name.as_bytes().starts_with(b".") {
                        self.walk(pulse, folder.join(name), parts, depth + 1);
                    }
                }
            }
        }
    }

    /// The names in `folder`, and whether each is a folder itself; none if `folder` is no folder.
    fn entries(&mut self, pulse: &Pulse, folder: &Path) -> Vec<(OsString, bool)> {
        let mut entries = Vec::new();
        pulse.asks_about(folder);
        match std::fs::read_dir(folder) {
            Ok(reader) => {
                for entry in reader {
                    pulse.goes_on();
                    match entry {
                        Ok(entry) => {
                            // One that went away meanwhile is none.
                            let is_folder = entry.file_type().is_ok_and(|kind| kind.is_dir());
                            entries.push((entry.file_name(), is_folder));
                        }
                        Err(error) => self.note(folder, &error),
                    }
                }
            }
            Err(error) => self.note(folder, &error),
        }
        entries
    }

    /// Keeps why something could not be looked at, unless it is that nothing is there.
    fn note(&mut self, path: &Path, error: &std::io::Error) {
        use std::io::ErrorKind as K;
        if !matches!(error.kind(), K::NotFound | K::NotADirectory) {
            let action = format!("look into {}", path.display());
            self.unread.push(HostError::io(action, error));
        }
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::{check, is_pattern};
    use crate::host::{Observe, testing};

    #[test]
    #[expect(clippy::disallowed_methods, reason = "a test's own files")]
    fn finds_what_a_shell_would() {
        let test = testing::scope();
        let root = test.folder.path().join("logs");
        for name in [
            "a.log",
            "b.log",
            "c.txt",
            ".hidden.log",
            "x/a.log",
            "x/y/deep.log",
            "x/.z/no.log",
            "literal[1].log",
            "new\nline.log",
        ] {
            let path = root.join(name);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, "").unwrap();
        }
        std::os::unix::fs::symlink(&root, root.join("x/loop")).unwrap();
        let host = Observe::new(test.scope.clone());
        let find = |pattern: &str| -> Vec<String> {
            let found = host.glob(&Path::new("logs").join(pattern)).unwrap();
            assert!(found.unread.is_empty());
            let name =
                |path: std::path::PathBuf| path.strip_prefix(&root).unwrap().display().to_string();
            found.paths.into_iter().map(name).collect()
        };
        let flat = ["a.log", "b.log", "literal[1].log", "new\nline.log"];
        assert_eq!(find("*.log"), flat);
        assert_eq!(find("{a,b}.log"), ["a.log", "b.log"]);
        assert_eq!(find("[!a].log"), ["b.log"]);
        assert_eq!(find("*/a.log"), ["x/a.log"]);
        assert_eq!(find(".h*"), [".hidden.log"]);
        assert_eq!(find("literal[1].log"), ["literal[1].log"]);
        assert_eq!(find("**/*.log")[4..], ["x/a.log", "x/y/deep.log"]);
        assert_eq!(find("**/deep.log"), ["x/y/deep.log"]);
        assert_eq!(find("nothing/*.log"), [""; 0]);
        assert_eq!(find("a.log/*"), [""; 0]);
        assert!(host.glob(Path::new("logs/[.log")).is_err());
    }

    #[test]
    fn patterns_are_checked_without_looking() {
        assert!(
            is_pattern(Path::new("/var/log/*.log")) && !is_pattern(Path::new("/var/log/a.log"))
        );
        assert_eq!(check(Path::new("/var/log/{a,b}/*.log")), Ok(()));
        let error = check(Path::new("/var/{log/a,log/b}.log")).unwrap_err();
        assert!(error.contains("cannot hold a `/`"), "{error}");
    }
}
