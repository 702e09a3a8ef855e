//! Following a run until it has ended, over streams that end before and servers that go away for a while.

use std::collections::VecDeque;
use std::time::Duration;

use serde_json::Value;
use skein_shared::domain::limits::PAGE_MAX;

use super::events::{Event, EventStream};
use super::{Client, ClientError, LiveText, LogQuery};

/// The event of a stream that is text of a model.
const DELTA: &str = "llm.delta";
/// The last event of a stream.
const END: &str = "end";
/// The pause before a server is asked again that did not answer, or has no stream.
const PAUSE: Duration = Duration::from_millis(500);
/// How many times in a row it may not answer: half a minute. The run goes on either way.
const FAILURES_MAX: u32 = 60;

/// What happens in a run that is followed.
#[derive(Debug, Clone, PartialEq)]
pub enum Followed {
    /// A row of the log, as the server shows it.
    Row(Value),
    /// Text of a model.
    Text(LiveText),
    /// The run has ended, with this status; nothing comes after it.
    End(String),
    /// The run may have changed: what a server without streams lets one know.
    Change,
    /// Something that whoever sits in front of it should know.
    Notice(&'static str),
}

/// One who follows a run.
#[derive(Debug)]
pub struct Follower {
    client: Client,
    id: String,
    /// The cursor behind the last row.
    last: Option<String>,
    stream: Option<EventStream>,
    /// The server has no stream: it is polled.
    is_polling: bool,
    /// Whether rows are worth polling for.
    wants_rows: bool,
    ready: VecDeque<Followed>,
    failures: u32,
    failures_max: u32,
    pause: Option<Duration>,
}

impl Follower {
    /// Follows a run from behind this cursor of its log. To be called on with [`Self::next`].
    #[must_use]
    pub fn new(client: &Client, id: &str, last: Option<String>) -> Self {
        Self {
            client: client.clone(),
            id: id.to_owned(),
            last,
            stream: None,
            is_polling: false,
            wants_rows: true,
            ready: VecDeque::new(),
            failures: 0,
            failures_max: FAILURES_MAX,
            pause: None,
        }
    }

    /// The same, but a server that does not answer is given up at once: another one may be asked.
    #[must_use]
    pub fn impatient(self) -> Self {
        Self { failures_max: 0, ..self }
    }

    /// The same, for somebody who looks at the run and not at its log: rows MAY be left out.
    #[must_use]
    pub fn without_rows(self) -> Self {
        Self { wants_rows: false, ..self }
    }

    /// The cursor behind all rows that have been returned.
    #[must_use]
    pub fn last(&self) -> Option<&str> {
        self.last.as_deref()
    }

    /// What happens next. Cancel-safe: called again, it goes on.
    ///
    /// # Errors
    /// When the server does not answer for long, or says no.
    pub async fn next(&mut self) -> Result<Followed, ClientError> {
        loop {
            if let Some(ready) = self.ready.pop_front() {
                return Ok(ready);
            }
            if let Some(pause) = self.pause {
                tokio::time::sleep(pause).await;
                self.pause = None;
            }
            let asked = if self.is_polling { self.poll().await } else { self.read().await };
            if asked.is_err() {
                self.stream = None;
            }
            match asked {
                Ok(()) => self.failures = 0,
                Err(error) if error.is_transient() && self.failures < self.failures_max => {
                    self.pause = Some(error.retry_after().unwrap_or(PAUSE));
                    self.failures += 1;
                    if self.failures == 1 {
                        let notice = "the server does not answer; trying again for half a minute";
                        return Ok(Followed::Notice(notice));
                    }
                }
                Err(error) => return Err(error),
            }
        }
    }

    async fn read(&mut self) -> Result<(), ClientError> {
        let Some(stream) = &mut self.stream else {
            match self.client.events(&self.id, self.last.as_deref()).await? {
                Some(stream) => {
                    self.stream = Some(stream);
                    // What changed before, nobody has seen.
                    self.ready.push_back(Followed::Change);
                }
                None => {
                    self.is_polling = true;
                    let notice = "the server has no live events; asking it every half a second";
                    self.ready.push_back(Followed::Notice(notice));
                }
            }
            return Ok(());
        };
        match stream.next().await? {
            Some(event) => {
                if let Some(id) = &event.id {
                    self.last = Some(id.clone());
                }
                let malformed =
                    |source| ClientError::Malformed { url: self.client.url().to_owned(), source };
                self.ready.extend(read_event(event).map_err(malformed)?);
            }
            None => {
                self.pause = Some(stream.retry().unwrap_or(PAUSE));
                self.stream = None;
            }
        }
        Ok(())
    }

    /// The run is looked at before its log, so that the log is whole when the run has ended. A page at a time.
    async fn poll(&mut self) -> Result<(), ClientError> {
        let run = self.client.progress(&self.id).await?;
        let mut rows = Vec::new();
        if self.wants_rows {
            let all = LogQuery { after: self.last.clone(), limit: PAGE_MAX, ..LogQuery::default() };
            let page = self.client.logs(&self.id, &all).await?;
            self.last = page.next_cursor.or(self.last.take());
            rows = page.items;
        }
        let is_behind = !rows.is_empty();
        self.ready.push_back(Followed::Change);
        self.ready.extend(rows.into_iter().map(Followed::Row));
        if run.has_ended() && !is_behind {
            self.ready.push_back(Followed::End(run.status));
        } else if !is_behind {
            self.pause = Some(PAUSE);
        }
        Ok(())
    }
}

fn read_event(event: Event) -> serde_json::Result<Option<Followed>> {
    let Event { name, id, data } = event;
    Ok(match name.as_str() {
        DELTA => Some(Followed::Text(serde_json::from_str(&data)?)),
        END => {
            let data: Value = serde_json::from_str(&data)?;
            Some(Followed::End(data["status"].as_str().unwrap_or_default().to_owned()))
        }
        // What has an id is a row, whatever its event. Anything else is of a later version.
        _ if id.is_some() => Some(Followed::Row(serde_json::from_str(&data)?)),
        _ => None,
    })
}
