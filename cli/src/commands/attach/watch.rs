//! What there is to see of a run: by the stream of its events, with a look at the run itself where something changed.

use std::time::Duration;

use tokio::time::{Instant, sleep_until};

use crate::client::{Client, ClientError, Followed, Follower, Run};

/// How long a run that has changed waits to be looked at: several changes are seen at once.
const REFRESH_AFTER: Duration = Duration::from_millis(40);
/// How often the picture is drawn, for its times to go on.
const DRAW_EVERY: Duration = Duration::from_millis(500);
/// How often a run is looked at though nothing says that it has changed: a transaction that somebody else has open may
/// hold its log back.
const LOOK_EVERY: Duration = Duration::from_secs(5);
/// The pause before something that failed for a moment is tried again.
const RETRY_AFTER: Duration = Duration::from_millis(500);
/// How many times in a row it may fail before the command gives up: half a minute. The run goes on either way.
const FAILURES_MAX: u32 = 60;

/// What there is to see.
#[derive(Debug)]
pub(super) enum Seen {
    /// Something that happened.
    Event(Followed),
    /// The run as it is now.
    Run(Run),
    /// Nothing new; only time has passed.
    Nothing,
    /// The run as it has ended.
    Last(Run),
}

/// A run that is watched.
pub(super) struct Watch {
    client: Client,
    id: String,
    follower: Follower,
    /// When the run is to be looked at.
    look_at: Instant,
    draw_at: Instant,
    is_to_cancel: bool,
    /// Nothing more comes but the last look.
    has_ended: bool,
    failures: u32,
    /// Nothing is asked before that.
    not_before: Option<Instant>,
}

impl Watch {
    /// Watches a run from its beginning.
    pub(super) fn new(client: &Client, id: &str, wants_rows: bool) -> Self {
        // What fails is tried again here, with the other questions to the server.
        let follower = Follower::new(client, id, None).impatient();
        Self {
            client: client.clone(),
            id: id.to_owned(),
            follower: if wants_rows { follower } else { follower.without_rows() },
            look_at: Instant::now() + LOOK_EVERY,
            draw_at: Instant::now() + DRAW_EVERY,
            is_to_cancel: false,
            has_ended: false,
            failures: 0,
            not_before: None,
        }
    }

    /// Has the run cancelled, as soon as the server takes note.
    pub(super) fn cancel(&mut self) {
        self.is_to_cancel = true;
        self.not_before = None;
    }

    /// What there is to see next. Cancel-safe: what was not seen comes again.
    ///
    /// # Errors
    /// When the server does not answer for long, or says no.
    pub(super) async fn next(&mut self) -> Result<Seen, ClientError> {
        if let Some(time) = self.not_before {
            sleep_until(time).await;
            self.not_before = None;
        }
        match self.advance().await {
            Ok(seen) => {
                self.failures = 0;
                Ok(seen)
            }
            Err(error) if error.is_transient() && self.failures < FAILURES_MAX => {
                self.failures += 1;
                self.not_before = Some(Instant::now() + RETRY_AFTER);
                let notice = "the server does not answer; trying again for half a minute";
                Ok(match self.failures {
                    1 => Seen::Event(Followed::Notice(notice)),
                    _ => Seen::Nothing,
                })
            }
            Err(error) => Err(error),
        }
    }

    async fn advance(&mut self) -> Result<Seen, ClientError> {
        if self.is_to_cancel {
            match self.client.cancel(&self.id).await {
                // It ended before it could be cancelled.
                Err(ClientError::Refused(problem)) if problem.status == 409 => {}
                cancelled => drop(cancelled?),
            }
            self.is_to_cancel = false;
        }
        if self.has_ended {
            return self.client.progress(&self.id).await.map(Seen::Last);
        }
        tokio::select! {
            biased;
            () = sleep_until(self.look_at) => {
                let run = self.client.progress(&self.id).await?;
                self.look_at = Instant::now() + LOOK_EVERY;
                Ok(Seen::Run(run))
            }
            followed = self.follower.next() => {
                let followed = followed?;
                if matches!(followed, Followed::Row(_) | Followed::Change) {
                    self.look_at = self.look_at.min(Instant::now() + REFRESH_AFTER);
                }
                self.has_ended = matches!(followed, Followed::End(_));
                Ok(Seen::Event(followed))
            }
            () = sleep_until(self.draw_at) => {
                self.draw_at = Instant::now() + DRAW_EVERY;
                Ok(Seen::Nothing)
            }
        }
    }
}
