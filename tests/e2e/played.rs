//! Models that a script plays beside a stack, in place of all providers.

use skein::mock_models::{MockModels, Watch};
use skein_tests::stack::{Setup, Stack, with_stack};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// The providers' key: what shows in nothing but the requests themselves.
pub(crate) const SECRET: &str = "sk-wR7pQ2xK9mVtLs4Hn8";

/// A setup whose programs ask this server wherever they would ask a provider that the environment sets up.
pub(crate) fn asking(setup: Setup, url: &str) -> Setup {
    ["OPENAI", "ANTHROPIC", "GEMINI"].into_iter().fold(setup, |setup, provider| {
        let setup = setup.env(&format!("{provider}_BASE_URL"), url);
        setup.env(&format!("{provider}_API_KEY"), SECRET)
    })
}

/// Runs a case beside models that this script plays, at the URL that the case is given.
///
/// # Panics
/// When the case does, or the script is none.
pub(crate) async fn beside_models(script: &str, case: impl AsyncFnOnce(&str, &Watch)) {
    let mock = MockModels::new(script.parse().expect("a sound script")).await.expect("a port");
    let (url, watch) = (format!("http://{}", mock.address()), mock.watch());
    let (tasks, stop) = (TaskTracker::new(), CancellationToken::new());
    tasks.spawn(mock.serve(stop.clone()));
    case(&url, &watch).await;
    stop.cancel();
    tasks.close();
    tasks.wait().await;
}

/// Runs a case over a stack of its own that asks models which this script plays.
///
/// # Panics
/// As [`with_stack`], and when the script is none.
pub(crate) async fn with_models(
    script: &str,
    setup: Setup,
    case: impl AsyncFnOnce(&mut Stack, &Watch),
) {
    beside_models(script, async |url, watch| {
        with_stack(asking(setup, url), async |stack| case(stack, watch).await).await;
    })
    .await;
}
