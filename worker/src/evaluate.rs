//! Evaluating expressions: at once where that is a matter of microseconds, off the runtime where it is not.
//!
//! Expressions are pure, so what proves to be too much to be computed where every other run waits for the thread is
//! given up and computed again elsewhere, with all the fuel there is.

use std::collections::HashMap;
use std::num::NonZeroUsize;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::{Duration, Instant};

use serde_json::Value;
use skein_shared::domain::limits;
use skein_shared::expression::{Allowance, Cause, Condition, ExpressionError, Scope, Template};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

/// Why there is no result.
#[derive(Debug)]
pub(crate) enum Unevaluated {
    /// The expression failed.
    Failed(ExpressionError),
    /// It took longer than it may.
    Late,
    /// It was cancelled.
    Cancelled,
}

/// Evaluates expressions. As many at a time off the runtime as there are processors: more would take turns, and take
/// the runtime's turns as well. Of these an organization has half at most, so that what others compute does not stand
/// behind all that one has.
#[derive(Debug, Clone)]
pub(crate) struct Evaluator {
    permits: Arc<Semaphore>,
    /// What an organization may have of them.
    share: usize,
    /// The shares of those that have something to compute.
    shares: Arc<Mutex<HashMap<Arc<str>, Weak<Semaphore>>>>,
}

/// For whom something is evaluated, and what ends it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct For<'a> {
    pub(crate) organization: &'a Arc<str>,
    pub(crate) cancelled: &'a CancellationToken,
}

/// What was computed, and for how long elsewhere.
pub(crate) struct Evaluated<T> {
    pub(crate) result: T,
    /// None if it was computed at once.
    pub(crate) took: Duration,
}

impl Evaluator {
    pub(crate) fn new() -> Self {
        let processors = std::thread::available_parallelism().map_or(1, NonZeroUsize::get);
        Self::with_permits(processors.max(2))
    }

    fn with_permits(permits: usize) -> Self {
        Self {
            permits: Arc::new(Semaphore::new(permits)),
            share: permits / 2,
            shares: Arc::default(),
        }
    }

    fn share_of(&self, organization: &Arc<str>) -> Arc<Semaphore> {
        let mut shares = self.shares.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(share) = shares.get(organization).and_then(Weak::upgrade) {
            return share;
        }
        shares.retain(|_, share| share.strong_count() > 0);
        let share = Arc::new(Semaphore::new(self.share));
        shares.insert(Arc::clone(organization), Arc::downgrade(&share));
        share
    }

    /// Renders a template within `time`.
    pub(crate) async fn render(
        &self,
        template: &Template,
        scope: &Scope,
        time: Duration,
        whose: For<'_>,
    ) -> Result<Evaluated<Value>, Unevaluated> {
        match template.render(scope, &Allowance::in_place()) {
            Err(error) if error.cause == Cause::NotInPlace => {
                let (template, scope) = (template.clone(), scope.clone());
                let render = move |allowance: &Allowance| template.render(&scope, allowance);
                self.elsewhere(render, time, whose).await
            }
            result => at_once(result),
        }
    }

    /// Evaluates a condition within the time that any expression may take: at once if what is left of `in_place`, which
    /// several conditions may share, is enough.
    pub(crate) async fn holds(
        &self,
        condition: &Condition,
        scope: &Scope,
        in_place: &Allowance,
        whose: For<'_>,
    ) -> Result<bool, Unevaluated> {
        let evaluated = match condition.holds(scope, in_place) {
            Err(error) if error.cause == Cause::NotInPlace => {
                let (condition, scope) = (condition.clone(), scope.clone());
                let holds = move |allowance: &Allowance| condition.holds(&scope, allowance);
                self.elsewhere(holds, limits::EXPRESSION_TIME_MAX, whose).await
            }
            result => at_once(result),
        };
        evaluated.map(|evaluated| evaluated.result)
    }

    /// The wait for a processor does not count: it is no fault of the expression.
    async fn elsewhere<T: Send + 'static>(
        &self,
        evaluate: impl FnOnce(&Allowance) -> Result<T, ExpressionError> + Send + 'static,
        time: Duration,
        For { organization, cancelled }: For<'_>,
    ) -> Result<Evaluated<T>, Unevaluated> {
        let permits = async {
            let share = self.share_of(organization).acquire_owned().await;
            (share, Arc::clone(&self.permits).acquire_owned().await)
        };
        let permits = tokio::select! {
            biased;
            () = cancelled.cancelled() => return Err(Unevaluated::Cancelled),
            permits = permits => permits,
        };
        let begun = Instant::now();
        // Also when this future is dropped.
        let stop = StopOnDrop(Arc::default());
        let allowance = Allowance::whole().until(begun + time).unless(Arc::clone(&stop.0));
        let job = tokio::task::spawn_blocking(move || {
            let _permits = permits;
            evaluate(&allowance)
        });
        let result = tokio::select! {
            biased;
            () = cancelled.cancelled() => return Err(Unevaluated::Cancelled),
            result = job => result,
        };
        match result {
            Ok(Ok(result)) => Ok(Evaluated { result, took: begun.elapsed() }),
            Ok(Err(error)) => Err(match error.cause {
                Cause::Deadline => Unevaluated::Late,
                Cause::Stopped => Unevaluated::Cancelled,
                Cause::Failed | Cause::NotInPlace => Unevaluated::Failed(error),
            }),
            Err(error) => match error.try_into_panic() {
                Ok(panic) => std::panic::resume_unwind(panic),
                // The runtime is being shut down.
                Err(_) => Err(Unevaluated::Cancelled),
            },
        }
    }
}

fn at_once<T>(result: Result<T, ExpressionError>) -> Result<Evaluated<T>, Unevaluated> {
    match result {
        Ok(result) => Ok(Evaluated { result, took: Duration::ZERO }),
        Err(error) => Err(Unevaluated::Failed(error)),
    }
}

/// Ends an evaluation that nobody waits for any more.
struct StopOnDrop(Arc<AtomicBool>);

impl Drop for StopOnDrop {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use futures_util::stream::FuturesUnordered;
    use futures_util::{FutureExt, StreamExt};
    use serde_json::json;

    use super::*;

    fn of<'a>(organization: &'a Arc<str>, cancelled: &'a CancellationToken) -> For<'a> {
        For { organization, cancelled }
    }

    const LONG: Duration = Duration::from_secs(3600);

    fn scope() -> Scope {
        let input = json!({ "text": "x".repeat(200_000), "upper": "X".repeat(200_000), "n": 3 });
        Scope { input: Arc::new(input), ..Scope::default() }
    }

    fn template(strings: usize) -> Template {
        let strings = vec!["{{ input.text | upper == input.upper }}"; strings];
        Template::parse(&json!(strings), "").unwrap()
    }

    #[tokio::test]
    async fn what_is_small_is_there_at_once_and_what_is_not_is_computed_elsewhere() {
        let (evaluator, cancelled) = (Evaluator::new(), CancellationToken::new());
        let acme: Arc<str> = "acme".into();
        let small = Template::parse(&json!("{{ input.n + 1 }}"), "").unwrap();
        let rendered =
            evaluator.render(&small, &scope(), LONG, of(&acme, &cancelled)).now_or_never();
        assert_eq!(rendered.expect("it is small").unwrap().result, json!(4));
        let (large, scope) = (template(2), scope());
        let mut rendering = Box::pin(evaluator.render(&large, &scope, LONG, of(&acme, &cancelled)));
        assert!((&mut rendering).now_or_never().is_none());
        let rendered = rendering.await.unwrap();
        assert_eq!(rendered.result, json!([true, true]));
        assert!(rendered.took > Duration::ZERO);
        let when = Condition::parse("input.text | upper != input.upper", "").unwrap();
        let in_place = Allowance::in_place();
        assert!(!evaluator.holds(&when, &scope, &in_place, of(&acme, &cancelled)).await.unwrap());
    }

    #[tokio::test]
    async fn an_evaluation_ends_with_its_time_or_a_cancel_and_leaves_nothing_running() {
        let (evaluator, cancelled) = (Evaluator::new(), CancellationToken::new());
        let acme: Arc<str> = "acme".into();
        let (large, scope) = (template(250), scope());
        let late =
            evaluator.render(&large, &scope, Duration::from_millis(1), of(&acme, &cancelled)).await;
        assert!(matches!(late, Err(Unevaluated::Late)));
        // Dropped in the middle, and cancelled in the middle.
        let rendering = Box::pin(evaluator.render(&large, &scope, LONG, of(&acme, &cancelled)));
        assert!(rendering.now_or_never().is_none());
        let mut rendering = Box::pin(evaluator.render(&large, &scope, LONG, of(&acme, &cancelled)));
        assert!((&mut rendering).now_or_never().is_none());
        cancelled.cancel();
        assert!(matches!(rendering.await, Err(Unevaluated::Cancelled)));
        assert!(matches!(
            evaluator.render(&large, &scope, LONG, of(&acme, &cancelled)).await,
            Err(Unevaluated::Cancelled)
        ));
        // All processors become free again, long before an hour.
        let all = std::thread::available_parallelism().map_or(1, NonZeroUsize::get).max(2);
        assert!(evaluator.permits.acquire_many(all as u32).await.is_ok());
    }

    #[tokio::test]
    async fn what_one_organization_computes_does_not_wait_for_all_of_another() {
        let (evaluator, cancelled) = (Evaluator::with_permits(2), CancellationToken::new());
        let (acme, other): (Arc<str>, Arc<str>) = ("acme".into(), "other".into());
        // Each computes until it is let go; the other one's is a real one.
        let (gate, closed) = std::sync::mpsc::channel::<()>();
        let closed = Arc::new(Mutex::new(closed));
        let computing = |_| {
            let closed = Arc::clone(&closed);
            let compute = move |_: &Allowance| {
                let _ = closed.lock().unwrap().recv();
                Ok(())
            };
            evaluator.elsewhere(compute, LONG, of(&acme, &cancelled))
        };
        let mut first: FuturesUnordered<_> = (0..20).map(computing).collect();
        assert!(first.next().now_or_never().is_none());
        let (little, scope) = (template(1), scope());
        let rendered = evaluator.render(&little, &scope, LONG, of(&other, &cancelled)).await;
        assert_eq!(rendered.unwrap().result, json!([true]));
        assert!(first.next().now_or_never().is_none());
        drop(gate);
        assert_eq!(
            first.by_ref().filter(|done| std::future::ready(done.is_ok())).count().await,
            20
        );
        assert_eq!(evaluator.shares.lock().unwrap().len(), 2);
    }
}
