//! This process, as the system sees it. On Linux; elsewhere only how long it runs is known.

use std::time::Instant;

use opentelemetry::metrics::Meter;

use crate::telemetry::semconv;

pub(super) fn install(meter: &Meter) {
    // Telemetry is set up first of all, so that this is when the process began, give or take some milliseconds.
    let begun = Instant::now();
    meter
        .f64_observable_gauge(semconv::METRIC_UPTIME)
        .with_unit("s")
        .with_description("The time the process has been running.")
        .with_callback(move |observer| observer.observe(begun.elapsed().as_secs_f64(), &[]))
        .build();
    #[cfg(target_os = "linux")]
    linux::install(meter);
}

#[cfg(target_os = "linux")]
mod linux {
    use std::fs;
    use std::time::Duration;

    use opentelemetry::KeyValue;
    use opentelemetry::metrics::Meter;
    use rustix::param::{clock_ticks_per_second, page_size};

    use crate::telemetry::semconv;

    pub(super) fn install(meter: &Meter) {
        meter
            .f64_observable_counter(semconv::METRIC_CPU_TIME)
            .with_unit("s")
            .with_description("Total CPU seconds broken down by different CPU modes.")
            .with_callback(|observer| {
                let Some(stat) = Stat::read() else { return };
                for (mode, seconds) in [("user", stat.user), ("system", stat.system)] {
                    observer.observe(seconds, &[KeyValue::new(semconv::LABEL_CPU_MODE, mode)]);
                }
            })
            .build();
        meter
            .i64_observable_up_down_counter(semconv::METRIC_MEMORY_USAGE)
            .with_unit("By")
            .with_description("The amount of physical memory in use.")
            .with_callback(|observer| {
                let Some(stat) = Stat::read() else { return };
                observer.observe(stat.resident_bytes, &[]);
            })
            .build();
        meter
            .i64_observable_up_down_counter(semconv::METRIC_THREAD_COUNT)
            .with_unit("{thread}")
            .with_description("Process threads count.")
            .with_callback(|observer| {
                let Some(stat) = Stat::read() else { return };
                observer.observe(stat.threads, &[]);
            })
            .build();
        meter
            .i64_observable_up_down_counter(semconv::METRIC_FILE_DESCRIPTORS)
            .with_unit("{file_descriptor}")
            .with_description("Number of unix file descriptors in use by the process.")
            .with_callback(|observer| {
                let Ok(descriptors) = fs::read_dir("/proc/self/fd") else { return };
                // One of them is the folder that is being read.
                let count = descriptors.count().saturating_sub(1);
                observer.observe(i64::try_from(count).unwrap_or(i64::MAX), &[]);
            })
            .build();
    }

    /// What `/proc/self/stat` says.
    #[derive(Debug, PartialEq)]
    struct Stat {
        user: f64,
        system: f64,
        threads: i64,
        resident_bytes: i64,
    }

    impl Stat {
        fn read() -> Option<Self> {
            let text = fs::read_to_string("/proc/self/stat").ok()?;
            Self::parse(&text, clock_ticks_per_second(), page_size())
        }

        /// proc(5) counts the fields from 1. The second one is the name of the program in parentheses, which may hold
        /// anything.
        fn parse(text: &str, ticks_per_second: u64, page_bytes: usize) -> Option<Self> {
            let (_, rest) = text.rsplit_once(')')?;
            let field = |number: usize| rest.split_ascii_whitespace().nth(number - 3);
            let number = |number| field(number)?.parse::<i64>().ok();
            let seconds = |field| {
                let ticks = u64::try_from(number(field)?).ok()?;
                let millis = ticks.checked_mul(1_000)?.checked_div(ticks_per_second)?;
                Some(Duration::from_millis(millis).as_secs_f64())
            };
            Some(Self {
                user: seconds(14)?,
                system: seconds(15)?,
                threads: number(20)?,
                resident_bytes: number(24)?.checked_mul(i64::try_from(page_bytes).ok()?)?,
            })
        }
    }

    #[cfg(test)]
    mod tests {
        use super::*;

        #[test]
        fn the_name_of_a_program_may_hold_anything() {
            let text = "12 (a) b (c)) S 1 1 1 0 -1 4194560 100 0 0 0 250 50 0 0 20 0 9 0 12345 1000 77 1844 1 1";
            let stat = Stat { user: 2.5, system: 0.5, threads: 9, resident_bytes: 77 * 4096 };
            assert_eq!(Stat::parse(text, 100, 4096), Some(stat));
            assert_eq!(Stat::parse("12 (short) S 1", 100, 4096), None);
            // Two years of a processor.
            let long = Stat::parse(&text.replace(" 250 50 ", " 5000000000 50 "), 100, 4096);
            assert_eq!(long.map(|stat| stat.user), Some(50_000_000.0));
        }

        #[test]
        fn this_process_has_threads_and_memory() {
            let stat = Stat::read().unwrap();
            assert!(stat.threads >= 1 && stat.resident_bytes > 100_000, "{stat:?}");
        }
    }
}
