//! Server-sent events, bounded: the `text/event-stream` of the HTML standard, as far as providers and servers of tools use it.

use super::lenient;

/// One event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Event {
    /// Its data, lines joined. Bytes that are no UTF-8 have become U+FFFD.
    pub(crate) data: String,
}

/// An event is larger than it may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct EventTooLarge;

/// Puts events together from pieces of any size, and holds one event at most.
#[derive(Debug)]
pub(crate) struct EventReader {
    /// The line that has begun.
    line: Vec<u8>,
    /// The data of the event that has begun, each line of it ended by a line feed.
    data: Vec<u8>,
    /// Whether the last byte was a carriage return: a line feed behind it ends nothing.
    after_return: bool,
    is_first_line: bool,
    bytes_max: usize,
}

impl EventReader {
    /// A reader that takes events of `bytes_max` bytes.
    pub(crate) fn new(bytes_max: usize) -> Self {
        let (line, data) = (Vec::new(), Vec::new());
        Self { line, data, after_return: false, is_first_line: true, bytes_max }
    }

    /// Reads on in `bytes` until an event is complete, and leaves there what follows it. `None` when all has been read.
    ///
    /// # Errors
    /// When the event is too large. Nothing more can be read then.
    pub(crate) fn next(&mut self, bytes: &mut &[u8]) -> Result<Option<Event>, EventTooLarge> {
        loop {
            if std::mem::take(&mut self.after_return) {
                if bytes.is_empty() {
                    self.after_return = true;
                    return Ok(None);
                }
                *bytes = bytes.strip_prefix(b"\n").unwrap_or(bytes);
            }
            let end = bytes.iter().position(|byte| matches!(byte, b'\n' | b'\r'));
            let piece = &bytes[..end.unwrap_or(bytes.len())];
            if self.line.len() + self.data.len() + piece.len() > self.bytes_max {
                return Err(EventTooLarge);
            }
            self.line.extend_from_slice(piece);
            let Some(end) = end else {
                *bytes = &[];
                return Ok(None);
            };
            self.after_return = bytes[end] == b'\r';
            *bytes = &bytes[end + 1..];
            if let Some(event) = self.end_line() {
                return Ok(Some(event));
            }
        }
    }

    /// The event that the stream has ended in. The standard drops it; some servers leave the last empty line out.
    pub(super) fn end(&mut self) -> Option<Event> {
        self.end_line().or_else(|| self.end_event())
    }

    fn end_line(&mut self) -> Option<Event> {
        let line = std::mem::take(&mut self.line);
        let line = match std::mem::take(&mut self.is_first_line) {
            true => line.strip_prefix("\u{feff}".as_bytes()).unwrap_or(&line),
            false => &line,
        };
        if line.is_empty() {
            return self.end_event();
        }
        // Other fields and comments (which keep connections open) say nothing: each event names its type in its data.
        if let Some(value) = line.strip_prefix(b"data:") {
            self.data.extend_from_slice(value.strip_prefix(b" ").unwrap_or(value));
            self.data.push(b'\n');
        }
        None
    }

    fn end_event(&mut self) -> Option<Event> {
        let data = std::mem::take(&mut self.data);
        let data = data.strip_suffix(b"\n")?;
        Some(Event { data: lenient::clean(&String::from_utf8_lossy(data)).into_owned() })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn read(pieces: &[&[u8]], bytes_max: usize) -> Result<Vec<String>, EventTooLarge> {
        let mut reader = EventReader::new(bytes_max);
        let mut events = Vec::new();
        for mut piece in pieces.iter().copied() {
            while let Some(event) = reader.next(&mut piece)? {
                events.push(event.data);
            }
        }
        events.extend(reader.end().map(|event| event.data));
        Ok(events)
    }

    const STREAM: &str = "\u{feff}data: one\n\n: comment\r\nevent: x\r\ndata:two\r\ndata:  three\r\n\r\nid: 7\rdata: é\r\r\
                          retry: 5\n\ndata\n\ndata: last";
    const EVENTS: [&str; 4] = ["one", "two\n three", "é", "last"];

    #[test]
    fn events_end_at_empty_lines_of_any_kind() {
        assert_eq!(read(&[STREAM.as_bytes()], 100), Ok(EVENTS.map(str::to_owned).to_vec()));
        assert_eq!(read(&[], 100), Ok(vec![]));
        assert_eq!(read(&[b"data: \xff\0\n\n"], 100), Ok(vec!["\u{fffd}\u{fffd}".to_owned()]));
    }

    #[test]
    fn an_event_may_be_as_large_as_the_limit_and_no_larger() {
        assert_eq!(read(&[b"data: 4567\n\ndata: 4567\n\n"], 10).map(|all| all.len()), Ok(2));
        assert_eq!(read(&[b"data: 45678\n\n"], 10), Err(EventTooLarge));
        assert_eq!(read(&[b"data: 456", b"78"], 10), Err(EventTooLarge));
        assert_eq!(read(&[b"data: 4\n", b"data: 4\n", b"data: 4\n\n"], 10), Err(EventTooLarge));
        assert_eq!(read(&[b"a very long comment"], 10), Err(EventTooLarge));
    }

    proptest! {
        #[test]
        fn it_does_not_matter_where_a_stream_is_cut_into_pieces(cuts in prop::collection::vec(0..STREAM.len(), 0..8)) {
            let mut cuts = cuts;
            cuts.sort_unstable();
            let bounds: Vec<_> = [0].into_iter().chain(cuts).chain([STREAM.len()]).collect();
            let pieces: Vec<_> = bounds.windows(2).map(|pair| &STREAM.as_bytes()[pair[0]..pair[1]]).collect();
            prop_assert_eq!(read(&pieces, 100), Ok(EVENTS.map(str::to_owned).to_vec()));
        }
    }
}
