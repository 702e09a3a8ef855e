//! Evaluating expressions: at once where that is a matter of microseconds, off the runtime where it is not.
//!
//! Expressions are pure, so what proves to be too much to be computed where every other run waits for the thread is
//! given up and computed again elsewhere, with all the fuel there is.

use std::num::NonZeroUsize;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
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
/// the runtime's turns as well.
#[derive(Debug, Clone)]
pub(crate) struct Evaluator {
    permits: Arc<Semaphore>,
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
        Self { permits: Arc::new(Semaphore::new(processors)) }
    }

    /// Renders a template within `time`.
    pub(crate) async fn render(
        &self,
        template: &Template,
        scope: &Scope,
        time: Duration,
        cancelled: &CancellationToken,
    ) -> Result<Evaluated<Value>, Unevaluated> {
        match template.render(scope, &Allowance::inline()) {
            Err(error) if error.cause == Cause::NotInline => {
                let (template, scope) = (template.clone(), scope.clone());
                let render = move |allowance: &Allowance| template.render(&scope, allowance);
                self.elsewhere(render, time, cancelled).await
            }
            result => at_once(result),
        }
    }

    /// Evaluates a condition within the time that any expression may take.
    pub(crate) async fn holds(
        &self,
        condition: &Condition,
        scope: &Scope,
        cancelled: &CancellationToken,
    ) -> Result<bool, Unevaluated> {
        let evaluated = match condition.holds(scope, &Allowance::inline()) {
            Err(error) if error.cause == Cause::NotInline => {
                let (condition, scope) = (condition.clone(), scope.clone());
                let holds = move |allowance: &Allowance| condition.holds(&scope, allowance);
                self.elsewhere(holds, limits::EXPRESSION_TIME_MAX, cancelled).await
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
        cancelled: &CancellationToken,
    ) -> Result<Evaluated<T>, Unevaluated> {
        let permit = tokio::select! {
            biased;
            () = cancelled.cancelled() => return Err(Unevaluated::Cancelled),
            permit = Arc::clone(&self.permits).acquire_owned() => permit,
        };
        let begun = Instant::now();
        // Also when this future is dropped.
        let stop = StopOnDrop(Arc::default());
        let allowance = Allowance::whole().until(begun + time).unless(Arc::clone(&stop.0));
        let job = tokio::task::spawn_blocking(move || {
            let _permit = permit;
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
                Cause::Fault | Cause::NotInline => Unevaluated::Failed(error),
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
    use futures_util::FutureExt;
    use serde_json::json;

    use super::*;

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
        let small = Template::parse(&json!("{{ input.n + 1 }}"), "").unwrap();
        let rendered = evaluator.render(&small, &scope(), LONG, &cancelled).now_or_never();
        assert_eq!(rendered.expect("it is small").unwrap().result, json!(4));
        let (large, scope) = (template(2), scope());
        let mut rendering = Box::pin(evaluator.render(&large, &scope, LONG, &cancelled));
        assert!((&mut rendering).now_or_never().is_none());
        let rendered = rendering.await.unwrap();
        assert_eq!(rendered.result, json!([true, true]));
        assert!(rendered.took > Duration::ZERO);
        let when = Condition::parse("input.text | upper != input.upper", "").unwrap();
        assert!(!evaluator.holds(&when, &scope, &cancelled).await.unwrap());
    }

    #[tokio::test]
    async fn an_evaluation_ends_with_its_time_or_a_cancel_and_leaves_nothing_running() {
        let (evaluator, cancelled) = (Evaluator::new(), CancellationToken::new());
        let (large, scope) = (template(250), scope());
        let late = evaluator.render(&large, &scope, Duration::from_millis(1), &cancelled).await;
        assert!(matches!(late, Err(Unevaluated::Late)));
        // Dropped in the middle, and cancelled in the middle.
        let rendering = Box::pin(evaluator.render(&large, &scope, LONG, &cancelled));
        assert!(rendering.now_or_never().is_none());
        let mut rendering = Box::pin(evaluator.render(&large, &scope, LONG, &cancelled));
        assert!((&mut rendering).now_or_never().is_none());
        cancelled.cancel();
        assert!(matches!(rendering.await, Err(Unevaluated::Cancelled)));
        assert!(matches!(
            evaluator.render(&large, &scope, LONG, &cancelled).await,
            Err(Unevaluated::Cancelled)
        ));
        // All processors become free again, long before an hour.
        let processors = std::thread::available_parallelism().map_or(1, NonZeroUsize::get);
        let all = evaluator.permits.acquire_many(processors as u32).await;
        assert!(all.is_ok());
    }
}
