//! Doing what a plan says.

use super::api::Signoz;
use super::documents::Document;
use super::error::SignozError;
use super::plan::{Action, Plan};

/// A plan that was not done to its end.
#[derive(Debug)]
pub struct Halfway {
    /// Why.
    pub error: SignozError,
    /// What the failure was met at: whether it is done is not always known.
    pub failed: Document,
    /// Changes that were made before.
    pub done: usize,
    /// What was not tried.
    pub left: Vec<Document>,
}

/// Does what the plan says, one after the other, and tells of each as soon as it is done; stops at the first failure.
/// Nothing is taken back: what is done is as it is to be, and doing it again does no harm.
///
/// # Errors
/// At the first failure.
pub async fn apply(
    signoz: &Signoz,
    plan: Plan,
    mut tell: impl FnMut(&Document, &Action),
) -> Result<usize, Box<Halfway>> {
    let mut done = 0;
    let mut steps = plan.steps.into_iter();
    while let Some((document, action)) = steps.next() {
        let Document { kind, body, .. } = &document;
        let made = match &action {
            Action::Create => signoz.create(*kind, body).await,
            Action::Update(id) => signoz.update(*kind, id, body).await,
            Action::Delete(id) => signoz.delete(*kind, id).await,
            Action::Nothing => continue,
        };
        if let Err(error) = made {
            let rest = steps.filter(|(_, action)| *action != Action::Nothing);
            let left = rest.map(|(document, _)| document).collect();
            return Err(Box::new(Halfway { error, failed: document, done, left }));
        }
        done += 1;
        tell(&document, &action);
    }
    Ok(done)
}
