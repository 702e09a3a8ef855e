//! What becomes of a node whose next step a budget does not allow: it waits, or fails.
//!
//! Whoever raises a budget wakes what waits for it, and nobody says when others have settled what they had reserved. So a
//! node looks again by itself, and each look is an attempt in the history of its run: the longer it waits, the more seldom.

use std::sync::Arc;
use std::time::Duration;

use skein_shared::domain::budget::{Exhausted, OnExhausted};
use skein_shared::domain::outcome::WaitFor;
use skein_shared::telemetry::metrics;

use super::failed::CallFailed;
use super::{Site, Steps, events};

/// When a node looks for the first time whether others have settled what they had reserved, at most: that takes them as
/// long as a call to a model.
const CONTENDED_PAUSE: Duration = Duration::from_secs(2);
/// The longest pause between two such looks: what is free stays unused for so long at most.
const CONTENDED_PAUSE_MAX: Duration = Duration::from_secs(15);
/// When a node looks for the first time whether a budget has room again, at most: it was about to wait when the budget was
/// raised, and nobody has woken it.
const EXHAUSTED_PAUSE: Duration = Duration::from_secs(60);
/// The longest pause between two such looks: a month of them is some hundreds of attempts.
const EXHAUSTED_PAUSE_MAX: Duration = Duration::from_secs(3600);
/// The shortest pause before a budget that is about to begin anew.
const RENEWAL_PAUSE_MIN: Duration = Duration::from_secs(1);

/// The wait for what other calls have reserved; `turn` is kept meanwhile.
pub(crate) fn contended(site: &Site<'_>, turn: Option<(Arc<str>, u32)>) -> WaitFor {
    let looks = looks(site, None);
    let retry_in = Some(pause(CONTENDED_PAUSE, CONTENDED_PAUSE_MAX, looks));
    WaitFor::Budget { exhausted: None, looks, retry_in, turn }
}

/// The wait for a budget that has no room, or begins anew. It is logged once.
///
/// # Errors
/// When the node is to fail instead, or the log cannot be written.
pub(crate) async fn exhausted(
    steps: &mut Steps<'_>,
    exhausted: Exhausted,
    on_exhausted: OnExhausted,
) -> Result<WaitFor, CallFailed> {
    if !waits_for(&steps.site, Some(&exhausted)) {
        let event = events::exhausted(&steps.site, steps.next(), &exhausted);
        steps.log(vec![event]).await?;
        metrics::budget_exhausted(exhausted.period);
    }
    if on_exhausted == OnExhausted::Fail {
        let message = events::in_words(&exhausted);
        return Err(CallFailed::fail("budget_exhausted", message));
    }
    let looks = looks(&steps.site, Some(&exhausted));
    let now = steps.site.now();
    let renews_in = exhausted.renews_at.map(|at| (at - now).to_std().unwrap_or_default());
    // Whoever raises it wakes what waits; should that be lost, with its process for instance, the node looks by itself.
    let pause = pause(EXHAUSTED_PAUSE, EXHAUSTED_PAUSE_MAX, looks);
    let retry_in =
        Some(renews_in.map_or(pause, |renews_in| renews_in.clamp(RENEWAL_PAUSE_MIN, pause)));
    Ok(WaitFor::Budget { exhausted: Some(exhausted), looks, retry_in, turn: None })
}

/// Whether the node has waited for the very same before this attempt: another limit is another wait.
fn waits_for(site: &Site<'_>, exhausted: Option<&Exhausted>) -> bool {
    let exhausted = exhausted.copied();
    let wait = WaitFor::Budget { exhausted, looks: 0, retry_in: None, turn: None }.to_json();
    site.waited_for.is_some_and(|before| {
        ["type", "period", "resource", "limit"].iter().all(|fact| before[fact] == wait[fact])
    })
}

/// How often the node has looked in vain for the same, this time included; 0 of one that begins to wait.
fn looks(site: &Site<'_>, exhausted: Option<&Exhausted>) -> u32 {
    if !waits_for(site, exhausted) {
        return 0;
    }
    let before = site.waited_for.and_then(|before| before["looks"].as_u64()).unwrap_or_default();
    u32::try_from(before).unwrap_or(u32::MAX).saturating_add(1)
}

/// Twice as long with each look, between a half and the whole of it: nodes that were refused together do not come together.
fn pause(first: Duration, most: Duration, looks: u32) -> Duration {
    let pause = first.saturating_mul(2_u32.saturating_pow(looks)).min(most);
    pause.mul_f64(0.5 + fastrand::f64() / 2.0)
}
