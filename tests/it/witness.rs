//! Keys, checkpoints and witnesses: who writes another history, however well, is seen; and what is
//! exported or pruned still verifies.

use std::fs;
use std::path::{Path, PathBuf};

use crate::support::http::{HttpServer, Reply};
use crate::support::moto::{KEY, Moto, SECRET};
use crate::support::process;
use crate::support::run::{Ran, Runbook};
use crate::support::syslog::Syslog;

const PLAYBOOK: &str = "\
runbook: v1
name: small
steps:
  - { id: a, exec.command: { argv: [echo, hello] } }
  - { id: b, flow.set: { values: { x: 1 } } }
";

/// A state folder with a key, and what was said of it.
fn with_key() -> Ran {
    let made = Runbook::new().args(["audit", "keygen"]).run();
    made.expect_code(0);
    made
}

fn run(ran: &Ran) -> Ran {
    ran.then().arg("run").playbook(PLAYBOOK).run()
}

fn verify(ran: &Ran, args: &[&str]) -> Ran {
    ran.then().args(["audit", "verify"]).args(args).run()
}

fn audit_file(ran: &Ran, text: &str) {
    let text = format!("runbook-audit: v1\n{text}");
    fs::write(ran.state().join("audit.yaml"), text).unwrap();
}

/// Writes another history of run `number`, with the key.
#[track_caller]
fn forge(ran: &Ran, number: u32) {
    process::program("openssl", "openssl");
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/fixtures/forge.py");
    let (state, number) = (ran.state().to_str().unwrap(), number.to_string());
    let args = [script.to_str().unwrap(), state, &number];
    process::output("/usr/bin/python3", &args).expect_code(0);
}

fn copy(from: &Path, to: &Path) {
    let args = ["-a", from.to_str().unwrap(), to.to_str().unwrap()];
    process::output("cp", &args).expect_code(0);
}

#[test]
fn a_key_signs_each_end_and_openssl_agrees() {
    let made = with_key();
    assert!(made.stdout.starts_with("key      "), "{made}");
    run(&made).expect_code(0);
    let found = verify(&made, &[]);
    found.expect_code(0);
    assert!(
        found
            .stdout
            .contains("ok   signatures        2 checkpoints, up to record 4"),
        "{found}"
    );

    // Checked with openssl alone, by the page's own words.
    let page = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/audit.md"));
    let page = page.unwrap();
    let (_, rest) = page.split_once("\n```bash\n").unwrap();
    let script = made.folder().join("signature.sh");
    fs::write(&script, rest.split_once("\n```\n").unwrap().0).unwrap();
    let state = made.state().to_str().unwrap().to_owned();
    let key = made.folder().join("trusted.pub");
    fs::copy(made.state().join("keys/checkpoint.pub"), &key).unwrap();
    let check = || {
        let args = [script.to_str().unwrap(), &state, key.to_str().unwrap()];
        process::output("bash", &args)
    };
    assert!(
        check()
            .expect_code(0)
            .stdout
            .contains("Verified Successfully")
    );
    let ledger = made.state().join("ledger.jsonl");
    let text = fs::read_to_string(&ledger).unwrap();
    fs::write(&ledger, text.replace("\"records\":4", "\"records\":3")).unwrap();
    assert_ne!(check().code, 0);
    fs::write(&ledger, text).unwrap();

    // A key that was kept elsewhere is trusted, another one is not.
    let other = with_key();
    let trusted = verify(&made, &["--key", key.to_str().unwrap()]);
    trusted.expect_code(0);
    let theirs = other.state().join("keys/checkpoint.pub");
    let distrusted = verify(&made, &["--key", theirs.to_str().unwrap()]);
    distrusted.expect_code(5);
    assert!(
        distrusted.stdout.contains("its signatures are not trusted"),
        "{distrusted}"
    );
    let again = made.then().args(["audit", "keygen"]).run();
    again.expect_code(2);
    assert!(again.stderr.contains("--replace"), "{again}");
    made.then()
        .args(["audit", "keygen", "--replace"])
        .run()
        .expect_code(0);
    run(&made).expect_code(0);
    verify(&made, &["--key", key.to_str().unwrap()]).expect_code(0);
}

#[test]
fn nothing_runs_that_could_not_be_signed() {
    let made = with_key();
    let key = made.state().join("keys/checkpoint.key");
    let touch =
        "runbook: v1\nname: t\nsteps:\n  - { id: a, exec.command: { argv: [touch, touched] } }\n";
    let refused = |why: &str| {
        let ran = made.then().arg("run").playbook(touch).run();
        ran.expect_code(5);
        assert!(ran.stderr.contains(why), "{ran}");
        assert!(!ran.folder().join("touched").exists(), "{ran}");
    };
    process::output("chmod", &["644", key.to_str().unwrap()]).expect_code(0);
    refused("others than its owner may read it");
    fs::remove_file(&key).unwrap();
    refused("runbook audit keygen --replace");
    fs::write(
        &key,
        "-----BEGIN PRIVATE KEY-----\nnone\n-----END PRIVATE KEY-----\n",
    )
    .unwrap();
    process::output("chmod", &["600", key.to_str().unwrap()]).expect_code(0);
    refused("no Ed25519 key in PEM");
    fs::copy(&key, made.state().join("keys/checkpoint.key.new")).unwrap();
    refused("the making of another one was cut off");
}

#[test]
fn a_key_that_is_replaced_while_runs_begin_and_end_stops_none() {
    let made = with_key();
    fs::copy(
        made.state().join("keys/checkpoint.pub"),
        made.folder().join("first.pub"),
    )
    .unwrap();
    fs::write(made.folder().join("playbook.yaml"), PLAYBOOK).unwrap();
    let begin = || made.then().args(["run", "playbook.yaml"]).start();
    let mut runs = Vec::new();
    for _ in 0..5 {
        runs.extend([begin(), begin(), begin()]);
        let args = ["audit", "keygen", "--replace"];
        made.then().args(args).run().expect_code(0);
        verify(&made, &[]).expect_code(0);
    }
    for run in runs {
        run.finish().expect_code(0);
    }
    let found = verify(&made, &["--key", "first.pub"]);
    found.expect_code(0);
    assert!(
        found.stdout.contains("verified: the ledger and 15 runs"),
        "{found}"
    );
}

#[test]
fn in_a_shared_folder_others_cannot_steer_what_is_signed_written_or_read() {
    let made = with_key();
    run(&made).expect_code(0);
    let state = made.state().to_owned();
    let theirs = |path: &Path| {
        process::output("chown", &["-h", "nobody", path.to_str().unwrap()]).expect_code(0);
    };
    // Their `audit.yaml` would read what only we may read.
    audit_file(&made, "witnesses:\n  - file: { path: /tmp/never }\n");
    theirs(&state.join("audit.yaml"));
    let ran = run(&made);
    ran.expect_code(3);
    assert!(
        ran.stderr.contains("audit.yaml belongs to another user"),
        "{ran}"
    );
    fs::remove_file(state.join("audit.yaml")).unwrap();
    // Their link in the ledger's place would have us write to a file of ours.
    let (ledger, kept, ours) = (
        state.join("ledger.jsonl"),
        state.join("kept"),
        made.folder().join("ours"),
    );
    fs::rename(&ledger, &kept).unwrap();
    fs::write(&ours, "").unwrap();
    std::os::unix::fs::symlink(&ours, &ledger).unwrap();
    theirs(&ledger);
    let ran = run(&made);
    ran.expect_code(5);
    assert!(ran.stderr.contains("another user put there"), "{ran}");
    assert_eq!(fs::read_to_string(&ours).unwrap(), "");
    fs::remove_file(&ledger).unwrap();
    fs::rename(&kept, &ledger).unwrap();
    // Without the key of a signed ledger nothing runs, nor with one of theirs.
    let (keys, away) = (state.join("keys"), state.join("away"));
    fs::rename(&keys, &away).unwrap();
    fs::create_dir(&keys).unwrap();
    let ran = run(&made);
    ran.expect_code(5);
    assert!(
        ran.stderr.contains("it is gone, and the ledger is signed"),
        "{ran}"
    );
    for name in ["checkpoint.key", "checkpoint.pub"] {
        let from = away.join(name);
        let args = ["-p", from.to_str().unwrap(), keys.to_str().unwrap()];
        process::output("cp", &args).expect_code(0);
        theirs(&keys.join(name));
    }
    let ran = run(&made);
    ran.expect_code(5);
    assert!(ran.stderr.contains("it belongs to another user"), "{ran}");
    fs::remove_dir_all(&keys).unwrap();
    fs::rename(&away, &keys).unwrap();
    run(&made).expect_code(0);
    verify(&made, &[]).expect_code(0);
}

/// Everybody who can be a witness.
struct Witnesses {
    syslog: Syslog,
    http: HttpServer,
    file: PathBuf,
    bucket: String,
}

impl Witnesses {
    fn of(ran: &Ran) -> Witnesses {
        let bucket = format!(
            "audit-{}",
            ran.folder().file_name().unwrap().to_string_lossy()
        );
        let bucket = bucket.to_lowercase().replace(['.', '_'], "-");
        Moto::shared().boto(&format!(
            "s3.create_bucket(Bucket='{bucket}', ObjectLockEnabledForBucket=True)"
        ));
        Witnesses {
            syslog: Syslog::start(),
            http: HttpServer::start(),
            file: ran.folder().join("witness.jsonl"),
            bucket,
        }
    }

    fn config(&self) -> String {
        let log = self.syslog.file();
        let log = log.display();
        format!(
            "witnesses:\n\
             \x20 - file: {{ path: {} }}\n\
             \x20 - {{ name: tcp, syslog: {{ address: '{}', read: {log} }} }}\n\
             \x20 - {{ name: udp, syslog: {{ address: '{}', read: {log} }} }}\n\
             \x20 - {{ name: socket, syslog: {{ address: {}, read: {log} }} }}\n\
             \x20 - http: {{ url: '{}', token: {{ env: TOKEN }} }}\n\
             \x20 - s3: {{ bucket: {}, endpoint: '{}', access_key_id: {{ env: AK }}, secret_access_key: {{ env: SK }}, retain_for: 1d }}\n\
             require: 6\n",
            self.file.display(),
            self.syslog.tcp(),
            self.syslog.udp(),
            self.syslog.socket().display(),
            self.http.url("/checkpoints"),
            self.bucket,
            Moto::shared().url(),
        )
    }

    /// The web server gives back what it was sent.
    fn answer(&self) {
        let requests = self.http.requests();
        let sent = requests.iter().filter(|request| request.method == "POST");
        let all: Vec<String> = sent
            .map(|request| String::from_utf8(request.body.clone()).unwrap())
            .collect();
        let list = format!("[{}]", all.join(","));
        self.http.route("/checkpoints", Reply::json(&list));
    }
}

#[test]
fn every_witness_sees_another_history() {
    let made = with_key();
    let witnesses = Witnesses::of(&made);
    witnesses.http.route("/checkpoints", Reply::status(204));
    audit_file(&made, &witnesses.config());
    let secrets = [("TOKEN", "s3same"), ("AK", KEY), ("SK", SECRET)];
    let with = |args: &[&str]| {
        let runbook = secrets
            .iter()
            .fold(made.then(), |r, (name, value)| r.env(name, value));
        runbook.args(args)
    };
    for _ in 0..3 {
        with(&["run"]).playbook(PLAYBOOK).run().expect_code(0);
    }
    witnesses.syslog.wait_for("\"records\":10", 3);
    witnesses.answer();
    let posted = witnesses.http.requests();
    assert!(
        posted
            .iter()
            .all(|r| r.header("authorization") == Some("Bearer s3same"))
    );

    let names = ["file", "tcp", "udp", "socket", "http", "s3"];
    let found = with(&["audit", "verify", "--format", "json"]).run();
    found.expect_code(0);
    let json = found.json();
    assert_eq!(json["witnesses"].as_array().unwrap().len(), names.len());
    assert!(
        json["witnesses"]
            .as_array()
            .unwrap()
            .iter()
            .all(|w| w["ok"] == true),
        "{found}"
    );

    // Nobody can take back what the bucket has.
    let bucket = &witnesses.bucket;
    let deleted = Moto::shared().boto(&format!(
        "import botocore\n\
         for version in s3.list_object_versions(Bucket='{bucket}')['Versions']:\n\
         \x20   try:\n\
         \x20       s3.delete_object(Bucket='{bucket}', Key=version['Key'], VersionId=version['VersionId'])\n\
         \x20       print('gone')\n\
         \x20   except botocore.exceptions.ClientError as error:\n\
         \x20       print(error.response['Error']['Code'])\n\
         \x20   s3.delete_object(Bucket='{bucket}', Key=version['Key'])\n\
         \x20   s3.put_object(Bucket='{bucket}', Key=version['Key'], Body=b'nothing')"
    ));
    assert_eq!(deleted, "AccessDenied\n".repeat(3));

    // The second run was somebody else's, says the ledger; and everything is signed.
    let pristine = made.folder().join("pristine");
    copy(made.state(), &pristine);
    forge(&made, 2);
    let empty = made.folder().join("audit.yaml");
    fs::rename(made.state().join("audit.yaml"), &empty).unwrap();
    let alone = verify(&made, &[]);
    alone.expect_code(0);
    fs::rename(&empty, made.state().join("audit.yaml")).unwrap();
    let found = with(&["audit", "verify", "--format", "json"]).run();
    found.expect_code(5);
    let json = found.json();
    for (name, witness) in names.iter().zip(json["witnesses"].as_array().unwrap()) {
        assert_eq!(witness["witness"], *name);
        let verdict = witness["verdict"].as_str().unwrap();
        // Records 3-5, 6-8 and 9-11 are the runs; the checkpoint behind the second vouches for 7.
        assert!(
            verdict.contains("record 7 of the ledger was tampered with"),
            "{name}: {verdict}"
        );
        assert!(
            verdict.contains("it agrees up to record 4"),
            "{name}: {verdict}"
        );
    }
    // Given by hand, it is the same.
    fs::remove_file(made.state().join("audit.yaml")).unwrap();
    let by_hand = verify(&made, &["--witness", witnesses.file.to_str().unwrap()]);
    by_hand.expect_code(5);
    // The history as it was is good.
    fs::remove_file(pristine.join("audit.yaml")).unwrap();
    let restored = Runbook::new().state(&pristine);
    restored
        .args(["audit", "verify", "--witness"])
        .arg(&witnesses.file)
        .run()
        .expect_code(0);
}

#[test]
fn a_witness_that_does_not_listen_is_told_and_may_be_required() {
    let made = with_key();
    let port = crate::support::net::free_port();
    let gone = format!("witnesses:\n  - http: {{ url: 'http://127.0.0.1:{port}/' }}\n");
    audit_file(&made, &gone);
    let ran = run(&made);
    ran.expect_code(0);
    assert!(
        ran.stderr
            .contains("warning: the witness `http` has no checkpoint of this"),
        "{ran}"
    );
    assert!(ran.stderr.contains("connection refused"), "{ran}");
    audit_file(&made, &format!("{gone}require: 1\n"));
    run(&made).expect_code(5);
    // It cannot be asked either: what could not be looked at is not fine.
    let found = verify(&made, &[]);
    found.expect_code(1);
    assert!(found.stdout.contains("one could not be asked"), "{found}");

    let black_hole = crate::support::net::BlackHole::open();
    let port = black_hole.port();
    for witness in [
        format!("http: {{ url: 'http://127.0.0.1:{port}/' }}"),
        format!(
            "s3: {{ bucket: b, endpoint: 'http://127.0.0.1:{port}', access_key_id: {{ env: HOME }}, secret_access_key: {{ env: HOME }} }}"
        ),
    ] {
        audit_file(
            &made,
            &format!("witnesses:\n  - {{ timeout: 300ms, {witness} }}\n"),
        );
        let ran = run(&made);
        ran.expect_code(0);
        assert!(ran.stderr.contains("there was none within 300ms"), "{ran}");
    }
}

#[test]
fn what_is_wrong_with_audit_yaml_is_told_before_anything_runs() {
    let made = with_key();
    for (text, wanted) in [
        (
            "witnesses:\n  - fiel: { path: /x }\n",
            "did you mean `file`",
        ),
        (
            "witnesses:\n  - { file: { path: /x }, http: { url: 'http://x/' } }\n",
            "a witness has one kind",
        ),
        ("witnesses:\n  - file: { path: x }\n", "begins with `/`"),
        ("witnesses:\n  - http: { url: 'ftp://x/' }\n", "not `ftp`"),
        (
            "witnesses:\n  - http: { url: 'http://x/', token: { env: A, file: /b } }\n",
            "has one source",
        ),
        (
            "witnesses:\n  - syslog: { address: 'udp://x' }\n",
            "udp://HOST:PORT",
        ),
        (
            "witnesses:\n  - file: { path: /x }\n  - file: { path: /y }\n",
            "two witnesses are called `file`",
        ),
        (
            "witnesses:\n  - file: { path: '${{ params.x }}' }\n",
            "before anything is evaluated",
        ),
        ("require: 1\n", "`require` is 1"),
        ("retention: { keep_for: soon }\n", "`soon`"),
    ] {
        audit_file(&made, text);
        let ran = run(&made);
        ran.expect_code(2);
        assert!(ran.stderr.contains(wanted), "{text}{ran}");
        assert!(ran.stderr.contains("audit.yaml:"), "{ran}");
    }
    let without = Runbook::new().file(
        "state/audit.yaml",
        "runbook-audit: v1\nwitnesses:\n  - syslog: {}\n",
    );
    let ran = without.arg("run").playbook(PLAYBOOK).run();
    ran.expect_code(2);
    assert!(ran.stderr.contains("runbook audit keygen"), "{ran}");
}

#[test]
fn an_export_verifies_elsewhere_and_says_what_was_changed() {
    let made = with_key();
    for _ in 0..4 {
        run(&made).expect_code(0);
    }
    let history = made
        .then()
        .args(["history", "--format", "json"])
        .run()
        .json();
    let ids: Vec<String> = { history["runs"].as_array().unwrap().iter() }
        .map(|run| run["id"].as_str().unwrap().to_owned())
        .collect();
    // The two in the middle; the newest comes first.
    let export = made
        .then()
        .args(["audit", "export", "-o", "out", &ids[1], &ids[2]])
        .run();
    export.expect_code(0);
    let out = made.folder().join("out");
    let elsewhere = |args: &[&str]| {
        let runbook = Runbook::new()
            .args(["audit", "verify", "--export"])
            .arg(&out);
        runbook.args(args).run()
    };
    let found = elsewhere(&[]);
    found.expect_code(0);
    assert!(
        found.stdout.contains("verified: the ledger and 2 runs"),
        "{found}"
    );
    assert!(
        !found.stdout.contains(&ids[0]) && !found.stdout.contains(&ids[3]),
        "{found}"
    );
    let elsewhere_too = "1 run of the ledger: not in this export";
    assert!(found.stdout.contains(elsewhere_too), "{found}");
    let key = made.state().join("keys/checkpoint.pub");
    elsewhere(&["--key", key.to_str().unwrap()]).expect_code(0);
    let script = out.join("verify.py");
    let python = || {
        let args = [script.to_str().unwrap(), out.to_str().unwrap()];
        process::output("/usr/bin/python3", &args)
    };
    python().expect_code(0);
    let taken = made.then().args(["audit", "export", "-o", "out"]).run();
    taken.expect_code(2);
    // A range of time that has none.
    let none = made
        .then()
        .args(["audit", "export", "-o", "none", "--until", "2020-01-01"])
        .run();
    none.expect_code(2);
    assert!(!made.folder().join("none").exists());
    let all = made
        .then()
        .args(["audit", "export", "-o", "all", "--since", "2020-01-01"])
        .run();
    assert!(all.stdout.contains("exported 4 runs"), "{all}");

    let journal = out.join("runs").join(&ids[1]).join("journal.jsonl");
    let text = fs::read_to_string(&journal).unwrap();
    fs::write(&journal, text.replace("hello", "hullo")).unwrap();
    elsewhere(&[]).expect_code(5);
    assert_eq!(python().code, 1);
    fs::write(&journal, text).unwrap();
    elsewhere(&[]).expect_code(0);
    fs::remove_dir_all(out.join("runs").join(&ids[2])).unwrap();
    elsewhere(&[]).expect_code(5);
    assert_eq!(python().code, 1);
}

#[test]
fn what_is_pruned_is_gone_and_the_chain_holds() {
    let made = with_key();
    for _ in 0..3 {
        run(&made).expect_code(0);
    }
    let other = made
        .then()
        .arg("run")
        .playbook(&PLAYBOOK.replace("small", "other"))
        .run();
    other.expect_code(0);
    let waits = "runbook: v1\nname: waits\nsteps:\n  - id: a\n    exec.command: { argv: ['true'] }\n    approval: { kind: approve, message: May it? }\n";
    made.then()
        .args(["run"])
        .playbook(waits)
        .run()
        .expect_code(3);
    let tampered = made.then().arg("run").playbook(PLAYBOOK).run();
    tampered.expect_code(0);
    run(&made).expect_code(0);
    let history = made
        .then()
        .args(["history", "--format", "json"])
        .run()
        .json();
    let id = |at: usize| history["runs"][at]["id"].as_str().unwrap().to_owned();
    let journal = made.state().join("runs").join(id(1)).join("journal.jsonl");
    let text = fs::read_to_string(&journal).unwrap();
    fs::write(&journal, text.replace("hello", "hullo")).unwrap();

    let prune = |args: &[&str]| made.then().args(["audit", "prune"]).args(args).run();
    prune(&[]).expect_code(2);
    let listed = prune(&["--keep-for", "0s", "--dry-run"]);
    listed.expect_code(0);
    let wanted: Vec<&str> = listed.stdout.lines().map(|line| &line[..5]).collect();
    assert_eq!(wanted, ["prune", "prune", "prune", "keep "], "{listed}");
    assert!(listed.stdout.contains("it does not verify"), "{listed}");
    prune(&["--keep-for", "0s"]).expect_code(3);
    assert!(made.state().join("runs").join(id(6)).exists());
    assert!(prune(&["--keep-for", "1d", "-y"]).stdout.is_empty());
    prune(&["--keep-for", "0s", "-y"]).expect_code(0);
    for at in [4, 5, 6] {
        assert!(!made.state().join("runs").join(id(at)).exists());
    }
    for at in [0, 1, 2, 3] {
        assert!(made.state().join("runs").join(id(at)).exists());
    }
    // Only what was bad before is bad.
    let found = verify(&made, &[]);
    found.expect_code(5);
    assert!(
        found.stdout.contains("NOT VERIFIED: 1 of 7 runs bad"),
        "{found}"
    );
    fs::write(&journal, text).unwrap();
    let found = verify(&made, &[]);
    found.expect_code(0);
    assert_eq!(found.stdout.matches("pruned by").count(), 3, "{found}");
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/verify.py");
    let args = [script.to_str().unwrap(), made.state().to_str().unwrap()];
    process::output("/usr/bin/python3", &args).expect_code(0);
    let status = made.then().args(["status", &id(6)]).run();
    assert!(status.stderr.contains("were taken away by"), "{status}");
    assert_eq!(
        made.then()
            .args(["history", "--format", "json"])
            .run()
            .json(),
        history
    );

    // With all of them gone it is still told what became of them.
    let all = Runbook::new().arg("run").playbook(PLAYBOOK).run();
    let args = [
        "audit",
        "prune",
        "--keep-for",
        "0s",
        "--keep-last",
        "0",
        "-y",
    ];
    all.then().args(args).run().expect_code(0);
    let last = all.then().args(["status", "last"]).run();
    assert!(last.stderr.contains("were taken away by"), "{last}");

    // Who takes a run away without saying so is told; and what a crash left of a pruning goes.
    let left = made.state().join("runs").join(id(5));
    fs::create_dir(&left).unwrap();
    verify(&made, &[]).expect_code(0);
    prune(&["--keep-for", "1d", "-y"]).expect_code(0);
    assert!(!left.exists());
    fs::remove_dir_all(made.state().join("runs").join(id(3))).unwrap();
    verify(&made, &[]).expect_code(5);
}
