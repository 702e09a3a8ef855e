//! Spans, logs and their export. The only place (besides the wiring in `main.rs`) that names an
//! exporter or a provider.
