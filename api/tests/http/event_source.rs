//! A client of an event stream.

use std::collections::VecDeque;

use serde_json::Value;

use crate::harness::{Answer, Client, PATIENCE};

/// A block of a stream: an event, or a comment.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Block {
    pub(crate) event: String,
    pub(crate) id: Option<String>,
    pub(crate) data: Value,
    pub(crate) retry: Option<String>,
    pub(crate) comment: Option<String>,
}

impl Block {
    fn read(text: &str) -> Self {
        let mut block = Self::default();
        for line in text.lines() {
            let (field, value) = line.split_once(": ").unwrap_or((line, ""));
            match field {
                "event" => value.clone_into(&mut block.event),
                "id" => block.id = Some(value.to_owned()),
                "data" => block.data = serde_json::from_str(value).unwrap(),
                "retry" => block.retry = Some(value.to_owned()),
                "" => block.comment = Some(value.to_owned()),
                other => panic!("{other} is no field: {text}"),
            }
        }
        block
    }
}

/// A stream that is open.
pub(crate) struct Stream {
    response: reqwest::Response,
    text: String,
    blocks: VecDeque<Block>,
}

impl Stream {
    /// Opens the stream of a run, or says what was answered instead.
    pub(crate) async fn ask(client: &Client, run: &str, last: &[&str]) -> Result<Self, Answer> {
        let mut request = client.request("GET", &format!("/v1/runs/{run}/events"));
        for last in last {
            request = request.header("last-event-id", *last);
        }
        let response = request.send().await.unwrap();
        if response.status() != 200 {
            return Err(Answer::of(response).await);
        }
        assert_eq!(response.headers()["content-type"], "text/event-stream");
        assert_eq!(response.headers()["cache-control"], "no-store");
        Ok(Self { response, text: String::new(), blocks: VecDeque::new() })
    }

    pub(crate) async fn open(client: &Client, run: &str) -> Self {
        Self::ask(client, run, &[]).await.unwrap_or_else(|answer| panic!("{answer:?}"))
    }

    /// Comes back with the id of the last event.
    pub(crate) async fn resume(client: &Client, run: &str, last: &str) -> Self {
        Self::ask(client, run, &[last]).await.unwrap_or_else(|answer| panic!("{answer:?}"))
    }

    /// The next block; `None` where the stream ends.
    pub(crate) async fn block(&mut self) -> Option<Block> {
        loop {
            if let Some(block) = self.blocks.pop_front() {
                return Some(block);
            }
            let chunk = tokio::time::timeout(PATIENCE, self.response.chunk()).await;
            // One that is cut ends as well.
            let chunk = chunk.expect("something comes").ok().flatten()?;
            self.text.push_str(std::str::from_utf8(&chunk).unwrap());
            while let Some((block, rest)) = self.text.split_once("\n\n") {
                self.blocks.push_back(Block::read(block));
                self.text = rest.to_owned();
            }
        }
    }

    /// The next event.
    pub(crate) async fn event(&mut self) -> Block {
        loop {
            let block = self.block().await.expect("the stream goes on");
            if !block.event.is_empty() {
                return block;
            }
        }
    }

    /// All that is left: the events, and the last comment.
    pub(crate) async fn rest(mut self) -> (Vec<Block>, Option<Block>) {
        let (mut events, mut comment) = (Vec::new(), None);
        while let Some(block) = self.block().await {
            if block.event.is_empty() { comment = Some(block) } else { events.push(block) }
        }
        (events, comment)
    }
}
