//! A server that answers as a test wants it to, or not at all.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::mpsc::{self, Receiver};
use std::time::Duration;

use serde_json::{Value, json};

/// The only run that there is.
pub(crate) const RUN: &str = "019c0000-0000-7000-8000-000000000001";
/// How long anything may take that is to happen.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

/// What is answered to a request: a status and a body, a text as a stream of events. Without one, the request hangs.
pub(crate) type Answer = Option<(u16, Value)>;

/// A request as it came.
pub(crate) struct Request {
    /// `METHOD /path?query`.
    pub(crate) line: String,
    /// Names in lower case, and values.
    headers: Vec<(String, String)>,
    pub(crate) body: Vec<u8>,
}

impl Request {
    /// The value of a header; empty without it.
    pub(crate) fn header(&self, name: &str) -> &str {
        let found = self.headers.iter().find(|(header, _)| header == name);
        found.map_or("", |(_, value)| value)
    }
}

/// A server and what it has been asked.
pub(crate) struct Server {
    pub(crate) url: String,
    asked: Receiver<String>,
}

impl Server {
    /// A server with these answers; `answer` sees `METHOD /path?query` of one request after the other, with ` after ID`
    /// where an event stream is to go on.
    pub(crate) fn start(mut answer: impl FnMut(&str) -> Answer + Send + 'static) -> Self {
        Self::seeing_all(move |request| {
            let after = match request.header("last-event-id") {
                "" => String::new(),
                last => format!(" after {last}"),
            };
            answer(&format!("{}{after}", request.line))
        })
    }

    /// A server that answers by all of a request.
    pub(crate) fn seeing_all(mut answer: impl FnMut(&Request) -> Answer + Send + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port is free");
        let url = format!("http://{}", listener.local_addr().expect("it is bound"));
        let (sender, asked) = mpsc::channel();
        std::thread::spawn(move || {
            let mut hanging = Vec::new();
            for connection in listener.incoming() {
                let mut connection = connection.expect("a connection comes about");
                // An interrupt may take a request back while it is sent.
                let Ok(request) = read(&mut connection) else { continue };
                let answer = answer(&request);
                if sender.send(request.line).is_err() {
                    break;
                }
                match answer {
                    Some((status, body)) => write(&mut connection, status, &body),
                    None => hanging.push(connection),
                }
            }
        });
        Self { url, asked }
    }

    /// What it has been asked up to now.
    pub(crate) fn asked(&self) -> Vec<String> {
        self.asked.try_iter().collect()
    }

    /// Waits until a request has come that starts like this.
    pub(crate) fn wait_for(&self, start: &str) -> String {
        loop {
            let request = self.asked.recv_timeout(PATIENCE);
            let request = request.unwrap_or_else(|_| panic!("{start} is not asked"));
            if request.starts_with(start) {
                return request;
            }
        }
    }
}

/// The run as the server shows it.
pub(crate) fn run(status: &str) -> Value {
    json!({
        "id": RUN, "workflow": "w", "version": 1, "status": status, "cancelling": false, "output": null,
        "error": null, "trace_id": "aa".repeat(16), "root_span_id": "bb".repeat(8),
        "publish_span_id": "cc".repeat(8), "created_at": "2030-01-31T12:00:00Z", "started_at": null,
        "finished_at": null, "nodes": [],
    })
}

fn read(connection: &mut TcpStream) -> io::Result<Request> {
    let mut reader = BufReader::new(connection);
    let mut line = || {
        let mut line = String::new();
        reader.read_line(&mut line)?;
        io::Result::Ok(line.trim_end().to_owned())
    };
    let first = line()?;
    let mut headers = Vec::new();
    loop {
        let header = line()?;
        if header.is_empty() {
            break;
        }
        let (name, value) = header.split_once(':').expect("a header has a colon");
        headers.push((name.to_lowercase(), value.trim().to_owned()));
    }
    let line = first.trim_end_matches(" HTTP/1.1").to_owned();
    let mut request = Request { line, headers, body: Vec::new() };
    let length = match request.header("content-length") {
        "" => 0,
        length => length.parse().expect("a length is a number"),
    };
    // The body is taken in: closing a connection with unread bytes would take the answer back.
    request.body.resize(length, 0);
    reader.read_exact(&mut request.body)?;
    Ok(request)
}

fn write(connection: &mut TcpStream, status: u16, body: &Value) {
    let (body, media_type) = match body {
        Value::String(stream) => (stream.clone(), "text/event-stream"),
        body => (body.to_string(), "application/json"),
    };
    let length = body.len();
    let head = format!(
        "HTTP/1.1 {status} X\r\nconnection: close\r\ncontent-type: {media_type}\r\ncontent-length: {length}"
    );
    // Who asked may have gone.
    let _ = connection.write_all(format!("{head}\r\n\r\n{body}").as_bytes());
}
