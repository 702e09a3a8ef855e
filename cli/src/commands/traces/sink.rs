//! Where an export goes.

use std::fmt::Display;
use std::fs::File;
use std::io::Write;
use std::path::Path;

use anyhow::Context;

use crate::otlp::{Batch, Collector, Delivered, Destination};
use crate::output::print;

/// Where an export goes.
pub(super) enum Sink {
    /// To a collector.
    Collector(Collector),
    /// Into a file.
    File(File, String),
    /// To standard output.
    Stdout,
    /// Nowhere: it is only said where it would go.
    Nowhere(String),
}

impl Sink {
    pub(super) fn collector(destination: Destination) -> anyhow::Result<Self> {
        skein_shared::telemetry::install_crypto_provider();
        Ok(Self::Collector(Collector::new(destination)?))
    }

    pub(super) fn file(path: &Path) -> anyhow::Result<Self> {
        if path == Path::new("-") {
            return Ok(Self::Stdout);
        }
        let name = path.display().to_string();
        let file = File::create(path).with_context(|| format!("cannot write {name}"))?;
        Ok(Self::File(file, name))
    }

    pub(super) fn nowhere(place: impl Display) -> Self {
        Self::Nowhere(place.to_string())
    }

    /// Whether they go to standard output.
    pub(super) fn is_stdout(&self) -> bool {
        matches!(self, Self::Stdout)
    }

    /// What is done with spans.
    pub(super) fn verb(&self) -> &'static str {
        match self {
            Self::Collector(_) => "sent",
            Self::File(..) | Self::Stdout => "wrote",
            Self::Nowhere(_) => "would send",
        }
    }

    /// Where they go.
    pub(super) fn place(&self) -> String {
        match self {
            Self::Collector(collector) => collector.url().to_owned(),
            Self::File(_, place) | Self::Nowhere(place) => place.clone(),
            Self::Stdout => "standard output".to_owned(),
        }
    }

    /// Takes a request.
    pub(super) async fn deliver(&mut self, batch: &Batch) -> anyhow::Result<Delivered> {
        match self {
            Self::Collector(collector) => return Ok(collector.send(batch).await?),
            Self::File(file, place) => {
                let line = format!("{}\n", batch.body);
                file.write_all(line.as_bytes()).with_context(|| format!("cannot write {place}"))?;
            }
            Self::Stdout => print(&format!("{}\n", batch.body))?,
            Self::Nowhere(_) => {}
        }
        Ok(Delivered::default())
    }
}
