//! The store's suite over every store.

mod postgres {
    skein_tests::store_suite!(skein_tests::postgres::with_store);
}

mod sqlite {
    skein_tests::store_suite!(skein_tests::sqlite::with_store);
}
