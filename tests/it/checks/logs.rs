//! Logs: rotated and compressed ones, undecodable ones, and those of which only a part may be read.

use std::fs::{self, Permissions};
use std::io::Write as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use flate2::Compression;
use flate2::write::GzEncoder;

use super::Checks;
use super::hidden::as_nobody;

fn gz(text: &str) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
    encoder.write_all(text.as_bytes()).expect("into memory");
    encoder.finish().expect("into memory")
}

fn zst(text: &str) -> Vec<u8> {
    zstd::encode_all(text.as_bytes(), 1).expect("into memory")
}

fn close(path: &Path, mode: u32) {
    fs::set_permissions(path, Permissions::from_mode(mode)).expect("it is ours");
}

#[test]
fn rotated_parts_count_whatever_they_are_compressed_with() {
    let mut checks = Checks::new("");
    checks
        .expect("ok", "log.scan: { path: app.log, pattern: ERROR }")
        .expect(
            "critical",
            "log.scan: { path: app.log, pattern: ERROR, rotated: true, max: 3 }",
        )
        .expect(
            "ok",
            "log.scan: { path: app.log, pattern: ERROR, rotated: true, max: 4 }",
        )
        .expect(
            "critical",
            "log.scan: { path: app.log.2.gz, pattern: three }",
        )
        // What is damaged, or compressed otherwise, was not read.
        .expect(
            "unknown",
            "log.scan: { path: cut.log, pattern: FATAL, rotated: true }",
        )
        .expect(
            "unknown",
            "log.scan: { path: other.log, pattern: FATAL, rotated: true }",
        );
    let cut = gz("INFO a line that is long enough to be cut off\n");
    let ran = checks.run(|run| {
        run.file("app.log", "INFO fine\n")
            .file("app.log.1", "ERROR four\n")
            .file("app.log.2.gz", gz("ERROR two\nINFO\nERROR three\n"))
            .file("app.log.3.zst", zst("ERROR one\n"))
            .file("cut.log", "INFO\n")
            .file("cut.log.1.gz", &cut[..cut.len() - 12])
            .file("other.log", "INFO\n")
            .file("other.log.1.xz", b"\xfd7zXZ\0 and so on")
    });
    let status = ran.json();
    let texts: Vec<&str> = status["steps"][2]["outputs"]["last"]
        .as_array()
        .expect("lines")
        .iter()
        .filter_map(|line| line["text"].as_str())
        .collect();
    assert_eq!(
        texts,
        ["ERROR one", "ERROR two", "ERROR three", "ERROR four"]
    );
    assert!(ran.stdout.contains("compressed as .xz"), "{ran}");
}

#[test]
fn what_a_line_is_made_of_hides_no_error() {
    let mut checks = Checks::new("");
    checks
        .expect(
            "critical",
            "log.scan: { path: bytes.log, pattern: '^ERROR .* end$', max: 1 }",
        )
        .expect(
            "ok",
            "log.scan: { path: bytes.log, pattern: '^ERROR .* end$', max: 2 }",
        )
        .expect("ok", "log.scan: { path: empty.log, pattern: ERROR }")
        // Nobody knows which of its lines are recent.
        .expect(
            "unknown",
            "log.scan: { path: undated.log, pattern: ERROR, within: 1h }",
        );
    checks.run(|run| {
        run.file("bytes.log", b"ERROR \xff\xfe end\r\nok\0\nERROR \0 end")
            .file("empty.log", "")
            .file("undated.log", "ERROR without a time\n")
    });
}

#[test]
fn what_may_not_be_read_is_unknown_however_it_is_named() {
    let mut checks = Checks::new("");
    checks
        .expect("unknown", "log.scan: { path: secret.log, pattern: ERROR }")
        .expect("unknown", "log.scan: { path: closed/app.log, pattern: E }")
        // One of two folders cannot be looked into: that nothing matches would be a guess.
        .expect("unknown", "log.scan: { path: '*/app.log', pattern: ERROR }")
        .expect("unknown", "log.scan: { path: 'closed/*.log', pattern: E }")
        .expect("unknown", "log.scan: { path: '**/*.log', pattern: FATAL }")
        // An older part is closed, or nobody may see which there are.
        .expect(
            "unknown",
            "log.scan: { path: open/app.log, pattern: ERROR, rotated: true }",
        )
        .expect(
            "unknown",
            "log.scan: { path: unlisted/app.log, pattern: ERROR, rotated: true }",
        )
        .expect("ok", "log.scan: { path: open/app.log, pattern: ERROR }")
        .expect("ok", "log.scan: { path: unlisted/app.log, pattern: ERROR }")
        // What can be read is enough to know that there are too many.
        .expect("critical", "log.scan: { path: '*/app.log', pattern: INFO }");
    let ran = checks.run(|run| {
        let run = run
            .file("secret.log", "ERROR\n")
            .file("closed/app.log", "ERROR\n")
            .file("open/app.log", "INFO\n")
            .file("open/app.log.1", "ERROR\n")
            .file("unlisted/app.log", "INFO\n")
            .file("unlisted/app.log.1", "ERROR\n");
        let folder = run.folder().to_path_buf();
        close(&folder.join("secret.log"), 0o600);
        close(&folder.join("open/app.log.1"), 0o600);
        close(&folder.join("closed"), 0o700);
        close(&folder.join("unlisted"), 0o711);
        as_nobody(run)
    });
    assert!(ran.stdout.contains("permission denied"), "{ran}");
}
