//! moto: S3 as AWS has it, object lock included, on a free loopback port. `tests/run.sh` installs it
//! beside the build.

use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::time::Duration;

use tempfile::TempDir;

use super::daemon::{Daemon, Spec};
use super::run::PROGRAM;
use super::{lifetime, net, process, wait};

/// How long a server may take to be ready, on a machine that is busy compiling.
const READY: Duration = Duration::from_secs(60);

/// It takes any credentials; these are ours.
pub const KEY: &str = "AK1";
/// Likewise.
pub const SECRET: &str = "SK1secret";

/// A server that runs. It ends when dropped.
pub struct Moto {
    _daemon: Daemon,
    _folder: TempDir,
    port: u16,
}

impl Moto {
    /// The server of all tests; each has buckets of its own.
    pub fn shared() -> &'static Moto {
        static SHARED: OnceLock<Moto> = OnceLock::new();
        SHARED.get_or_init(Moto::start)
    }

    fn start() -> Moto {
        let folder = lifetime::folder("moto");
        let port = net::free_port();
        let argv = [
            python("moto_server").into_os_string(),
            "-H".into(),
            "127.0.0.1".into(),
            "-p".into(),
            port.to_string().into(),
        ];
        let spec = Spec {
            argv: argv.into(),
            user: None,
            death: "KILL",
            log: folder.path().join("server.log"),
        };
        let daemon = Daemon::start("moto", &spec);
        let address = std::net::SocketAddr::from(([127, 0, 0, 1], port));
        wait::until("moto to be ready", READY, || {
            std::net::TcpStream::connect(address).ok()
        });
        Moto {
            _daemon: daemon,
            _folder: folder,
            port,
        }
    }

    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// Runs Python with a client `s3` of boto3, and returns what it prints.
    #[track_caller]
    pub fn boto(&self, code: &str) -> String {
        let url = self.url();
        let script = format!(
            "import boto3\ns3 = boto3.client('s3', endpoint_url='{url}', region_name='us-east-1', \
             aws_access_key_id='{KEY}', aws_secret_access_key='{SECRET}')\n{code}"
        );
        let output = process::output(python("python"), &["-c", &script]);
        output.expect_code(0);
        output.stdout
    }
}

/// A program of the environment that `tests/run.sh` makes beside the build.
fn python(name: &str) -> PathBuf {
    let target = Path::new(PROGRAM).parent().and_then(Path::parent);
    let program = target
        .expect("the build is in a folder")
        .join("py/bin")
        .join(name);
    assert!(
        program.exists(),
        "there is no {}: `bash tests/run.sh` installs it",
        program.display()
    );
    program
}
