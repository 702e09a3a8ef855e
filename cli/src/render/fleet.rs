//! The fleet.

use chrono::{DateTime, TimeDelta, Utc};

use super::table::{Align, Cell, Table};
use super::terminal::{Style, Terminal};
use super::time::{duration, moment};
use crate::client::Worker;

/// A table of workers.
#[must_use]
pub fn worker_table(workers: &[Worker], now: DateTime<Utc>, terminal: &Terminal) -> String {
    let mut table = Table::new(&[
        ("WORKER", Align::Left),
        ("STATUS", Align::Left),
        ("BUSY", Align::Right),
        ("SLOTS", Align::Right),
        ("VERSION", Align::Left),
        ("SINCE", Align::Left),
        ("HEARTBEAT", Align::Right),
        ("ID", Align::Left),
    ])
    .sparing(&["ID", "VERSION", "SINCE", "SLOTS"])
    .cutting("WORKER");
    let count = |count: Option<u32>| count.map_or_else(|| "–".to_owned(), |it| it.to_string());
    for worker in workers {
        let style = match worker.status.as_str() {
            "live" => Style::Green,
            "dead" => Style::Red,
            _ => Style::Dim,
        };
        let seen = duration((now - worker.seen_at).max(TimeDelta::zero()));
        table.row(vec![
            Cell::plain(format!("{}:{}", worker.host, worker.pid)),
            Cell::new(&worker.status, style),
            Cell::plain(count(worker.busy)),
            Cell::plain(count(worker.slots)),
            Cell::plain(&worker.version),
            Cell::plain(moment(worker.started_at)),
            // Nobody has seen when it fell silent.
            Cell::plain(match worker.status.as_str() {
                "dead" => format!("over {seen} ago"),
                _ => format!("{seen} ago"),
            }),
            Cell::plain(&worker.id),
        ]);
    }
    table.render(terminal)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::render::samples::at;

    #[test]
    fn workers_stand_in_a_table() {
        let worker = Worker {
            id: "7".to_owned(),
            host: "a.example".to_owned(),
            pid: 17,
            version: "0.1.0".to_owned(),
            status: "live".to_owned(),
            slots: Some(128),
            busy: Some(3),
            started_at: at(0),
            seen_at: at(60_000),
        };
        let expected = "\
WORKER        STATUS  BUSY  SLOTS  VERSION  SINCE                 HEARTBEAT  ID
a.example:17  live       3    128  0.1.0    2030-01-31T12:00:00Z  2.00s ago  7
";
        let table = |worker: &Worker| {
            worker_table(std::slice::from_ref(worker), at(62_000), &Terminal::plain())
        };
        assert_eq!(table(&worker), expected);
        let dead = Worker { status: "dead".to_owned(), ..worker };
        assert!(table(&dead).contains("  over 2.00s ago  "), "{}", table(&dead));
    }
}
