//! Models for trying: a server on the loopback interface that answers the three wire formats from a script.
//!
//! A reply is chosen by what a request says, not by when it comes: its model, its wire format, what its last message
//! contains, which tool's result that is, how often the model has answered before. So the same request gets the same
//! reply whatever else is under way, and again after a crash. Only `times` counts, and it counts for each
//! `Idempotency-Key` by itself.
//!
//! ```yaml
//! replies:                                   # the first that fits is given
//!   - when: { contains: weather, turn: 0 }   # also model (`gpt-*`), wire, system, tool_result (a name, or true)
//!     reply:
//!       text: let me see                     # or json, or escaped_text (as between the quotes of JSON)
//!       tool_calls: [{ name: look, arguments: { city: Oslo } }]   # arguments that are text are sent as they are
//!   - when: { tool_result: look }
//!     reply: { text: sunny, usage: { input_tokens: 7, output_tokens: 3 } }   # or `bytes`, or `none`
//!   - when: { contains: busy }
//!     times: 2
//!     reply: { status: 429, error: slow down, headers: { Retry-After: "7" } }
//!   - reply: { text: one two three, chunks: 3, delay: 50ms, chunk_delay: 10ms, cut_after: 2 }   # or hang_after
//!   - reply: { raw: "data: {", repeat: 1000 }   # the body as it is
//! ```

mod asked;
mod frame;
mod script;
mod seen;
mod serve;
mod wires;

#[cfg(test)]
mod tests;

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;

use anyhow::Context;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

pub use asked::Wire;
pub use script::Script;
pub use seen::SeenRequest;

use seen::Log;

/// A server that plays all providers of models.
pub struct MockModels {
    listener: TcpListener,
    address: SocketAddr,
    script: Arc<Script>,
    log: Arc<Log>,
}

/// Looks at what a server has been asked; outlives it.
#[derive(Debug, Clone)]
pub struct Watch(Arc<Log>);

impl MockModels {
    /// Reads a script and takes a free port of the loopback interface. Nothing is answered before [`Self::serve`].
    ///
    /// # Errors
    /// When the file cannot be read, the script is malformed, or there is no port.
    pub async fn from_file(path: &Path) -> anyhow::Result<Self> {
        let name = path.display();
        let text = std::fs::read_to_string(path).with_context(|| format!("cannot read {name}"))?;
        let script = text.parse::<Script>().with_context(|| format!("cannot use {name}"))?;
        Self::new(script).await
    }

    /// Takes a free port of the loopback interface.
    ///
    /// # Errors
    /// When there is none.
    pub async fn new(script: Script) -> anyhow::Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await.context("no port for mock models")?;
        let address = listener.local_addr()?;
        Ok(Self { listener, address, script: Arc::new(script), log: Arc::default() })
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Looks at what it is asked.
    #[must_use]
    pub fn watch(&self) -> Watch {
        Watch(Arc::clone(&self.log))
    }

    /// Answers until `stop`. What hangs then is cut off.
    pub async fn serve(self, stop: CancellationToken) {
        let served = serve::serve(self.listener, self.script, self.log);
        stop.run_until_cancelled(served).await;
    }
}

impl Watch {
    /// Requests so far.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.0.count()
    }

    /// The last requests, oldest first: 2,000 at most.
    #[must_use]
    pub fn requests(&self) -> Vec<SeenRequest> {
        self.0.requests()
    }
}
