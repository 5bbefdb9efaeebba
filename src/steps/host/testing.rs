//! A busy process, for the tests of checks that must see one.

use crate::base::EndReason;
use crate::host::{Effect, Stage, testing};

/// Runs `look` beside a shell that keeps a processor busy and has `mark` in its command line.
pub(super) async fn beside_a_busy_process<T>(mark: &str, look: impl Future<Output = T>) -> T {
    let test = testing::scope();
    let effect = Effect::new(test.scope.clone());
    let stage = Stage {
        argv: ["sh", "-c", "while :; do :; done", mark]
            .map(str::to_owned)
            .to_vec(),
        ..Stage::default()
    };
    let processes = effect.processes();
    let stages = [stage];
    let looking = async {
        let found = look.await;
        test.scope.cancel.end(EndReason::Cancelled);
        found
    };
    let (_, found) = tokio::join!(processes.run(&stages, None), looking);
    found
}
