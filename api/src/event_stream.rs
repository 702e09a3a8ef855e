//! The events of a run as a stream that goes on until the run has ended.
//!
//! The client pulls: nothing is read before it has taken what was read before. So what a slow client costs is bounded
//! by one page of the log and the buffer of its live events; it is dropped when that is full, or by its connection when
//! it takes nothing for long, and comes back with the id of the last event that it has seen.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::body::{Body, Bytes};
use futures_util::{FutureExt, stream};
use skein_shared::broker::{LiveEnd, LiveEvent, LiveListener};
use skein_shared::domain::ids::RunId;
use skein_shared::domain::state::RunState;
use skein_shared::domain::tenant::Identity;
use skein_shared::domain::trace::TraceId;
use skein_shared::store::PageRequest;
use skein_shared::store::keys::KeyDigest;
use skein_shared::store::log_filter::WHOLE_LOG;
use tokio::time::{Instant, Interval, MissedTickBehavior};

use crate::answers::Answers;
use crate::app::App;
use crate::cursor::Listing;
use crate::dto::event::{End, LiveText};
use crate::dto::log::LogRow;
use crate::limits::{LOG_ROWS_READ, RETRY_AFTER_SECONDS, STREAM_KEY_CHECK, STREAM_PAUSE};
use crate::path_parameters::no_run;
use crate::problem::{Problem, ProblemKind};
use crate::shares::Taken;
use crate::sse;
use crate::tails::{Follower, Reading};

/// Where a stream goes on after an end that is none of the run's.
const RETRY: Duration = Duration::from_secs(RETRY_AFTER_SECONDS as u64);

/// A stream and how far it is.
pub(crate) struct EventStream {
    app: Arc<App>,
    answers: Answers,
    tenant: Identity,
    run: RunId,
    /// The store's cursor behind the last row that was rendered.
    cursor: Option<String>,
    /// Rendered and not taken.
    ready: VecDeque<Bytes>,
    step: Step,
    follower: Follower,
    live: Option<LiveListener>,
    end: RunEnd,
    until: Instant,
    heartbeat: Interval,
    key_check: Interval,
    _share: Taken<KeyDigest>,
}

/// What the stream does next, once all that is ready was taken.
#[derive(Debug, Clone, Copy)]
enum Step {
    Read,
    /// For news, and with a time also for that.
    Wait(Option<Instant>),
    Close,
}

/// What is known of the run's end.
#[derive(Debug, Clone, Copy)]
enum RunEnd {
    Unknown,
    /// Somebody says so.
    Announced,
    /// It is in the store, so all rows of the log are there to be read.
    Certain(RunState, TraceId),
}

/// What ends a wait.
enum Woken {
    ShuttingDown,
    TimeIsUp,
    CheckKey,
    News { has_ended: bool },
    Live(Result<Arc<LiveEvent>, LiveEnd>),
    Silence,
    PauseIsOver,
}

impl EventStream {
    /// Opens the stream of a run behind this cursor: from then on it misses nothing. Nothing listens to the run before
    /// it is known to be the tenant's.
    pub(crate) async fn open(
        app: Arc<App>,
        answers: Answers,
        tenant: Identity,
        run: RunId,
        cursor: Option<String>,
    ) -> Result<Self, Problem> {
        let page = PageRequest { limit: 1, cursor: cursor.clone() };
        app.store.run_logs(&tenant, run, &WHOLE_LOG, &page).await?.ok_or_else(|| no_run(run))?;
        let share = app.streams.take(answers.holder(), 1).ok_or_else(|| {
            let detail =
                "as many event streams of this key are open as may be; close one, or poll the log";
            Problem::new(ProblemKind::Overloaded, detail)
        })?;
        let follower = app.tails.follow(&tenant, run, cursor.as_deref());
        let has_ended = !app.store.ended_runs(&[run]).await?.is_empty();
        let live = match has_ended {
            true => None,
            false => Some(app.broker.listen_live(run).await),
        };
        let limits = app.limits;
        Ok(Self {
            ready: VecDeque::from([Bytes::from(sse::retry(RETRY, "the events of a run"))]),
            step: Step::Read,
            follower,
            live,
            end: if has_ended { RunEnd::Announced } else { RunEnd::Unknown },
            until: Instant::now() + limits.stream_time,
            heartbeat: every(limits.stream_heartbeat),
            key_check: every(STREAM_KEY_CHECK.min(limits.key_trust)),
            app,
            answers,
            tenant,
            run,
            cursor,
            _share: share,
        })
    }

    /// The stream as the body of an answer.
    pub(crate) fn into_body(self) -> Body {
        Body::from_stream(stream::unfold(Box::new(self), |mut stream| async move {
            let bytes = stream.next().await?;
            Some((Ok::<_, Infallible>(bytes), stream))
        }))
    }

    async fn next(&mut self) -> Option<Bytes> {
        loop {
            if let Some(bytes) = self.ready.pop_front() {
                self.heartbeat.reset();
                return Some(bytes);
            }
            match self.step {
                Step::Read if self.app.shutdown.is_cancelled() => {
                    self.note(&Woken::ShuttingDown).await;
                }
                Step::Read if self.until <= Instant::now() => {
                    self.note(&Woken::TimeIsUp).await;
                }
                Step::Read if self.key_check.tick().now_or_never().is_some() => {
                    self.note(&Woken::CheckKey).await;
                }
                Step::Read => self.step = self.read().await,
                Step::Wait(pause) => {
                    let woken = self.wait(pause).await;
                    self.note(&woken).await;
                }
                Step::Close => return None,
            }
        }
    }

    /// Reads a page of the log and says what is to be done then.
    async fn read(&mut self) -> Step {
        let again = Step::Wait(Some(Instant::now() + STREAM_PAUSE));
        if matches!(self.end, RunEnd::Announced) {
            // An announcement may be quicker than what a replica of the store shows.
            match self.app.store.find_run(&self.tenant, self.run, 0).await {
                Ok(Some(run)) if run.summary.state.is_terminal() => {
                    let summary = run.summary;
                    self.end = RunEnd::Certain(summary.state, summary.trace.trace);
                }
                Ok(Some(_)) => return again,
                Ok(None) => return Step::Close,
                Err(error) => {
                    tracing::debug!(workflow.execution_id = %self.run, %error, "an event stream must wait");
                    return again;
                }
            }
        }
        match self.read_page().await {
            Ok(Some(rows)) if rows < LOG_ROWS_READ as usize => match self.end {
                RunEnd::Certain(state, trace) => {
                    let end = End::of(state, self.app.traces.link(trace));
                    self.push(sse::event("end", None, &end));
                    Step::Close
                }
                RunEnd::Announced => Step::Read,
                RunEnd::Unknown => {
                    self.follower.caught_up(self.cursor.as_deref());
                    Step::Wait(None)
                }
            },
            Ok(Some(_)) => Step::Read,
            Ok(None) => Step::Close,
            Err(problem) => {
                tracing::debug!(workflow.execution_id = %self.run, ?problem, "an event stream must wait");
                again
            }
        }
    }

    /// Renders the next rows, as far as there is room for them, and returns how many there were. `None` if the run is
    /// gone.
    async fn read_page(&mut self) -> Result<Option<usize>, Problem> {
        // Rows may be large, and are in memory twice until they are rendered.
        let _permit = self.answers.permit().await?;
        let reading = Reading { store: &*self.app.store, tenant: &self.tenant, run: self.run };
        let is_last = matches!(self.end, RunEnd::Certain(..));
        let found = self.follower.read(reading, self.cursor.as_deref(), is_last).await?;
        let Some(found) = found else { return Ok(None) };
        let rows = found.items.len();
        let listing = Listing::Logs(self.run, &WHOLE_LOG);
        for row in &found.items {
            let (name, cursor) = (row.event.clone(), row.cursor.clone());
            let row = LogRow::of_run(self.run, row.clone())?;
            let event = sse::event(&name, Some(&listing.seal(&cursor)), &row);
            let event = event.map_err(Problem::internal)?;
            let Some(bytes) = self.answers.part(event) else {
                // What follows is read again.
                return Err(Problem::new(
                    ProblemKind::Overloaded,
                    "there is no room for the events",
                ));
            };
            self.ready.push_back(bytes);
            self.cursor = Some(cursor);
        }
        Ok(Some(rows))
    }

    async fn wait(&mut self, pause: Option<Instant>) -> Woken {
        let Self { app, follower, live, heartbeat, key_check, until, .. } = self;
        let live = async {
            match live {
                Some(live) => live.receive().await,
                None => std::future::pending().await,
            }
        };
        let pausing = pause.is_some();
        let paused = tokio::time::sleep_until(pause.unwrap_or(*until));
        tokio::select! {
            biased;
            () = app.shutdown.cancelled() => Woken::ShuttingDown,
            () = tokio::time::sleep_until(*until) => Woken::TimeIsUp,
            _ = key_check.tick() => Woken::CheckKey,
            () = paused, if pausing => Woken::PauseIsOver,
            has_ended = follower.news(), if !pausing => Woken::News { has_ended },
            event = live => Woken::Live(event),
            _ = heartbeat.tick() => Woken::Silence,
        }
    }

    async fn note(&mut self, woken: &Woken) {
        match woken {
            Woken::ShuttingDown => self.leave("the server is shutting down"),
            Woken::TimeIsUp => self.leave("the stream has lasted as long as one may"),
            Woken::CheckKey => {
                let admitted =
                    self.app.entrance.still_admits(self.answers.holder(), &self.tenant).await;
                match admitted {
                    Ok(true) => {}
                    Ok(false) => self.leave("the API key is not known any more"),
                    Err(error) => {
                        tracing::debug!(%error, "the key of an event stream cannot be checked");
                        self.leave("the API key cannot be checked");
                    }
                }
            }
            Woken::News { has_ended } => {
                if let (true, RunEnd::Unknown) = (*has_ended, self.end) {
                    self.end = RunEnd::Announced;
                }
                self.step = Step::Read;
            }
            Woken::PauseIsOver => self.step = Step::Read,
            Woken::Live(Ok(event)) => {
                self.push(sse::event(event.kind.as_str(), None, &LiveText::from(&**event)));
            }
            Woken::Live(Err(LiveEnd::TooSlow)) => self.leave("the client does not keep up"),
            Woken::Live(Err(LiveEnd::Closed)) => self.live = None,
            Woken::Silence => self.ready.push_back(Bytes::from_static(sse::HEARTBEAT)),
        }
    }

    /// Has an event sent. One for which there is no room ends the stream: the client has more than enough to read.
    fn push(&mut self, event: serde_json::Result<Vec<u8>>) {
        match event.ok().and_then(|event| self.answers.part(event)) {
            Some(bytes) => self.ready.push_back(bytes),
            None => self.leave("there is no room for more events of this key"),
        }
    }

    /// Ends the stream before the run has; the client is to come back.
    fn leave(&mut self, why: &str) {
        self.ready.push_back(Bytes::from(sse::retry(RETRY, why)));
        self.step = Step::Close;
    }
}

fn every(period: Duration) -> Interval {
    let mut interval = tokio::time::interval_at(Instant::now() + period, period);
    interval.set_missed_tick_behavior(MissedTickBehavior::Delay);
    interval
}
