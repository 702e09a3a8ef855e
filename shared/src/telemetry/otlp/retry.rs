//! Which requests are sent once more, and when: as the SDK's exporter does it, which sends the metrics.

use std::time::{Duration, SystemTime};

use opentelemetry_http::{Bytes, HttpError, Response, ResponseBodyTooLarge};
use reqwest::header::RETRY_AFTER;

/// How often a request is sent again.
const REPETITIONS_MAX: u32 = 3;
/// The pause before the first repetition; each is twice as long as the one before.
const PAUSE: Duration = Duration::from_millis(100);
/// And at most.
const PAUSE_MAX: Duration = Duration::from_millis(1600);
/// The same, if a collector asks for longer ones. What waits meanwhile may be lost.
const PAUSE_ASKED_MAX: Duration = Duration::from_secs(30);
/// What is added to a pause at most, so that processes do not come all at once.
const JITTER_MAX: Duration = Duration::from_millis(100);

/// Why a request was not taken.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Refusal {
    /// It would not be taken next time.
    ForGood,
    /// It may be taken next time.
    ForNow,
    /// It may be taken after this time.
    Until(Duration),
}

impl Refusal {
    /// That of an answer, which says that nothing was taken. `now` is what its time is measured by.
    pub(super) fn answered(response: &Response<Bytes>, now: SystemTime) -> Self {
        match response.status().as_u16() {
            429 | 503 => retry_after(response, now).map_or(Self::ForNow, Self::Until),
            502 | 504 => Self::ForNow,
            _ => Self::ForGood,
        }
    }

    /// That of a request without an answer.
    pub(super) fn unanswered(error: &HttpError) -> Self {
        match error.downcast_ref::<ResponseBodyTooLarge>() {
            Some(_) => Self::ForGood,
            None => Self::ForNow,
        }
    }
}

/// What a collector asks for, in seconds or as a date.
fn retry_after(response: &Response<Bytes>, now: SystemTime) -> Option<Duration> {
    let asked = response.headers().get(RETRY_AFTER)?.to_str().ok()?.trim();
    if let Ok(seconds) = asked.parse() {
        return Some(Duration::from_secs(seconds));
    }
    let date = httpdate::parse_http_date(asked).ok()?;
    Some(date.duration_since(now).unwrap_or_default())
}

/// The repetitions of one request.
#[derive(Debug)]
pub(super) struct Repetitions {
    done: u32,
    pause: Duration,
    pause_max: Duration,
}

impl Repetitions {
    pub(super) fn new() -> Self {
        Self { done: 0, pause: PAUSE, pause_max: PAUSE_MAX }
    }

    /// How long to wait before the request is sent again, if it is: `left` is what remains of its time, `jitter` from 0
    /// to 1 what is chosen of the jitter.
    pub(super) fn pause(
        &mut self,
        refusal: &Refusal,
        left: Duration,
        jitter: f64,
    ) -> Option<Duration> {
        if *refusal == Refusal::ForGood || self.done >= REPETITIONS_MAX {
            return None;
        }
        self.done += 1;
        if let Refusal::Until(asked) = refusal {
            let asked = (*asked).min(PAUSE_ASKED_MAX);
            if asked > self.pause_max {
                self.pause_max = PAUSE_ASKED_MAX;
            }
            self.pause = self.pause.max(asked);
        }
        let pause = (self.pause + JITTER_MAX.mul_f64(jitter)).min(self.pause_max);
        self.pause = (self.pause * 2).min(self.pause_max);
        (pause < left).then_some(pause)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LONG: Duration = Duration::from_secs(3600);
    const SECOND: Duration = Duration::from_secs(1);

    fn millis(refusal: &Refusal, left: Duration, jitter: f64) -> Vec<u128> {
        let mut repetitions = Repetitions::new();
        std::iter::from_fn(|| repetitions.pause(refusal, left, jitter))
            .map(|pause| pause.as_millis())
            .collect()
    }

    #[test]
    fn a_request_is_repeated_three_times_each_after_twice_as_long() {
        assert_eq!(millis(&Refusal::ForNow, LONG, 0.0), [100, 200, 400]);
        assert_eq!(millis(&Refusal::ForNow, LONG, 1.0), [200, 300, 500]);
        assert_eq!(millis(&Refusal::ForGood, LONG, 0.0), []);
    }

    #[test]
    fn none_begins_after_the_time_of_the_export() {
        assert_eq!(millis(&Refusal::ForNow, Duration::from_millis(300), 0.0), [100, 200]);
        assert_eq!(millis(&Refusal::ForNow, Duration::ZERO, 0.0), []);
        assert_eq!(millis(&Refusal::Until(5 * SECOND), 5 * SECOND, 0.0), []);
    }

    #[test]
    fn a_collector_may_ask_for_longer_pauses_not_for_shorter_ones() {
        assert_eq!(millis(&Refusal::Until(SECOND), LONG, 0.0), [1000, 1600, 1600]);
        assert_eq!(millis(&Refusal::Until(5 * SECOND), LONG, 0.0), [5000, 10_000, 20_000]);
        assert_eq!(millis(&Refusal::Until(LONG), LONG, 1.0), [30_000; 3]);
        assert_eq!(millis(&Refusal::Until(Duration::ZERO), LONG, 0.0), [100, 200, 400]);
    }

    #[test]
    fn an_answer_says_whether_and_when_to_try_again() {
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(1_700_000_000);
        let refusal = |status: u16, asked: Option<&str>| {
            let mut response = Response::builder().status(status);
            if let Some(asked) = asked {
                response = response.header("retry-after", asked);
            }
            Refusal::answered(&response.body(Bytes::new()).unwrap(), now)
        };
        for status in [429, 502, 503, 504] {
            assert_eq!(refusal(status, None), Refusal::ForNow, "{status}");
        }
        for status in [302, 400, 401, 403, 404, 413, 500, 501] {
            assert_eq!(refusal(status, Some("7")), Refusal::ForGood, "{status}");
        }
        assert_eq!(refusal(429, Some("7")), Refusal::Until(7 * SECOND));
        assert_eq!(refusal(502, Some("7")), Refusal::ForNow);
        let date = httpdate::fmt_http_date(now + 9 * SECOND);
        assert_eq!(refusal(503, Some(&date)), Refusal::Until(9 * SECOND));
        let past = httpdate::fmt_http_date(now - SECOND);
        assert_eq!(refusal(503, Some(&past)), Refusal::Until(Duration::ZERO));
        assert_eq!(refusal(503, Some("soon")), Refusal::ForNow);
    }

    #[test]
    fn an_answer_that_is_too_long_is_no_reason_to_ask_again() {
        let refused: HttpError = Box::new(std::io::Error::other("Connection refused"));
        assert_eq!(Refusal::unanswered(&refused), Refusal::ForNow);
    }
}
