//! The store's suite over every store.

use crate::listing;

mod postgres {
    skein_tests::store_suite!(crate::event_logs::postgres);
}

mod sqlite {
    skein_tests::store_suite!(crate::event_logs::sqlite);
}

/// A case that is written and not listed would never run, and nobody would notice.
#[test]
fn every_case_of_the_suite_is_listed() {
    let suite = concat!(env!("CARGO_MANIFEST_DIR"), "/src/store_suite");
    let list = std::fs::read_to_string(format!("{suite}/mod.rs")).unwrap();
    let mut cases = 0;
    for file in std::fs::read_dir(suite).unwrap() {
        let source = std::fs::read_to_string(file.unwrap().path()).unwrap();
        for case in listing::functions_of(&source, "store: Arc<dyn Store>") {
            assert!(list.contains(&format!(" {case},\n")), "{case} is not listed");
            cases += 1;
        }
    }
    assert!(cases > 80, "{cases}");
}
