//! What `write_steps.sql` is given: the parts of a batch of writes, a table a kind.

use super::commit_rows::{EventRow, integer};
use super::statement::{rows, statement};
use crate::domain::ids::{LeaseId, RunId};
use crate::domain::money::{CALL_COST_MAX, Price};
use crate::domain::step::{StepKind, StepStatus};
use crate::domain::trace::SpanId;
use crate::store::row_values::failure_json;
use crate::store::steps::{
    Charge, Reservation, StepIntent, StepResult, StepWrite, WARNING_PERCENT,
};
use crate::store::timing::{DEADLINE_GRACE, millis};

statement! {
    /// Applies a batch of writes of steps.
    struct WriteSteps<'a> = "sql/write_steps.sql" {
        lease: LeaseId,
        /// After a node's timeout.
        grace_ms: i64,
        /// Of what a call is said to have cost, in nano-dollars.
        cost_max: i64,
        /// Of a budget, from which on it is warned of.
        warning_percent: i64,
        /// One for each write, in order.
        writes: Vec<WriteRow<'a>>,
        results: Vec<ResultRow<'a>>,
        intents: Vec<IntentRow<'a>>,
        reservations: Vec<ReservationRow<'a>>,
        events: Vec<EventRow<'a>>,
    }
}

rows! {
    /// A write, without what is only stored. `f` is what has finished, `b` what is to begin.
    struct WriteRow<'a> {
        run_id: RunId,
        node_key: &'a str,
        scope: &'a str,
        claim: i32,
        f_step: Option<i32>,
        f_attempt: Option<i32>,
        f_status: Option<StepStatus>,
        /// `nothing`, `counted` or `reserved`.
        f_charge: Option<&'a str>,
        f_input_tokens: Option<i64>,
        f_cached_tokens: Option<i64>,
        f_cache_write_tokens: Option<i64>,
        f_output_tokens: Option<i64>,
        /// Absent where the price that was reserved at holds.
        f_price_input: Option<i64>,
        f_price_output: Option<i64>,
        f_price_cache_read: Option<i64>,
        f_price_cache_write: Option<i64>,
        b_step: Option<i32>,
        b_span_id: Option<SpanId>,
        b_digest: Option<&'a [u8]>,
        b_decision_ms: Option<i64>,
        /// Absent of a model without a price.
        b_nanos: Option<i64>,
        b_tokens: Option<i64>,
    }
}

rows! {
    /// What came of a step.
    struct ResultRow<'a> {
        /// The place of its write, from 1.
        write_ord: i64,
        observation: Option<&'a str>,
        thought: Option<String>,
        error: Option<String>,
        response_model: Option<String>,
        latency_ms: i64,
    }
}

rows! {
    /// What is kept of a step that is to begin.
    struct IntentRow<'a> {
        /// The place of its write, from 1.
        write_ord: i64,
        kind: StepKind,
        name: &'a str,
        arguments: Option<&'a str>,
    }
}

rows! {
    /// What a step that is to begin may take at most.
    struct ReservationRow<'a> {
        /// The place of its write, from 1.
        write_ord: i64,
        provider: &'a str,
        model: &'a str,
        price_input: Option<i64>,
        price_output: Option<i64>,
        price_cache_read: Option<i64>,
        price_cache_write: Option<i64>,
        reserved_nanos: Option<i64>,
        reserved_input_tokens: i64,
        reserved_output_tokens: i64,
    }
}

impl<'a> WriteSteps<'a> {
    /// The statement that applies these writes for a lease.
    pub(super) fn of(lease: LeaseId, batch: &[&'a StepWrite]) -> Self {
        let mut parts = Self {
            lease,
            grace_ms: millis(DEADLINE_GRACE),
            cost_max: CALL_COST_MAX.0,
            warning_percent: whole(WARNING_PERCENT),
            writes: Vec::with_capacity(batch.len()),
            results: Vec::new(),
            intents: Vec::new(),
            reservations: Vec::new(),
            events: Vec::new(),
        };
        for (write, ord) in batch.iter().zip(1..) {
            parts.writes.push(WriteRow::of(write));
            parts.results.extend(write.finished.as_ref().map(|result| ResultRow::of(ord, result)));
            parts.intents.extend(write.begin.as_ref().map(|intent| IntentRow::of(ord, intent)));
            let reservation = write.begin.as_ref().and_then(|begin| begin.reservation.as_ref());
            parts.reservations.extend(reservation.map(|it| ReservationRow::of(ord, it)));
            parts.events.extend(write.events.iter().map(|event| EventRow::of(ord, false, event)));
        }
        parts
    }
}

impl<'a> WriteRow<'a> {
    fn of(write: &'a StepWrite) -> Self {
        let (finished, begin) = (write.finished.as_ref(), write.begin.as_ref());
        let usage = finished.and_then(|result| match result.charge.bounded() {
            Charge::Counted(usage) => Some(usage),
            Charge::Nothing | Charge::Reserved => None,
        });
        let wish = begin.map(|begin| begin.wish(true));
        let settled_at = finished.and_then(|result| result.price);
        Self {
            run_id: write.key.run,
            node_key: &write.key.node,
            scope: &write.key.scope,
            claim: integer(write.claim),
            f_step: finished.map(|result| integer(result.seq)),
            f_attempt: finished.map(|result| integer(result.attempt)),
            f_status: finished.map(|result| result.status),
            f_charge: finished.map(|result| match result.charge {
                Charge::Nothing => "nothing",
                Charge::Counted(_) => "counted",
                Charge::Reserved => "reserved",
            }),
            f_input_tokens: usage.map(|usage| whole(usage.input_tokens)),
            f_cached_tokens: usage.map(|usage| whole(usage.cached_tokens)),
            f_cache_write_tokens: usage.map(|usage| whole(usage.cache_write_tokens)),
            f_output_tokens: usage.map(|usage| whole(usage.output_tokens)),
            f_price_input: settled_at.map(|price| price.input),
            f_price_output: settled_at.map(|price| price.output),
            f_price_cache_read: settled_at.map(|price| price.cache_read),
            f_price_cache_write: settled_at.map(|price| price.cache_write),
            b_step: begin.map(|begin| integer(begin.seq)),
            b_span_id: begin.map(|begin| begin.span),
            b_digest: begin.map(|begin| &begin.digest[..]),
            b_decision_ms: begin.and_then(|begin| begin.decision_within).map(millis),
            b_nanos: wish.and_then(|wish| wish.nanos).map(whole),
            b_tokens: wish.map(|wish| whole(wish.tokens)),
        }
    }
}

impl<'a> ResultRow<'a> {
    fn of(write_ord: i64, result: &'a StepResult) -> Self {
        Self {
            write_ord,
            observation: result.observation.as_deref(),
            thought: result.shown_thought(),
            error: result.error.as_ref().map(failure_json),
            response_model: result.shown_response_model(),
            latency_ms: millis(result.latency),
        }
    }
}

impl<'a> IntentRow<'a> {
    fn of(write_ord: i64, intent: &'a StepIntent) -> Self {
        let StepIntent { kind, name, arguments, .. } = intent;
        Self { write_ord, kind: *kind, name, arguments: arguments.as_deref() }
    }
}

impl<'a> ReservationRow<'a> {
    fn of(write_ord: i64, reservation: &'a Reservation) -> Self {
        let Reservation { provider, model, price, .. } = reservation;
        let (input, output) = reservation.tokens();
        let price = |part: fn(&Price) -> i64| price.as_ref().map(part);
        Self {
            write_ord,
            provider,
            model,
            price_input: price(|price| price.input),
            price_output: price(|price| price.output),
            price_cache_read: price(|price| price.cache_read),
            price_cache_write: price(|price| price.cache_write),
            reserved_nanos: reservation.nanos().map(|nanos| nanos.0),
            reserved_input_tokens: whole(input),
            reserved_output_tokens: whole(output),
        }
    }
}

fn whole(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}
