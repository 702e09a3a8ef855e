//! Steps that are lost and were left by sweep after sweep: when one of these waits its turn.

use std::collections::BTreeMap;
use std::time::Duration;

use tokio::time::Instant;

/// How long sweeps leave steps alone whose totals somebody holds, until one of them waits its turn. Each call to a model
/// holds them for a moment only; but where many are made at a time, there is always one that does.
pub(super) const HELD_MAX: Duration = Duration::from_secs(5);
/// Organizations that are kept in mind for that. Those beyond have their turn when others have had theirs.
const HELD_ORGANIZATIONS_MAX: usize = 1_024;

/// Since when steps of which organizations were left because somebody held their totals.
#[derive(Debug, Default)]
pub(super) struct HeldSteps {
    since: BTreeMap<String, Instant>,
}

impl HeldSteps {
    /// Steps of these organizations were left again.
    pub(super) fn left(&mut self, organizations: Vec<String>) {
        let now = Instant::now();
        for organization in organizations {
            if self.since.len() < HELD_ORGANIZATIONS_MAX || self.since.contains_key(&organization) {
                self.since.entry(organization).or_insert(now);
            }
        }
    }

    /// Takes the one whose steps were left first, if that is too long ago.
    pub(super) fn take_overdue(&mut self) -> Option<String> {
        let (organization, since) = self.since.iter().min_by_key(|(_, since)| **since)?;
        if since.elapsed() < HELD_MAX {
            return None;
        }
        let organization = organization.clone();
        self.since.remove(&organization);
        Some(organization)
    }
}
