//! The API over real HTTP and PostgreSQL: `DATABASE_URL`, or the server on this machine. Each run of
//! these tests has a database of its own, each test an organization of its own.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails, which is its purpose")]

mod database;
mod described;
mod docs;
mod harness;
mod work;

mod analysis;
mod archiving;
mod bounds;
mod cancelling;
mod costs;
mod documentation;
mod documented;
mod drafts;
mod event_source;
mod events;
mod failing_reads;
mod idempotency;
mod isolation;
mod keys;
mod listings;
mod malformed;
mod outages;
mod publishing;
mod revoking;
mod scopes;
mod spans;
mod spending;
mod starting;
mod starving;
mod sweeping;
mod waiting;
mod workers;
