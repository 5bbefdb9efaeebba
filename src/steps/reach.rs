//! What an obstacle on the way to a server weighs: the same for every check.
//!
//! The four answers of a check (design §2): `critical` is what somebody who uses the server would
//! meet as well, at this very moment; `unknown` is what kept only us from looking. So nobody
//! listening, no answer in time, a certificate that nobody should trust, a server that is still
//! starting, and a login that is turned away are all critical: whoever uses this connection has no
//! server. A name that does not resolve, a network of ours that does not work, a file of ours that
//! cannot be read and a question that this login may not ask say nothing about the server: unknown.

use crate::event::{Finding, Level};
use crate::host::HostError;
use crate::host::reach::{Obstacle, ReachError};
use crate::step::StepError;

/// The level of `obstacle`; none where we were told to end, which is no finding.
pub(super) fn level(obstacle: Obstacle) -> Option<Level> {
    match obstacle {
        Obstacle::Refused
        | Obstacle::NoRoute
        | Obstacle::NoAnswer
        | Obstacle::HungUp
        | Obstacle::Tls
        | Obstacle::Garbled
        | Obstacle::Denied
        | Obstacle::NotReady
        | Obstacle::Exhausted
        | Obstacle::Locked
        | Obstacle::Rejected => Some(Level::Critical),
        Obstacle::Unresolved
        | Obstacle::OurNetwork
        | Obstacle::OurSide
        | Obstacle::Forbidden
        | Obstacle::InDoubt => Some(Level::Unknown),
        Obstacle::Ended(_) => None,
    }
}

/// `error` as a finding about `subject`.
///
/// # Errors
/// Where we were told to end.
pub(super) fn finding(subject: &str, error: ReachError) -> Result<Finding, StepError> {
    let Some(level) = level(error.obstacle) else {
        return Err(HostError::from(error).into());
    };
    let mut finding = Finding::new(level, subject, error.to_string());
    finding.help = error.help;
    Ok(finding)
}

#[cfg(test)]
mod tests {
    use super::finding;
    use crate::base::EndReason;
    use crate::event::Level;
    use crate::host::reach::{Obstacle, ReachError};
    use crate::step::StepErrorKind;

    #[test]
    fn could_not_look_is_unknown_and_never_fine() {
        let weigh = |obstacle| {
            let error = ReachError::new(obstacle, "connect to db:5432", "of this");
            finding("db:5432", error).map(|finding| finding.level)
        };
        for obstacle in [
            Obstacle::Unresolved,
            Obstacle::OurNetwork,
            Obstacle::OurSide,
            Obstacle::Forbidden,
        ] {
            assert_eq!(weigh(obstacle).unwrap(), Level::Unknown, "{obstacle:?}");
        }
        for obstacle in [
            Obstacle::Refused,
            Obstacle::NoAnswer,
            Obstacle::Tls,
            Obstacle::Denied,
        ] {
            assert_eq!(weigh(obstacle).unwrap(), Level::Critical, "{obstacle:?}");
        }
        let ended = weigh(Obstacle::Ended(EndReason::Timeout)).unwrap_err();
        assert_eq!(ended.kind, StepErrorKind::TimedOut);
    }
}
