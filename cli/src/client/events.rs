//! Server-sent events, as a client reads them.

use std::collections::VecDeque;
use std::time::Duration;

use super::ClientError;
use super::error::Problem;

/// How long a stream may be silent. The server says every 15 s that it lives.
const SILENCE_MAX: Duration = Duration::from_secs(45);
/// Bytes of an event: a row of a log has a megabyte at most.
const EVENT_BYTES_MAX: usize = 8 * 1024 * 1024;

/// An event of a stream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Event {
    /// What it is called.
    pub(super) name: String,
    /// What to come back with, if it has any.
    pub(super) id: Option<String>,
    /// What goes with it.
    pub(super) data: String,
}

/// A stream that is open.
#[derive(Debug)]
pub(super) struct EventStream {
    response: reqwest::Response,
    parser: Parser,
    url: String,
}

impl EventStream {
    pub(super) fn new(response: reqwest::Response, url: &str) -> Self {
        Self { response, parser: Parser::default(), url: url.to_owned() }
    }

    /// The next event; `None` where the stream ends. Cancel-safe.
    ///
    /// # Errors
    /// When the stream breaks off, is silent for too long, or is none of Skein's.
    pub(super) async fn next(&mut self) -> Result<Option<Event>, ClientError> {
        loop {
            if let Some(event) = self.parser.events.pop_front() {
                return Ok(Some(event));
            }
            let chunk = tokio::time::timeout(SILENCE_MAX, self.response.chunk()).await;
            let chunk = chunk.map_err(|_| silent())?;
            match chunk.map_err(|source| ClientError::unreachable(&self.url, source))? {
                Some(bytes) if self.parser.feed(&bytes) => {}
                Some(_) => return Err(too_large()),
                None => return Ok(None),
            }
        }
    }

    /// After which time the server wants the client back.
    pub(super) fn retry(&self) -> Option<Duration> {
        self.parser.retry
    }
}

/// What may pass, as an answer of a server between would.
fn silent() -> ClientError {
    let detail = format!("nothing came for {SILENCE_MAX:?}");
    ClientError::Refused(Box::new(Problem::own(504, "The stream of events is silent", detail)))
}

fn too_large() -> ClientError {
    let detail = format!("an event has more than {EVENT_BYTES_MAX} bytes");
    ClientError::Refused(Box::new(Problem::own(500, "The stream of events cannot be read", detail)))
}

/// Makes events of bytes, however they are cut.
#[derive(Debug, Default)]
struct Parser {
    line: Vec<u8>,
    name: String,
    id: Option<String>,
    data: Option<String>,
    events: VecDeque<Event>,
    retry: Option<Duration>,
}

impl Parser {
    /// Takes bytes; `false` when an event is too large.
    #[must_use]
    fn feed(&mut self, bytes: &[u8]) -> bool {
        for part in bytes.split_inclusive(|byte| *byte == b'\n') {
            let held = self.line.len() + self.data.as_ref().map_or(0, String::len);
            if held + part.len() > EVENT_BYTES_MAX {
                return false;
            }
            self.line.extend_from_slice(part);
            if part.ends_with(b"\n") {
                let line = std::mem::take(&mut self.line);
                let line = String::from_utf8_lossy(&line);
                self.read(line.trim_end_matches(['\n', '\r']));
            }
        }
        true
    }

    fn read(&mut self, line: &str) {
        if line.is_empty() {
            let (name, id) = (std::mem::take(&mut self.name), self.id.take());
            if let Some(data) = self.data.take() {
                self.events.push_back(Event { name, id, data });
            }
            return;
        }
        let (field, value) = line.split_once(':').unwrap_or((line, ""));
        let value = value.strip_prefix(' ').unwrap_or(value);
        match field {
            "event" => value.clone_into(&mut self.name),
            "id" => self.id = Some(value.to_owned()),
            "data" => match &mut self.data {
                Some(data) => {
                    data.push('\n');
                    data.push_str(value);
                }
                None => self.data = Some(value.to_owned()),
            },
            "retry" => self.retry = value.parse().ok().map(Duration::from_millis).or(self.retry),
            // A comment, or a field that is not known.
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const STREAM: &str = "retry: 2000\n: why\n\nevent: node.started\r\nid: 1.2~ab\r\ndata: {\"a\": \"ü\"}\r\n\r\n\
         : alive\n\nevent: llm.delta\ndata: x\ndata: y\n\nevent: cut\ndata: off\n";

    #[test]
    fn events_are_read_wherever_they_are_cut() {
        let event = |name: &str, id: Option<&str>, data: &str| Event {
            name: name.to_owned(),
            id: id.map(ToOwned::to_owned),
            data: data.to_owned(),
        };
        let expected = [
            event("node.started", Some("1.2~ab"), "{\"a\": \"ü\"}"),
            event("llm.delta", None, "x\ny"),
        ];
        for size in [1, 2, 3, 7, 1_000] {
            let mut parser = Parser::default();
            assert!(STREAM.as_bytes().chunks(size).all(|chunk| parser.feed(chunk)));
            assert_eq!(parser.events, expected, "{size}");
            assert_eq!(parser.retry, Some(Duration::from_secs(2)));
        }
    }

    #[test]
    fn an_event_without_an_end_is_refused() {
        let mut parser = Parser::default();
        let megabyte = vec![b'x'; 1024 * 1024];
        let taken = (0..100).take_while(|_| parser.feed(&megabyte)).count();
        assert_eq!(taken, EVENT_BYTES_MAX / megabyte.len());
    }
}
