//! How long a provider is left alone that has asked for it.

use std::time::Duration;

use skein_shared::domain::step::StepStatus;
use skein_shared::store::steps::RecordedStep;

use super::Site;

/// The wait after a first refusal that names none; it doubles with each.
const PAUSE_MIN: Duration = Duration::from_secs(1);
/// The wait that doubling stops at. Limits are mostly those of a minute.
const PAUSE_MAX: Duration = Duration::from_secs(60);

/// How long to wait before a step that was refused just now is made again, or that this would take longer than its node
/// may: the time of a node is counted from the first refusal of the step on. `unit` is a random number in `[0, 1)`.
pub(super) fn wait(
    site: &Site<'_>,
    tries: &[RecordedStep],
    asked: Option<Duration>,
    unit: f64,
) -> Option<Duration> {
    let refused = tries.iter().filter(|step| step.status == StepStatus::Refused);
    let count = u32::try_from(refused.clone().count()).unwrap_or(u32::MAX);
    let pause = PAUSE_MIN.saturating_mul(2_u32.saturating_pow(count.min(31))).min(PAUSE_MAX);
    // What was refused together must not come back together.
    let wait = match asked {
        Some(asked) => asked.saturating_add(pause.mul_f64(unit / 4.0)),
        None => pause.mul_f64(0.5 + unit / 2.0),
    };
    let now = site.now();
    let first = refused.map(|step| step.started_at).min().unwrap_or(now);
    let waited = (now - first).to_std().unwrap_or_default();
    (waited.saturating_add(wait) <= site.patience).then_some(wait)
}
