//! The conformance suite of the store: what its contract says, over every implementation.
//!
//! A case is a function that takes a fresh store. The names of all cases are listed in
//! [`crate::store_suite!`], which an implementation instantiates with a function that makes the
//! store, runs the case and cleans up.
#![expect(clippy::unwrap_used, reason = "a case that cannot go on fails, which is its purpose")]

pub mod accept;
pub mod claim;
pub mod commit_join;
pub mod world;

/// Makes a test of every case: `store_suite!(path::to::with_store)`.
#[macro_export]
macro_rules! store_suite {
    ($with_store:path) => {
        $crate::store_suite! { @areas $with_store;
            accept {
                a_repeated_key_finds_the_first_run,
            }
            claim {
                many_workers_win_each_row_once,
            }
            commit_join {
                two_parents_that_end_together_fire_their_join_once,
            }
        }
    };
    (@areas $with_store:path; $($area:ident { $($case:ident,)* })*) => {
        $(mod $area {
            $(
                #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
                async fn $case() {
                    $with_store($crate::store_suite::$area::$case).await;
                }
            )*
        })*
    };
}
